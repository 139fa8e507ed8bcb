"""Quality numbers, computed by hand on references that are wrong on purpose."""

from __future__ import annotations

from dataclasses import replace

import mujoco
import numpy as np
import pytest
import torch

from musclewarp.references import make_reference
from musclewarp.references.quality import limit_violation, lowest_foot_heights, reference_quality


def test_a_perfect_reference_has_no_errors(arms, arms_reference):
    quality = reference_quality(arms, arms_reference)
    assert quality["target_error_m"] == 0
    assert quality["coupling_residual_rad"] < 1e-12
    assert quality["coupling_velocity_residual_rad_s"] < 1e-12
    assert quality["limit_violation_percent"] == 0
    assert "penetration_m" not in quality  # arms have no feet


def test_target_error_is_the_mean_distance_relative_to_the_root(arms, arms_reference):
    targets = arms_reference.site_positions + np.array([10.0, -5.0, 1.0])  # the place of the person does not count
    targets[3, 2] += [0.03, 0.04, 0.0]
    targets[5, 4] += [0.0, 0.0, 0.1]
    quality = reference_quality(arms, replace(arms_reference, target_positions=targets))
    assert quality["target_error_m"] == pytest.approx((0.05 + 0.1) / (12 * (len(arms.sites) - 1)))


def test_coupling_residuals_are_the_largest_violations(arms, arms_reference):
    qpos, qvel = arms_reference.qpos.copy(), arms_reference.qvel.copy()
    qpos[2, arms.couplings.dependent_qpos[1]] -= 0.2
    qpos[3, arms.couplings.dependent_qpos[0]] += 0.1
    qvel[7, arms.couplings.dependent[2]] -= 3.0
    quality = reference_quality(arms, replace(arms_reference, qpos=qpos, qvel=qvel))
    assert quality["coupling_residual_rad"] == pytest.approx(0.2)
    assert quality["coupling_velocity_residual_rad_s"] == pytest.approx(3.0)


def test_limit_violation_counts_pairs_of_frame_and_joint(arms, arms_reference):
    m, qpos = arms.mj_model, arms_reference.qpos.copy()
    joints = [m.joint("elbow_flex_r").id, m.joint("shoulder_elv_l").id]
    qpos[4, m.jnt_qposadr[joints[0]]] = m.jnt_range[joints[0], 1] + 0.3
    qpos[6, m.jnt_qposadr[joints[1]]] = m.jnt_range[joints[1], 0] - 0.2
    qpos[7, m.jnt_qposadr[joints[1]]] = m.jnt_range[joints[1], 0] - 0.0005  # within the tolerance
    outside = limit_violation(arms, qpos)
    assert outside[4, joints[0]] == pytest.approx(0.3)
    assert outside[6, joints[1]] == pytest.approx(0.2)
    assert np.count_nonzero(outside > 1e-3) == 2
    quality = reference_quality(arms, replace(arms_reference, qpos=qpos))
    assert quality["limit_violation_percent"] == pytest.approx(100 * 2 / (12 * m.njnt))


def test_a_free_root_has_no_limits_wherever_it_is(body, body_reference):
    qpos = body_reference.qpos.copy()
    qpos[:, :3] += 100.0
    np.testing.assert_array_equal(limit_violation(body, qpos), limit_violation(body, body_reference.qpos))


def test_peak_speeds_are_those_of_the_fastest_joint_and_site(arms, arms_reference):
    qvel = arms_reference.qvel.copy()
    qvel[5, arms.joint_dofs[3]] = -77.0
    sites = np.zeros_like(arms_reference.site_positions)
    sites[6:, 2] = [0.3, 0.4, 0.0]
    quality = reference_quality(arms, replace(arms_reference, qvel=qvel, site_positions=sites))
    assert quality["peak_joint_speed_rad_s"] == 77.0
    assert quality["peak_site_speed_m_s"] == pytest.approx(0.5 / arms_reference.dt)


def test_penetration_and_floating_are_the_extremes_over_frames(body):
    posture = body.couplings.project_qpos(torch.from_numpy(body.mj_model.qpos0.copy())).numpy()
    qpos = np.tile(posture, (4, 1))
    qpos[:, 2] -= lowest_foot_heights(body, qpos[:1])[0]  # stands on the floor
    qpos[:, 2] += [0.0, -0.02, 0.15, -0.01]
    quality = reference_quality(body, make_reference(body, qpos, 0.02, "hop"))
    assert quality["penetration_m"] == pytest.approx(0.02)
    assert quality["floating_m"] == pytest.approx(0.15)


@pytest.mark.parametrize("gap", [5e-4, -0.002])
def test_the_lowest_foot_point_is_the_nearest_that_mujoco_finds_to_the_floor(body, gap):
    m, data = body.mj_model, mujoco.MjData(body.mj_model)
    for tilt in ([1.0, 0, 0, 0], [0.99, 0.1, 0, 0], [0.99, -0.1, 0.05, 0]):
        data.qpos[:] = m.qpos0
        mujoco.mju_mulQuat(data.qpos[3:7], np.array(tilt) / np.linalg.norm(tilt), m.qpos0[3:7])
        data.qpos[2] += gap - lowest_foot_heights(body, data.qpos[None].copy())[0]
        mujoco.mj_forward(m, data)
        floor = (data.contact.geom == m.geom("floor").id).any(axis=1)
        assert data.contact.dist[floor].min() == pytest.approx(gap, abs=2e-5)  # ellipsoids touch by iteration
