"""What the targets tell is not smoothed; what they leave open is."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
import torch

from musclewarp.retarget.ik_config import IKConfig, site_weights
from musclewarp.retarget.smoothness import _TOLD, acceleration_weights


def test_a_whole_bodys_weights_fall_with_what_moves_the_sites(body):
    """Against MuJoCo's own Jacobians, with coupled joints moved along by finite differences."""
    config, m, data, step = IKConfig(), body.mj_model, mujoco.MjData(body.mj_model), 1e-6
    weights, sites = site_weights(body, config).numpy(), np.asarray(body.site_ids)
    expected = []
    for dof in body.couplings.independent:
        places = []
        for sign in (1.0, -1.0):
            qvel, qpos = np.zeros(m.nv), m.qpos0.copy()
            qvel[dof] = sign
            mujoco.mj_integratePos(m, qpos, qvel, step)
            data.qpos[:] = body.couplings.project_qpos(torch.from_numpy(qpos)).numpy()
            mujoco.mj_kinematics(m, data)
            places.append(data.site_xpos[sites].copy())
        slope = (places[0] - places[1]) / (2 * step)
        told = (weights[:, None] * slope**2).sum()
        expected.append(config.whole_body_acceleration * _TOLD / (_TOLD + told))
    np.testing.assert_allclose(acceleration_weights(body, config).numpy(), expected, rtol=1e-3)


def test_twists_are_smoothed_and_hips_are_not(body):
    config = IKConfig()
    weight = dict(
        zip(
            (body.dof_names[dof] for dof in body.couplings.independent), acceleration_weights(body, config), strict=True
        )
    )
    for joint in ("elv_angle_r", "pro_sup_l", "mtp_angle_r"):
        assert weight[joint] > 0.5 * config.whole_body_acceleration
    for joint in ("hip_flexion_l", "knee_angle_r", "shoulder_elv_l", "flex_extension"):
        assert weight[joint] < 0.05 * config.whole_body_acceleration


def test_arms_alone_keep_their_two_weights(arms):
    config = IKConfig()
    weights = acceleration_weights(arms, config)
    assert set(weights.tolist()) == {config.acceleration, config.shoulder_acceleration}
    names = [arms.dof_names[dof] for dof in arms.couplings.independent]
    assert weights[names.index("elbow_flex_r")].item() == pytest.approx(config.acceleration)
