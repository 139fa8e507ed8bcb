"""Inverse dynamics against MuJoCo's own, and its derivatives against differences."""

from __future__ import annotations

import copy

import mujoco
import numpy as np
import pytest
import torch

from musclewarp.dynamics import accelerations, inverse_dynamics
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


@pytest.mark.parametrize("name", ["arms", "body"])
def test_moments_are_those_of_mujoco_folded_on_the_independent_coordinates(name, request):
    model = request.getfixturevalue(name)
    qpos, qvel, qacc = random_motion(model, 5)
    m = copy.copy(model.mj_model)
    m.opt.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_CONSTRAINT)
    data = mujoco.MjData(m)
    found = inverse_dynamics(model, qpos, qvel, qacc).moments
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
    dynamics = inverse_dynamics(model, qpos, still, qacc)
    for k, dof in enumerate(model.couplings.independent):
        along = np.zeros_like(qacc)
        along[:, dof] = 1.0
        along = model.couplings.project_qvel(torch.from_numpy(qpos), torch.from_numpy(along)).numpy()
        heavier = inverse_dynamics(model, qpos, still, qacc + along).moments - dynamics.moments
        np.testing.assert_allclose(heavier, dynamics.mass[:, :, k], rtol=1e-7, atol=1e-7)
        # Coriolis forces are even in the velocity, so that the central difference leaves the damping alone
        faster, slower = (inverse_dynamics(model, qpos, sign * step * along, qacc).moments for sign in (1, -1))
        drag = np.zeros_like(heavier)
        drag[:, k] = dynamics.damping[:, k]
        np.testing.assert_allclose((faster - slower) / (2 * step), drag, atol=1e-6)


def test_mass_is_symmetric_and_positive(arms):
    mass = inverse_dynamics(arms, *random_motion(arms, 20)).mass
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
