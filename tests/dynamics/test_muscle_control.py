"""Moment arms, excitations and the muscle control of an engine."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from musclewarp.dynamics import MomentArms, excitation_for
from musclewarp.dynamics.muscle_control import MuscleControl
from musclewarp.engines.native import NativeEngine
from musclewarp.engines.warp import WarpEngine
from musclewarp.kernels.activation import activation_step
from musclewarp.models.muscles import moment_arms


@pytest.mark.parametrize("name", ["arms", "body"])
def test_moment_arms_of_a_batch_are_those_of_each_posture(name, request):
    model = request.getfixturevalue(name)
    m, random = model.mj_model, np.random.default_rng(0)
    qpos = np.tile(m.qpos0, (3, 1))
    low, high = m.jnt_range[m.dof_jntid[model.joint_dofs]].T
    qpos[:, model.joint_qpos] = low + (high - low) * random.uniform(0.2, 0.8, size=(3, len(low)))
    if model.has_free_root:
        qpos[:, 3:7] = random.normal(size=(3, 4))
    qpos = model.couplings.project_qpos(torch.from_numpy(qpos)).numpy()
    data, moments = mujoco.MjData(m), []
    for posture in qpos:
        data.qpos[:] = posture
        mujoco.mj_fwdPosition(m, data)
        moments.append(data.actuator_moment.copy())
    found = MomentArms(model)(torch.from_numpy(np.array(moments)), torch.from_numpy(qpos))
    expected = np.array([moment_arms(m, model.couplings, posture).T for posture in qpos])
    np.testing.assert_allclose(found, expected, atol=1e-12)
    rows = np.isin(model.couplings.independent, model.joint_dofs)
    joints = MomentArms(model, dofs=model.joint_dofs)(torch.from_numpy(np.array(moments)), torch.from_numpy(qpos))
    np.testing.assert_allclose(joints, expected[:, rows], atol=1e-12)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), exact=st.booleans(), substeps=st.integers(4, 8))
def test_an_excitation_leads_to_its_activation_or_as_near_as_it_can(seed, exact, substeps):
    torch.manual_seed(seed)
    activation, goal = torch.rand(2, 4, 30, dtype=torch.float64)
    taus = torch.tensor([0.01, 0.04], dtype=torch.float64)
    found = excitation_for(activation, goal, *taus, 0.02 / substeps, substeps, exact)
    reached, nothing = activation, torch.zeros((), dtype=torch.float64)
    for _ in range(substeps):
        reached = activation_step(found, reached, *taus, nothing, 0.02 / substeps, exact)
    assert ((found >= 0) & (found <= 1)).all()
    within = (found > 0) & (found < 1)
    assert (reached - goal)[within].abs().max() < 5e-3
    assert (reached <= goal + 5e-3)[found == 1].all()
    assert (reached >= goal - 5e-3)[found == 0].all()


@pytest.mark.parametrize("kind", [NativeEngine, WarpEngine])
def test_muscles_of_an_engine_produce_the_moments_asked_for(arms, kind):
    """Moments that MuJoCo's own muscle forces make at known activations come back."""
    engine, m = kind(arms, 3), arms.mj_model
    torch.manual_seed(0)
    low, high = torch.from_numpy(m.jnt_range[m.dof_jntid[arms.joint_dofs]].T.copy())
    qpos = torch.from_numpy(m.qpos0).repeat(3, 1)
    qpos[:, arms.joint_qpos] = low + (high - low) * (0.4 + 0.2 * torch.rand(3, len(low), dtype=torch.float64))
    qpos = arms.couplings.project_qpos(qpos)
    act = 0.3 * torch.rand(3, m.nu, dtype=torch.float64)
    control = MuscleControl(engine, iterations=12, reserve=0.3)
    everyone = torch.ones(3, dtype=torch.bool, device=engine.device)
    engine.reset(everyone, *(value.to(engine.dtype) for value in (qpos, torch.zeros(3, m.nv), act)))
    data, moments = mujoco.MjData(m), []
    for n in range(3):
        data.qpos[:], data.act[:] = qpos[n], act[n]
        mujoco.mj_forward(m, data)
        moments.append(arms.couplings.reduce_columns(qpos[n], torch.tensor(data.qfrc_actuator)[None])[0])
    command = control(torch.stack(moments).float(), control.start())
    assert command.missing.abs().max() < 0.3
    assert (command.activation.square().sum(1) <= act.square().sum(1) + 1e-3).all()
    engine.ctrl.copy_(command.excitation)
    engine.step()
    reachable = (command.excitation > 0) & (command.excitation < 1)
    assert (engine.act.float() - command.activation)[reachable].abs().max() < 5e-3
