"""Static optimisation on movements whose muscles are known."""

from __future__ import annotations

import copy

import mujoco
import numpy as np
import pytest
import torch

from musclewarp.dynamics import Criterion, Trajectory, optimize_activations
from musclewarp.errors import ConfigError, MusclewarpError
from musclewarp.models import MuscleModel
from musclewarp.references.quality import lowest_foot_heights

EFFORT = Criterion().reserve


@pytest.fixture(scope="module")
def driven(arms: MuscleModel) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Activations of 12 frames, and the postures, velocities and accelerations that MuJoCo lets them cause."""
    random, m = np.random.default_rng(0), copy.copy(arms.mj_model)
    m.opt.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_CONSTRAINT)
    data = mujoco.MjData(m)
    frames = []
    for _ in range(12):
        low, high = m.jnt_range[m.dof_jntid[arms.joint_dofs]].T
        mujoco.mj_resetData(m, data)
        data.qpos[arms.joint_qpos] = low + (high - low) * random.uniform(0.3, 0.7, size=len(low))
        data.qpos[:] = arms.couplings.project_qpos(torch.from_numpy(data.qpos.copy()))
        speed = torch.from_numpy(random.normal(size=m.nv))
        data.qvel[:] = arms.couplings.project_qvel(torch.from_numpy(data.qpos.copy()), speed)
        data.act[:] = random.uniform(0, 0.6, size=m.nu)
        mujoco.mj_forward(m, data)
        frames.append([x.copy() for x in (data.act, data.qpos, data.qvel, data.qacc)])
    act, qpos, qvel, qacc = (np.array(x) for x in zip(*frames, strict=True))
    return act, qpos, qvel, qacc


def test_moments_that_muscles_caused_are_met_with_no_more_effort(arms, driven):
    act, *motion = driven
    found = optimize_activations(arms, Trajectory(*motion))
    assert ((found.activations >= 0) & (found.activations <= 1)).all()
    assert (np.square(found.activations).sum(1) <= np.square(act).sum(1) + 1e-9).all()
    # a moment may be missed by no more than what that saves of the effort is worth
    missed = np.square(found.residual).sum(1) + EFFORT**2 * np.square(found.activations).sum(1)
    assert (missed <= EFFORT**2 * np.square(act).sum(1) + 1e-9).all()
    assert np.abs(found.residual).max() < 0.5


def test_a_bound_on_the_activations_holds_and_leaves_moments_missing(arms, driven):
    _, qpos, qvel, qacc = driven
    movement = Trajectory(qpos, qvel, 3 * qacc)
    free = optimize_activations(arms, movement)
    bounded = optimize_activations(arms, movement, Criterion(max_activation=0.2))
    assert free.activations.max() > 0.2
    assert bounded.activations.max() <= 0.2
    assert (np.square(bounded.residual).sum(1) >= np.square(free.residual).sum(1) - 1e-9).all()
    assert np.abs(bounded.residual).max() > 1.0


@pytest.mark.parametrize("upper", [1.0, 0.2])
def test_no_activation_within_the_bounds_is_better(arms, driven, upper):
    """The conditions of Karush, Kuhn and Tucker, with gains that MuJoCo's own actuator forces give."""
    _, qpos, qvel, qacc = driven
    found = optimize_activations(arms, Trajectory(qpos, qvel, 3 * qacc), Criterion(max_activation=upper))
    m = arms.mj_model
    data, free, bounded = mujoco.MjData(m), 0, 0
    for t, (activation, residual) in enumerate(zip(found.activations, found.residual, strict=True)):
        data.qpos[:], data.qvel[:] = qpos[t], qvel[t]
        forces = []
        for active in (np.zeros(m.nu), *np.eye(m.nu)):
            data.act[:] = active
            mujoco.mj_forward(m, data)
            forces.append(data.qfrc_actuator.copy())
        columns = torch.from_numpy(np.array(forces[1:]) - forces[0])[None]
        gains = arms.couplings.reduce_columns(torch.from_numpy(qpos[t])[None], columns)[0].numpy()
        gradient = (gains @ residual + EFFORT**2 * activation) / np.maximum(np.linalg.norm(gains, axis=1), 1.0)  # Nm
        relaxed, full = activation < 1e-12, activation > upper - 1e-12
        assert gradient[relaxed].min() > -1e-4
        assert gradient[full].max(initial=-1.0) < 1e-4
        assert np.abs(gradient[~relaxed & ~full]).max(initial=0.0) < 1e-4
        free, bounded = free + (~relaxed & ~full).sum(), bounded + full.sum()
    assert min(free, bounded) > 10, "bounds that nobody meets prove nothing"


def test_a_frame_that_is_not_finite_is_named_with_its_chunk(arms, driven):
    _, qpos, qvel, qacc = driven
    broken = qacc.copy()
    broken[3, 0] = np.nan
    with pytest.raises(MusclewarpError, match=r"frames 0 to 127: 1 of 12 .* number 3"):
        optimize_activations(arms, Trajectory(qpos, qvel, broken))


@pytest.mark.parametrize("upper", [1.0, 0.2])
def test_daqp_and_the_batched_solver_agree(arms, driven, upper):
    pytest.importorskip("daqp")
    _, *motion = driven
    one, other = (
        optimize_activations(arms, Trajectory(*motion), Criterion(max_activation=upper, solver=name))
        for name in ("newton", "daqp")
    )
    np.testing.assert_allclose(one.activations, other.activations, atol=1e-4)
    np.testing.assert_allclose(one.residual, other.residual, atol=1e-4)


def test_costs_change_who_works_but_not_what_is_produced(arms, driven):
    _, *motion = driven
    found = {
        name: optimize_activations(arms, Trajectory(*motion), criterion)
        for name, criterion in (
            ("plain", Criterion()),
            ("cubic", Criterion(power=3.0)),
            ("volume", Criterion(weight="volume")),
        )
    }
    volume = (arms.muscles["peak_force"] * arms.muscles["optimal_fibre_length"]).to_numpy()
    effort = {name: np.square(result.activations) @ volume for name, result in found.items()}
    cubes = {name: (result.activations**3).sum() for name, result in found.items()}
    assert effort["volume"].sum() < 0.99 * effort["plain"].sum()
    assert cubes["cubic"] < 0.99 * cubes["plain"]
    for result in found.values():
        assert np.abs(result.residual).max() < 1.0


@pytest.mark.parametrize(
    "wrong",
    [
        {"power": 1.5},
        {"weight": "mass"},
        {"solver": "simplex"},
        {"reserve": 0.0},
        {"max_activation": 0.0},
        {"max_activation": 1.1},
    ],
)
def test_a_criterion_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(ConfigError, match=f"criterion.{next(iter(wrong))}"):
        Criterion(**wrong)


def test_a_standing_body_is_carried_by_the_ground(body):
    """Feet on the floor, nothing moves: the pyramids carry the weight, and the root needs nothing else."""
    m, rest = body.mj_model, np.zeros((1, body.mj_model.nv))
    qpos = body.couplings.project_qpos(torch.from_numpy(m.qpos0[None])).numpy()
    qpos[:, 2] -= lowest_foot_heights(body, qpos)
    found = optimize_activations(body, Trajectory(qpos, rest, rest))
    weight = m.body_mass.sum() * 9.81
    np.testing.assert_allclose(found.ground_force.sum(axis=1)[0], [0, 0, weight], atol=0.02 * weight)
    assert (found.ground_force[..., 2] > 0.2 * weight).all()
    assert np.abs(found.residual[:, :6]).max() < 0.02 * weight
    flying = qpos + np.eye(m.nq)[2]
    assert (optimize_activations(body, Trajectory(flying, rest, rest)).ground_force == 0).all()
