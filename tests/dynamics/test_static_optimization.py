"""Static optimisation on movements whose muscles are known."""

from __future__ import annotations

import copy

import mujoco
import numpy as np
import pytest
import scipy.optimize
import torch

from musclewarp.dynamics import optimize_activations
from musclewarp.dynamics.static_optimization import EFFORT
from musclewarp.errors import ModelError, MusclewarpError
from musclewarp.models import MuscleModel


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
        data.qvel[:] = random.normal(size=m.nv)
        data.act[:] = random.uniform(0, 0.6, size=m.nu)
        mujoco.mj_forward(m, data)
        frames.append([x.copy() for x in (data.act, data.qpos, data.qvel, data.qacc)])
    act, qpos, qvel, qacc = (np.array(x) for x in zip(*frames, strict=True))
    return act, qpos, qvel, qacc


def test_moments_that_muscles_caused_are_met_with_no_more_effort(arms, driven):
    act, *motion = driven
    found = optimize_activations(arms, *motion)
    assert ((found.activations >= 0) & (found.activations <= 1)).all()
    assert (np.square(found.activations).sum(1) <= np.square(act).sum(1) + 1e-9).all()
    # a moment may be missed by no more than what that saves of the effort is worth
    missed = np.square(found.residual).sum(1) + EFFORT**2 * np.square(found.activations).sum(1)
    assert (missed <= EFFORT**2 * np.square(act).sum(1) + 1e-9).all()
    assert np.abs(found.residual).max() < 0.5


def test_a_bound_on_the_activations_holds_and_leaves_moments_missing(arms, driven):
    _, qpos, qvel, qacc = driven
    free = optimize_activations(arms, qpos, qvel, 3 * qacc)
    bounded = optimize_activations(arms, qpos, qvel, 3 * qacc, max_activation=0.2)
    assert free.activations.max() > 0.2
    assert bounded.activations.max() <= 0.2
    assert (np.square(bounded.residual).sum(1) >= np.square(free.residual).sum(1) - 1e-9).all()
    assert np.abs(bounded.residual).max() > 1.0


@pytest.mark.parametrize("upper", [1.0, 0.2])
def test_no_activation_within_the_bounds_is_better(arms, driven, upper):
    """The conditions of Karush, Kuhn and Tucker, with gains that MuJoCo's own actuator forces give."""
    _, qpos, qvel, qacc = driven
    found = optimize_activations(arms, qpos, qvel, 3 * qacc, max_activation=upper)
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


@pytest.mark.parametrize("solver", ["nnls", "lsq_linear"])
def test_a_solver_that_does_not_converge_names_the_frame(arms, driven, solver, monkeypatch):
    _, qpos, qvel, qacc = driven
    solve, calls = getattr(scipy.optimize, solver), []

    def tire(*args, **options):
        calls.append(solver)
        if solver == "nnls":
            if len(calls) == 4:
                raise RuntimeError("Maximum number of iterations reached.")
            return solve(*args, **options)
        return scipy.optimize.OptimizeResult(x=np.zeros(64), success=False, message="The maximum number of iterations")

    monkeypatch.setattr(scipy.optimize, solver, tire)
    frame = r"\d+" if solver == "lsq_linear" else "3"
    with pytest.raises(MusclewarpError, match=rf"did not converge in frame {frame} \(.*aximum number of iter"):
        optimize_activations(arms, qpos, qvel, 3 * qacc, max_activation=0.2)


def test_a_body_on_the_ground_is_refused(body):
    m = body.mj_model
    with pytest.raises(ModelError, match="stands on the ground"):
        optimize_activations(body, m.qpos0[None], np.zeros((1, m.nv)), np.zeros((1, m.nv)))
