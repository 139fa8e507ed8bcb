"""Inverse dynamics against MuJoCo's own, and its derivatives against differences."""

from __future__ import annotations

import copy

import mujoco
import numpy as np
import pytest
import torch

from musclewarp.dynamics import Trajectory, accelerations, inertia, inverse_dynamics
from musclewarp.dynamics.simulated import simulated_moments
from musclewarp.models import MuscleModel


def random_motion(model: MuscleModel, frames: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Postures, velocities and accelerations `(T, ...)` on the couplings, near the middle of the joints' ranges."""
    m, random = model.mj_model, np.random.default_rng(seed)
    qpos = np.tile(m.qpos0, (frames, 1))
    low, high = m.jnt_range[m.dof_jntid[model.joint_dofs]].T
    qpos[:, model.joint_qpos] = low + (high - low) * random.uniform(0.3, 0.7, size=(frames, len(low)))
    qpos = model.couplings.project_qpos(torch.from_numpy(qpos))
    rates = (torch.from_numpy(random.normal(size=(frames, m.nv)) * scale) for scale in (1.0, 10.0))
    return (qpos.numpy(), *(model.couplings.project_qvel(qpos, rate).numpy() for rate in rates))


def two_link_moments(q: np.ndarray, v: np.ndarray, a: np.ndarray) -> np.ndarray:
    """Moments of the `links` in closed form (Spong, Robot Modeling and Control, section 7.4), without damping."""
    m1, m2, l1, c1, c2, i1, i2, g = 2.0, 1.5, 1.0, 0.4, 0.3, 0.05, 0.03, 9.81
    s2, k2 = np.sin(q[1]), np.cos(q[1])
    d11 = m1 * c1**2 + m2 * (l1**2 + c2**2 + 2 * l1 * c2 * k2) + i1 + i2 + 0.02
    d12 = m2 * (c2**2 + l1 * c2 * k2) + i2
    d22 = m2 * c2**2 + i2
    h = -m2 * l1 * c2 * s2
    g2 = m2 * g * c2 * np.sin(q[0] + q[1])
    g1 = (m1 * c1 + m2 * l1) * g * np.sin(q[0]) + g2
    return np.array(
        [
            d11 * a[0] + d12 * a[1] + h * (2 * v[0] * v[1] + v[1] ** 2) + g1,
            d12 * a[0] + d22 * a[1] - h * v[0] ** 2 + g2,
        ]
    )


@pytest.mark.parametrize("name", ["arms", "body"])
def test_moments_are_those_of_mujoco_folded_on_the_independent_coordinates(name, request):
    model = request.getfixturevalue(name)
    qpos, qvel, qacc = random_motion(model, 5)
    m = copy.copy(model.mj_model)
    m.opt.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_CONSTRAINT)
    data = mujoco.MjData(m)
    found = inverse_dynamics(model, Trajectory(qpos, qvel, qacc)).moments
    for t in range(5):
        data.qpos[:], data.qvel[:], data.qacc[:] = qpos[t], qvel[t], qacc[t]
        mujoco.mj_inverse(m, data)
        force = torch.from_numpy(data.qfrc_inverse.copy())[None]
        expected = model.couplings.reduce_columns(torch.from_numpy(qpos[t]), force)[0]
        np.testing.assert_allclose(found[t], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["arms", "body"])
def test_mass_and_damping_are_the_derivatives_of_the_moments(name, request):
    model = request.getfixturevalue(name)
    (qpos, _, qacc), step = random_motion(model, 3), 1e-4
    still = np.zeros_like(qacc)
    moments, dynamics = inverse_dynamics(model, Trajectory(qpos, still, qacc)).moments, inertia(model, qpos)
    for k, dof in enumerate(model.couplings.independent):
        along = np.zeros_like(qacc)
        along[:, dof] = 1.0
        along = model.couplings.project_qvel(torch.from_numpy(qpos), torch.from_numpy(along)).numpy()
        heavier = inverse_dynamics(model, Trajectory(qpos, still, qacc + along)).moments - moments
        np.testing.assert_allclose(heavier, dynamics.mass[:, :, k], rtol=1e-7, atol=1e-7)
        # Coriolis forces are even in the velocity, so that the central difference leaves the damping alone
        faster, slower = (
            inverse_dynamics(model, Trajectory(qpos, sign * step * along, qacc)).moments for sign in (1, -1)
        )
        drag = np.zeros_like(heavier)
        drag[:, k] = dynamics.damping[:, k]
        np.testing.assert_allclose((faster - slower) / (2 * step), drag, atol=1e-6)


def test_mass_is_symmetric_and_positive(arms):
    mass = inertia(arms, random_motion(arms, 20)[0]).mass
    np.testing.assert_allclose(mass, mass.transpose(0, 2, 1), atol=1e-12)
    assert np.linalg.eigvalsh(mass).min() > 0


def test_accelerations_of_a_parabola_are_its_own_to_the_ends():
    time, rates = 0.02 * np.arange(7)[:, None], np.array([[1.0, -3.0]])
    np.testing.assert_allclose(accelerations(time + 0.5 * rates * time**2, 0.02), np.tile(rates, (7, 1)), atol=1e-9)


def test_accelerations_are_compact_so_that_a_zigzag_is_seen():
    zigzag = 0.1 * (-1.0) ** np.arange(6)[:, None]
    np.testing.assert_allclose(accelerations(zigzag, 0.1)[1:-1], -400 * zigzag[1:-1])
    np.testing.assert_array_equal(accelerations(zigzag, 0.1)[[0, -1]], accelerations(zigzag, 0.1)[[1, -2]])


@pytest.mark.parametrize("frames", [1, 2])
def test_too_few_postures_do_not_accelerate(frames):
    np.testing.assert_array_equal(accelerations(np.ones((frames, 3)), 0.02), np.zeros((frames, 3)))


def test_two_links_need_the_moments_of_the_textbook(links):
    random = np.random.default_rng(0)
    q, v, a = random.normal(size=(3, 20, 2))
    expected = np.array([two_link_moments(*row) for row in zip(q, v, a, strict=True)])
    found = inverse_dynamics(links, Trajectory(q, v, a))
    np.testing.assert_allclose(found.net, expected, atol=1e-10)
    np.testing.assert_allclose(found.passive, np.stack((-0.3 * v[:, 0], -0.7 * q[:, 1]), axis=1), atol=1e-12)
    np.testing.assert_allclose(found.moments, found.net - found.passive)


def test_a_pendulum_that_swings_freely_needs_no_moment(links):
    """g sin(q) over the reduced length, with the elbow's own moment left as it is."""
    q, v = np.array([[0.7, 0.0]]), np.zeros((1, 2))
    inertia_, weight = (
        two_link_moments(np.zeros(2), v[0], np.array([1.0, 0.0]))[0],
        two_link_moments(q[0], v[0], v[0])[0],
    )
    assert abs(inverse_dynamics(links, Trajectory(q, v, np.array([[-weight / inertia_, 0.0]]))).net[0, 0]) < 1e-10


def test_accelerations_of_a_free_root_are_those_of_its_velocity(body):
    """A tumbling body: differences of postures against a known angular acceleration in the body's frame."""
    m, dt, spin = body.mj_model, 1e-3, np.array([0.4, -1.0, 2.0])
    qpos = np.tile(m.qpos0, (5, 1))
    for t in range(4):
        qpos[t + 1] = qpos[t]
        rate = np.zeros(m.nv)
        rate[:6] = [0.1 * t, 0.0, -9.81 * t * dt, *(spin * (1 + 3 * t * dt))]
        mujoco.mj_integratePos(m, qpos[t + 1], rate, dt)
    found = accelerations(qpos, dt, body)[1:-1]
    np.testing.assert_allclose(found[:, :6], np.tile([100.0, 0.0, -9.81, *(3 * spin)], (3, 1)), atol=1e-4)
    np.testing.assert_allclose(found[:, 6:], 0.0, atol=1e-9)


def test_parts_of_a_simulated_moment_sum_to_what_inverse_dynamics_finds(arms):
    qpos, qvel, _ = random_motion(arms, 4)
    act = np.random.default_rng(1).uniform(size=(4, arms.mj_model.nu))
    parts = simulated_moments(arms, qpos, qvel, act)
    m = copy.copy(arms.mj_model)
    m.opt.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_EQUALITY | mujoco.mjtDisableBit.mjDSBL_CONTACT)
    data = mujoco.MjData(m)
    for t in range(4):
        data.qpos[:], data.qvel[:], data.act[:] = qpos[t], qvel[t], act[t]
        mujoco.mj_forward(m, data)
        net = inverse_dynamics(arms, Trajectory(qpos[t : t + 1], qvel[t : t + 1], data.qacc[None])).net[0]
        np.testing.assert_allclose((parts.muscle + parts.passive)[t], net, atol=1e-6)
    assert (parts.limit == 0).all(), "no joint is at the end of its range"
    assert np.abs(parts.muscle).max() > 1.0
