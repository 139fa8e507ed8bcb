"""Quality numbers, computed by hand on references that are wrong on purpose."""

from __future__ import annotations

from dataclasses import replace

import mujoco
import numpy as np
import pytest
import torch

from musclewarp.models.surfaces import floor_geoms, geom_heights
from musclewarp.references import make_reference
from musclewarp.references.quality import (
    derivative,
    joint_quality,
    limit_violation,
    lowest_foot_heights,
    reference_quality,
    rms,
)


def test_a_perfect_reference_has_no_errors(arms, arms_reference):
    quality = reference_quality(arms, arms_reference)
    assert quality["target_rmse_m"] == 0
    assert quality["coupling_residual_max"] < 1e-12
    assert quality["coupling_velocity_residual_max"] < 1e-12
    assert quality["joint_limit_violation_fraction"] == 0
    assert "penetration_fraction" not in quality  # arms have no feet


def test_target_error_is_the_root_mean_square_distance(arms, arms_reference):
    targets = arms_reference.site_positions.copy()
    targets[3, 2] += [0.03, 0.04, 0.0]
    targets[5, 4] += [0.0, 0.0, 0.1]
    quality = reference_quality(arms, replace(arms_reference, target_positions=targets))
    assert quality["target_rmse_m"] == pytest.approx(np.sqrt((0.05**2 + 0.1**2) / (12 * len(arms.sites))))


def test_coupling_residuals_are_the_largest_violations(arms, arms_reference):
    qpos, qvel = arms_reference.qpos.copy(), arms_reference.qvel.copy()
    qpos[2, arms.couplings.dependent_qpos[1]] -= 0.2
    qpos[3, arms.couplings.dependent_qpos[0]] += 0.1
    qvel[7, arms.couplings.dependent[2]] -= 3.0
    quality = reference_quality(arms, replace(arms_reference, qpos=qpos, qvel=qvel))
    assert quality["coupling_residual_max"] == pytest.approx(0.2)
    assert quality["coupling_velocity_residual_max"] == pytest.approx(3.0)


def test_limit_violation_counts_pairs_of_frame_and_joint_beyond_1e_5(arms, arms_reference):
    m, qpos = arms.mj_model, arms_reference.qpos.copy()
    joints = [m.joint("elbow_flex_r").id, m.joint("shoulder_elv_l").id]
    qpos[4, m.jnt_qposadr[joints[0]]] = m.jnt_range[joints[0], 1] + 0.3
    qpos[6, m.jnt_qposadr[joints[1]]] = m.jnt_range[joints[1], 0] - 2e-5
    qpos[7, m.jnt_qposadr[joints[1]]] = m.jnt_range[joints[1], 0] - 0.5e-5  # within the tolerance
    outside = limit_violation(arms, qpos)
    assert outside[4, joints[0]] == pytest.approx(0.3)
    assert outside[6, joints[1]] == pytest.approx(2e-5)
    reference = replace(arms_reference, qpos=qpos)
    quality = reference_quality(arms, reference)
    assert quality["joint_limit_violation_fraction"] == pytest.approx(2 / (12 * m.njnt))
    table = joint_quality(arms, reference)
    assert table.loc["elbow_flex_r", "limit_violation_fraction"] == pytest.approx(1 / 12)
    assert table.loc["elbow_flex_r", "limit_violation_max"] == pytest.approx(0.3)
    assert (table["limit_violation_fraction"] > 0).sum() == 2


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


def test_penetration_counts_frames_over_1_mm_and_finds_the_deepest(body):
    posture = body.couplings.project_qpos(torch.from_numpy(body.mj_model.qpos0.copy())).numpy()
    qpos = np.tile(posture, (5, 1))
    qpos[:, 2] -= lowest_foot_heights(body, qpos[:1])[0]  # stands on the floor
    qpos[:, 2] += [0.0, -0.02, 0.15, -0.01, -0.0009]
    quality = reference_quality(body, make_reference(body, qpos, 0.02, "hop"))
    assert quality["penetration_fraction"] == pytest.approx(2 / 5)
    assert quality["penetration_max_m"] == pytest.approx(0.02)


def test_a_hand_in_the_floor_is_penetration_too(body):
    """Hanging upside down, feet high up."""
    qpos = np.tile(body.couplings.project_qpos(torch.from_numpy(body.mj_model.qpos0.copy())).numpy(), (3, 1))
    turned = np.zeros(4)
    mujoco.mju_mulQuat(turned, np.array([0.0, 1.0, 0.0, 0.0]), body.mj_model.qpos0[3:7])
    qpos[:, 3:7] = turned
    qpos[:, 2] -= geom_heights(body, qpos[:1], floor_geoms(body)).min() + 0.005
    assert lowest_foot_heights(body, qpos).min() > 0.5
    quality = reference_quality(body, make_reference(body, qpos, 0.02, "handstand"))
    assert quality["penetration_fraction"] == 1
    assert quality["penetration_max_m"] == pytest.approx(0.005)


def test_feet_are_looked_at_one_by_one(body):
    qpos = body.mj_model.qpos0[None].copy()
    qpos[0, body.mj_model.joint("knee_angle_r").qposadr[0]] = 1.2
    qpos = body.couplings.project_qpos(torch.from_numpy(qpos)).numpy()
    right, left = (lowest_foot_heights(body, qpos, foot)[0] for foot in ("right", "left"))
    assert right > left + 0.05
    assert lowest_foot_heights(body, qpos)[0] == left


@pytest.mark.parametrize("dt", [0.01, 0.02, 1 / 30])
def test_derivatives_of_a_sinusoid_are_taken_at_30_hz_whatever_the_rate(dt):
    rate, time = 2 * np.pi * 1.5, dt * np.arange(round(4.0 / dt) + 1)
    values = 0.3 * np.sin(rate * time)[:, None]
    for order in (2, 3):
        found = derivative(values, dt, order)
        assert len(found) == 121 - order
        chord = (np.sin(rate / 60) / (rate / 60)) ** order  # what differences make of a sinusoid, exactly
        assert rms(found) == pytest.approx(0.3 * rate**order / np.sqrt(2) * chord, rel=0.01)


def test_a_movement_too_short_for_a_jerk_has_none():
    assert derivative(np.random.default_rng(0).normal(size=(3, 2)), 0.02, 3).tolist() == [[0.0, 0.0]]


def test_joint_acceleration_and_jerk_are_of_the_independent_joints(arms):
    m, time, rate = arms.mj_model, 0.02 * np.arange(151), 2 * np.pi
    qpos = np.tile(m.qpos0, (151, 1))
    qpos[:, m.joint("elbow_flex_r").qposadr[0]] = 0.8 + 0.4 * np.sin(rate * time)
    reference = make_reference(arms, qpos, 0.02, "curl")
    quality, table = reference_quality(arms, reference), joint_quality(arms, reference)
    assert table.loc["elbow_flex_r", "acceleration_rms"] == pytest.approx(0.4 * rate**2 / np.sqrt(2), rel=0.02)
    assert table.loc["elbow_flex_r", "jerk_rms"] == pytest.approx(0.4 * rate**3 / np.sqrt(2), rel=0.02)
    share = np.sqrt(len(arms.joint_dofs))
    for key, column in (("joint_acceleration_rms_rad_s2", "acceleration_rms"), ("joint_jerk_rms_rad_s3", "jerk_rms")):
        assert quality[key] == pytest.approx(table.loc["elbow_flex_r", column] / share)


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
