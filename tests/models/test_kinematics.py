"""Forward kinematics and Jacobians of the tracking sites, against MuJoCo's own."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
import torch

from musclewarp.models import MuscleModel, load_model
from musclewarp.models.kinematics import Kinematics, quat_to_matrix

POSTURES = 6


@pytest.fixture(scope="module", params=["bimanual", "myofullbody"])
def model(request) -> MuscleModel:
    return load_model(request.param)


@pytest.fixture(scope="module")
def postures(model: MuscleModel) -> np.ndarray:
    """Random postures `(B, nq)` within the ranges, anywhere in the world, quaternions of any length."""
    m, random = model.mj_model, np.random.default_rng(0)
    qpos = np.tile(m.qpos0, (POSTURES, 1))
    for joint in range(m.njnt):
        address = m.jnt_qposadr[joint]
        if m.jnt_type[joint] == mujoco.mjtJoint.mjJNT_FREE:
            qpos[:, address : address + 3] = random.normal(size=(POSTURES, 3))
            qpos[:, address + 3 : address + 7] = random.normal(size=(POSTURES, 4))  # far from unit length
        else:
            low, high = m.jnt_range[joint] if m.jnt_limited[joint] else (-1.0, 1.0)
            qpos[:, address] = random.uniform(low, high, size=POSTURES)
    return qpos


def mujoco_at(model: MuscleModel, qpos: np.ndarray) -> mujoco.MjData:
    data = mujoco.MjData(model.mj_model)
    data.qpos[:] = qpos
    mujoco.mj_kinematics(model.mj_model, data)
    mujoco.mj_comPos(model.mj_model, data)
    return data


def test_site_positions_and_rotations_are_those_of_mujoco(model: MuscleModel, postures: np.ndarray):
    poses = Kinematics(model)(torch.from_numpy(postures))
    for b, qpos in enumerate(postures):
        data = mujoco_at(model, qpos)
        np.testing.assert_allclose(poses.position[b], data.site_xpos[model.site_ids], atol=1e-12)
        expected = data.site_xmat[model.site_ids].reshape(-1, 3, 3)
        np.testing.assert_allclose(poses.rotation[b], expected, atol=1e-12)


def test_site_jacobians_are_those_of_mujoco(model: MuscleModel, postures: np.ndarray):
    jacobian = Kinematics(model)(torch.from_numpy(postures)).jacobian
    linear, angular = np.zeros((2, 3, model.mj_model.nv))
    for b, qpos in enumerate(postures):
        data = mujoco_at(model, qpos)
        for s, site in enumerate(model.site_ids):
            mujoco.mj_jacSite(model.mj_model, data, linear, angular, site)
            np.testing.assert_allclose(jacobian[b, s], np.concatenate((linear, angular)), atol=1e-12)


def test_points_away_from_the_origin_of_any_body_agree_with_mujoco(model: MuscleModel, postures: np.ndarray):
    m, random = model.mj_model, np.random.default_rng(1)
    bodies = np.arange(0, m.nbody, 3)  # the world, too
    offsets = random.normal(scale=0.2, size=(len(bodies), 3))
    poses = Kinematics(model, bodies, offsets)(torch.from_numpy(postures[:2]))
    linear, angular = np.zeros((2, 3, m.nv))
    for b, qpos in enumerate(postures[:2]):
        data = mujoco_at(model, qpos)
        for k, body in enumerate(bodies):
            point = data.xpos[body] + data.xmat[body].reshape(3, 3) @ offsets[k]
            np.testing.assert_allclose(poses.position[b, k], point, atol=1e-12)
            mujoco.mj_jac(m, data, linear, angular, point, body)
            np.testing.assert_allclose(poses.jacobian[b, k], np.concatenate((linear, angular)), atol=1e-12)


def test_the_jacobian_is_the_derivative_of_the_position_along_qvel(model: MuscleModel, postures: np.ndarray):
    m, random, step = model.mj_model, np.random.default_rng(2), 1e-6
    kinematics, velocity = Kinematics(model), random.normal(size=m.nv)
    qpos = postures[0].copy()
    mujoco.mj_normalizeQuat(m, qpos)
    ahead, behind = qpos.copy(), qpos.copy()
    mujoco.mj_integratePos(m, ahead, velocity, step)
    mujoco.mj_integratePos(m, behind, velocity, -step)
    now, after, before = (kinematics(torch.from_numpy(q[None])) for q in (qpos, ahead, behind))
    speed = now.jacobian[0, :, :3] @ torch.from_numpy(velocity)
    np.testing.assert_allclose(speed, (after.position - before.position)[0] / (2 * step), atol=1e-7)


def test_poses_without_a_jacobian_are_the_same_bits(model: MuscleModel, postures: np.ndarray):
    kinematics, qpos = Kinematics(model), torch.from_numpy(postures)
    without, having = kinematics(qpos, jacobian=False), kinematics(qpos)
    assert torch.equal(without.position, having.position)
    assert torch.equal(without.rotation, having.rotation)
    assert without.jacobian.numel() == 0


def test_quaternions_of_any_length_make_rotation_matrices():
    quat = torch.from_numpy(np.random.default_rng(3).normal(size=(10, 4)))
    matrix, expected = quat_to_matrix(quat), np.zeros(9)
    for row, ours in zip(quat, matrix, strict=True):
        mujoco.mju_quat2Mat(expected, (row / row.norm()).numpy())
        np.testing.assert_allclose(ours.flatten(), expected, atol=1e-12)
    np.testing.assert_allclose(quat_to_matrix(1e-3 * quat), matrix, atol=1e-12)
