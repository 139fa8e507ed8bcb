"""Figures against a recording, on movements that are wrong by a known amount."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from musclewarp.models.kinematics import Kinematics
from musclewarp.motion import rotations
from musclewarp.motion.body import JointTrajectory
from musclewarp.motion.motion import SMPL_JOINTS
from musclewarp.references import Reference, make_reference
from musclewarp.references.quality import lowest_foot_heights
from musclewarp.retarget.quality import QUALITY_KEYS, quality_row, recording_quality, site_quality, write_quality

DT, FRAMES = 0.02, 101
SMPL = {"hand": "wrist", "toes": "foot", "upper_body": None}
STEADY = np.zeros(FRAMES)


def standing(body, x=STEADY, z=STEADY) -> Reference:
    """A person on the floor in the default posture, moved by `x, z (T,)` m."""
    qpos = np.tile(body.couplings.project_qpos(torch.from_numpy(body.mj_model.qpos0.copy())).numpy(), (FRAMES, 1))
    qpos[:, 2] -= lowest_foot_heights(body, qpos[:1])[0]
    qpos[:, 0] += x
    qpos[:, 2] += z
    return make_reference(body, qpos, DT, "statue")


def recording_of(reference: Reference, fps: float = 1 / DT, x=STEADY) -> JointTrajectory:
    """Joints that are where the model's bodies are, and move by `x`; those that the model has not at 0."""
    frames = len(reference.qpos)
    positions = np.zeros((frames, 24, 3))
    for site, points in zip(reference.sites, reference.site_positions.transpose(1, 0, 2), strict=True):
        side, _, part = site.rpartition("_")
        joint = SMPL.get(part, part) if site != "upper_body" else None
        if joint is not None:
            positions[:, SMPL_JOINTS.index(f"{side}_{joint}" if side else joint)] = points
    positions[:FRAMES, :, 0] += x[:frames, None]
    return JointTrajectory(positions, np.tile(rotations.IDENTITY, (frames, 24, 1)), fps)


@pytest.fixture(scope="module")
def statue(body) -> Reference:
    return standing(body)


def test_a_reference_that_does_what_was_recorded_has_no_errors(body, movement):
    reference = make_reference(body, movement(body, 60, DT), DT, "same")
    quality = recording_quality(body, reference, recording_of(reference))
    assert quality["position_rmse_m"] < 1e-12
    assert quality["jerk_ratio"] == pytest.approx(1.0)
    assert quality["acceleration_ratio"] == pytest.approx(1.0)


def test_position_error_is_over_sixteen_joints_relative_to_the_pelvis(body, statue):
    recording = recording_of(statue)
    recording.positions[:] += [10.0, -3.0, 0.5]  # the place of the person does not count
    recording.positions[:, SMPL_JOINTS.index("left_wrist")] += [0.03, 0.04, 0.0]
    recording.positions[: FRAMES // 2, SMPL_JOINTS.index("head"), 2] += 0.1
    expected = np.sqrt((0.05**2 + 0.1**2 * (FRAMES // 2) / FRAMES) / 16)
    quality = recording_quality(body, statue, recording)
    assert quality["position_rmse_m"] == pytest.approx(expected, rel=1e-6)
    table = site_quality(body, statue, recording)
    assert table.loc["left_hand", "position_rmse_m"] == pytest.approx(0.05)
    assert table.loc["pelvis", "position_rmse_m"] == 0
    assert np.isnan(table.loc["upper_body", "position_rmse_m"])


def test_orientation_error_is_the_angle_to_the_targets_where_there_are_some(body, statue):
    poses = Kinematics(body)(torch.from_numpy(statue.qpos), jacobian=False)
    goal = np.full((FRAMES, len(body.sites), 4), np.nan)
    for site, angle in (("pelvis", 0.1), ("left_ankle", -0.2)):
        s = body.sites.index(site)
        own = rotations.from_matrix(poses.rotation[:, s].numpy())
        goal[:, s] = rotations.multiply(rotations.from_rotvec([0.0, 0.6 * angle, 0.8 * angle]), own)
    quality = recording_quality(body, statue, recording_of(statue), goal)
    assert quality["orientation_rmse_rad"] == pytest.approx(np.sqrt((0.1**2 + 0.2**2) / 2))
    assert "orientation_rmse_rad" not in recording_quality(body, statue, recording_of(statue))


def test_a_slide_of_known_speed_is_skate_of_the_model_only(body):
    slid = standing(body, x=0.15 * DT * np.arange(FRAMES))
    quality = recording_quality(body, slid, recording_of(standing(body)))
    assert quality["skate_mps"] == pytest.approx(0.15)
    assert quality["recording_skate_mps"] == pytest.approx(0.0, abs=1e-9)
    quality = recording_quality(body, standing(body), recording_of(slid))
    assert quality["skate_mps"] == pytest.approx(0.0, abs=1e-9)
    assert quality["recording_skate_mps"] == pytest.approx(0.15)


def test_toes_and_ankles_skate_each_while_they_are_labelled(body, statue):
    recording = recording_of(statue)
    time = DT * np.arange(FRAMES)
    for side in ("left", "right"):  # ankles run off: too fast to be labelled, and not to be counted
        recording.positions[:, SMPL_JOINTS.index(f"{side}_ankle"), 0] += 2.0 * time
    assert recording_quality(body, statue, recording)["recording_skate_mps"] == pytest.approx(0.0, abs=1e-9)


def test_floating_is_how_far_a_labelled_foot_is_above_the_floor(body):
    lift = np.where(np.arange(FRAMES) < 40, 0.012, 0.003)
    quality = recording_quality(body, standing(body, z=lift), recording_of(standing(body)))
    feet = standing(body, z=lift)
    heights = np.stack([lowest_foot_heights(body, feet.qpos, side) for side in ("left", "right")])
    assert quality["stance_floating_m"] == pytest.approx(np.maximum(heights, 0).mean())
    assert quality["stance_floating_m"] == pytest.approx(lift.mean(), abs=1e-3)
    assert quality["stance_floating_fraction"] == pytest.approx(40 / FRAMES, abs=0.02)
    sunk = recording_quality(body, standing(body, z=STEADY - 0.01), recording_of(standing(body)))
    assert sunk["stance_floating_m"] < 1e-4


def test_without_contact_nothing_is_said_of_stance(body, statue):
    rushing = recording_of(statue, x=5.0 * DT * np.arange(FRAMES))
    quality = recording_quality(body, statue, rushing)
    assert "stance_floating_m" not in quality
    assert quality_row("rush", quality, 10.0)["skate_mps"] is None


@pytest.mark.parametrize("frequency", [0.5, 2.0])
def test_acceleration_and_jerk_of_a_sinusoid_are_those_of_its_derivatives(body, frequency):
    time, rate = DT * np.arange(FRAMES), 2 * np.pi * frequency
    swayed = standing(body, x=0.1 * np.sin(rate * time))
    recording = recording_of(standing(body), x=0.04 * np.sin(rate * time))
    quality = recording_quality(body, swayed, recording)
    assert quality["site_acceleration_rms_m_s2"] == pytest.approx(0.1 * rate**2 / np.sqrt(2), rel=0.03)
    assert quality["site_jerk_rms_m_s3"] == pytest.approx(0.1 * rate**3 / np.sqrt(2), rel=0.06)
    assert quality["acceleration_ratio"] == pytest.approx(2.5, rel=1e-6)
    assert quality["jerk_ratio"] == pytest.approx(2.5, rel=1e-6)


def test_the_rate_of_the_recording_does_not_matter(body, movement):
    fine = make_reference(body, movement(body, 2 * FRAMES, DT / 2), DT / 2, "fine")
    coarse = make_reference(body, fine.qpos[::2], DT, "coarse")
    quality = recording_quality(body, coarse, recording_of(fine, 2 / DT))
    assert quality["position_rmse_m"] < 1e-6
    assert quality["acceleration_ratio"] == pytest.approx(1, abs=1e-3)
    assert quality["jerk_ratio"] == pytest.approx(1, abs=5e-3)


def test_arms_alone_are_measured_from_their_root_and_do_not_stand(arms, movement):
    reference = make_reference(arms, movement(arms, 30, DT), DT, "wave")
    recording = recording_of(reference)
    recording.positions[:, SMPL_JOINTS.index("spine3")] = reference.site_positions[:, 0]
    quality = recording_quality(arms, reference, recording)
    assert quality["position_rmse_m"] < 1e-12
    assert "skate_mps" not in quality


def test_a_row_has_the_clip_and_the_named_keys():
    row = quality_row("walk", {"jerk_ratio": 1.05, "peak_site_speed_m_s": 3.0}, 700.0)
    assert list(row) == ["clip", *QUALITY_KEYS]
    assert (row["clip"], row["jerk_ratio"], row["frames_per_s"]) == ("walk", 1.05, 700.0)
    assert row["skate_mps"] is None


def test_rows_are_written_by_clip(tmp_path):
    path = write_quality(tmp_path, [quality_row(clip, {"jerk_ratio": 1.0}, None) for clip in ("b", "a")])
    assert [row["clip"] for row in json.loads(path.read_text())] == ["a", "b"]


def test_a_figure_that_is_not_finite_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_quality(tmp_path, [quality_row("a", {"jerk_ratio": np.inf}, 1.0)])
    assert not (tmp_path / "quality.json").exists()


def test_a_longer_recording_is_taken_as_far_as_the_reference_goes(body, movement):
    whole = make_reference(body, movement(body, 100, DT), DT, "whole")
    recording = recording_of(whole)
    part = replace(
        whole,
        qpos=whole.qpos[:50],
        qvel=whole.qvel[:50],
        site_positions=whole.site_positions[:50],
        target_positions=whole.target_positions[:50],
    )
    quality = recording_quality(body, part, recording)
    assert quality["position_rmse_m"] < 1e-12
    assert quality["jerk_ratio"] == pytest.approx(1.0, rel=1e-3)
