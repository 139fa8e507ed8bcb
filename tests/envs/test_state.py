"""What is read from an engine: owned, in float32, and where MuJoCo says it is."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
import torch

from musclewarp.envs.state import _center_of_pressure


def test_the_state_of_a_step_is_unchanged_after_the_next(make_env, act):
    for name in ("bimanual", "myofullbody"):
        env = make_env(name, worlds=2)
        env.reset()
        first = env.step(act(env))["next"]
        state, target = env.state, env.target
        seen = [*first.values(), *(value for x in (state, target.now, target.ahead) for _, value in x.items())]
        kept = [x.clone() for x in seen]
        env.step(act(env, seed=1))
        for value, copy in zip(seen, kept, strict=True):
            assert torch.equal(value, copy)
        assert (env.state.joint_pos != state.joint_pos).any(), "nothing moved: the test proves nothing"


@pytest.mark.parametrize("name", ["bimanual", "myofullbody"])
def test_the_state_shares_no_memory_with_the_engine(make_env, name):
    env = make_env(name, worlds=2)
    live = [env.engine.qpos, env.engine.qvel, env.engine.act, env.engine.ctrl, *env.engine.derived.values()]
    ranges = [(x.data_ptr(), x.data_ptr() + x.nbytes) for x in live]
    for key, value in env.state.items():
        assert value.dtype == torch.float32, key
        assert not any(low <= value.data_ptr() < high for low, high in ranges), key


@pytest.mark.parametrize("name", ["bimanual", "myofullbody"])
def test_the_state_is_what_mujoco_computes(make_env, act, name):
    env = make_env(name, worlds=2)
    env.reset()
    env.step(act(env))
    model, state = env.model, env.state[1]
    m, data = model.mj_model, mujoco.MjData(model.mj_model)
    for key in ("qpos", "qvel", "act", "ctrl"):
        getattr(data, key)[:] = getattr(env.engine, key)[1]
    mujoco.mj_forward(m, data)
    low, high = m.actuator_gainprm[:, :2].T
    optimal = np.diff(m.actuator_lengthrange, axis=1)[:, 0] / (high - low)
    velocity = np.zeros((len(model.sites), 6))
    for row, site in zip(velocity, model.site_ids, strict=True):
        mujoco.mj_objectVelocity(m, data, mujoco.mjtObj.mjOBJ_SITE, site, row, 0)  # angular, then linear, in the world
    expected = {
        "joint_pos": data.qpos[model.joint_qpos],
        "joint_vel": data.qvel[model.joint_dofs],
        "root_pos": data.site_xpos[model.site_ids[0]],
        "root_quat": data.xquat[m.site_bodyid[model.site_ids[0]]],
        "root_angvel": velocity[0, :3],
        "root_linvel": velocity[0, 3:],
        "site_pos": data.site_xpos[model.site_ids],
        "site_vel": velocity[:, 3:],
        "excitation": data.ctrl,
        "activation": data.act,
        "fibre_length": (data.actuator_length - m.actuator_lengthrange[:, 0]) / optimal + low,
        "fibre_velocity": data.actuator_velocity / optimal,
    }
    for key, value in expected.items():
        np.testing.assert_allclose(getattr(state, key), value, rtol=1e-5, atol=1e-5, err_msg=key)


def test_foot_forces_and_centres_of_pressure_are_those_of_the_contacts(make_env):
    env = make_env("myofullbody", worlds=1)
    m = env.model.mj_model
    qpos = env.library.qpos[:1].clone()
    qpos[:, 2] -= 0.02  # deep enough for several contacts
    env.engine.reset(torch.ones(1, dtype=torch.bool), qpos, 0 * env.engine.qvel, 0 * env.engine.act)
    state = env._read_state()
    data = mujoco.MjData(m)
    data.qpos[:] = qpos[0]
    mujoco.mj_forward(m, data)
    floor = m.geom("floor").id
    total, moment, vertical, force = np.zeros(3), np.zeros(3), 0.0, np.zeros(6)
    for i, contact in enumerate(data.contact):
        if floor not in contact.geom:
            continue
        mujoco.mj_contactForce(m, data, i, force)
        sign = 1.0 if contact.geom[0] == floor else -1.0  # the force is on the second geom
        pushed = sign * contact.frame.reshape(3, 3).T @ force[:3]
        total += pushed
        moment += pushed[2] * contact.pos
        vertical += pushed[2]
    assert vertical > 20
    np.testing.assert_allclose(state.foot_force[0].sum(0), total, rtol=1e-4, atol=0.05)
    own = (state.foot_force[0, :, 2:] * state.foot_cop[0]).sum(0) / state.foot_force[0, :, 2].sum()
    np.testing.assert_allclose(own[:2], (moment / vertical)[:2], atol=2e-3)
    count = sum(floor in contact.geom and contact.dist < contact.includemargin for contact in data.contact)
    assert int(state.floor_contacts) == count
    assert int(state.foot_contacts.sum()) == count


def test_arms_have_no_feet_and_no_floor(make_env):
    state = make_env(worlds=2).state
    assert state.foot_force.shape == (2, 0, 3)
    assert (state.floor_contacts == 0).all()


def test_the_centre_of_pressure_is_where_the_force_acts():
    about, acts = torch.tensor([0.1, 0.2, 0.0]), torch.tensor([0.15, -0.05, 0.0])
    force = torch.tensor([30.0, -20.0, 700.0])
    torque = torch.linalg.cross(acts - about, force) + torch.tensor([0.0, 0.0, 4.0])  # a free moment does not move it
    np.testing.assert_allclose(_center_of_pressure(force, torque, about), acts, atol=1e-6)


def test_there_is_no_centre_of_pressure_without_a_load():
    about, torque = torch.tensor([0.1, 0.2, 0.0]), torch.tensor([5.0, 5.0, 5.0])
    for vertical in (0.0, 0.5, -300.0):
        cop = _center_of_pressure(torch.tensor([0.0, 0.0, vertical]), torque, about)
        assert cop.tolist() == [0.0, 0.0, 0.0]
