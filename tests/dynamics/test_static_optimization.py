"""Static optimisation on movements whose muscles are known."""

from __future__ import annotations

import copy

import mujoco
import numpy as np
import pytest

from musclewarp.dynamics import optimize_activations
from musclewarp.dynamics.static_optimization import EFFORT
from musclewarp.errors import ModelError
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


def test_a_body_on_the_ground_is_refused(body):
    m = body.mj_model
    with pytest.raises(ModelError, match="stands on the ground"):
        optimize_activations(body, m.qpos0[None], np.zeros((1, m.nv)), np.zeros((1, m.nv)))
