"""Loops close in posture, velocity and acceleration, on the couplings, and lead on for ever."""

from __future__ import annotations

from dataclasses import replace

import mujoco
import numpy as np
import pytest
import torch

from musclewarp.errors import FileError
from musclewarp.motion.amass import read_amass
from musclewarp.references import Reference, make_reference
from musclewarp.references.cycle import cycle_of
from musclewarp.references.library import ReferenceLibrary
from musclewarp.references.loop import cut_loop
from musclewarp.references.quality import limit_violation, lowest_foot_heights
from musclewarp.references.seam import seam_gap
from musclewarp.retarget import retarget


@pytest.fixture(scope="module")
def recorded(body, data_root) -> Reference:
    """CMU 02_01, a walk."""
    return retarget(read_amass(data_root / "motions/cmu_smpl/cmu_02_01_smplh.npz"), body)


@pytest.fixture(scope="module", params=["made", "recorded"])
def walk(request, body, gait) -> Reference:
    """Walks that turn, and whose strides are not alike."""
    return gait(body, turn=0.3, drift=0.02) if request.param == "made" else request.getfixturevalue("recorded")


@pytest.fixture(scope="module")
def loop(body, walk) -> Reference:
    return cut_loop(body, walk)


def rates(model, qpos: np.ndarray, dt: float) -> tuple[np.ndarray, np.ndarray]:
    """Largest joint speed and acceleration of each frame but the ends, root mean square over joints."""
    joints = qpos[:, model.joint_qpos]
    speed, acceleration = (joints[2:] - joints[:-2]) / (2 * dt), np.diff(joints, n=2, axis=0) / dt**2
    return np.sqrt((speed**2).mean(1)), np.sqrt((acceleration**2).mean(1))


def test_a_loop_is_one_stride_and_its_ends_meet(body, walk, loop):
    assert loop.loop
    assert loop.duration == pytest.approx(1.1, abs=0.03)
    assert seam_gap(body, loop.qpos) < 1e-9
    cycle = cycle_of(loop.qpos)
    first, last = loop.source["loop_frames"]
    way = walk.qpos[last, :2] - walk.qpos[first, :2]
    assert loop.quality["cycle_distance_m"] == pytest.approx(np.linalg.norm(way), rel=0.3)  # it turns, too
    assert float(cycle.yaw) == pytest.approx(loop.quality["cycle_yaw_rad"])


def test_a_loop_is_on_the_couplings_and_within_the_limits(body, walk, loop):
    assert body.couplings.residual(torch.from_numpy(loop.qpos)).abs().max() < 1e-12
    qpos, qvel = torch.from_numpy(loop.qpos), torch.from_numpy(loop.qvel)
    assert (qvel - body.couplings.project_qvel(qpos, qvel)).abs().max() < 1e-12
    assert limit_violation(body, loop.qpos).max() <= limit_violation(body, walk.qpos).max() + 1e-9


def test_speed_and_acceleration_across_the_seam_are_no_larger_than_elsewhere(body, walk, loop, unroll):
    qpos, _ = unroll(loop, 2)
    n = loop.num_frames - 1
    for here, everywhere in zip(rates(body, qpos, 0.02), rates(body, walk.qpos, 0.02), strict=True):
        assert here[n - 6 : n + 5].max() <= everywhere.max()
        assert here.max() <= 1.1 * everywhere.max()


def test_the_root_moves_across_the_seam_as_elsewhere(body, loop, unroll):
    qpos, _ = unroll(loop, 2)
    n, velocity = loop.num_frames - 1, np.zeros((len(loop.qpos) * 2 - 2, body.mj_model.nv))
    for row, before, after in zip(velocity, qpos[:-1], qpos[1:], strict=True):
        mujoco.mj_differentiatePos(body.mj_model, row, 0.02, before, after)
    for part in (slice(0, 3), slice(3, 6)):
        change = np.linalg.norm(np.diff(velocity[:, part], axis=0), axis=1)
        near = np.abs(np.arange(len(change)) + 1 - n) <= 3
        assert change[near].max() <= 1.2 * change[~near].max()


def test_velocities_are_the_central_differences_of_the_unrolled_loop(body, loop, unroll):
    qpos, _ = unroll(loop, 3)
    n = loop.num_frames - 1
    expected = make_reference(body, qpos, 0.02, "long").qvel[n : 2 * n + 1]
    # the second cycle is the first one turned: linear velocities of the root with it
    turn = cycle_of(loop.qpos).after(torch.zeros(n + 1).long(), torch.ones(n + 1))
    np.testing.assert_allclose(turn.turn_qvel(torch.from_numpy(loop.qvel)), expected, atol=1e-9)


def test_sites_are_those_of_the_closed_postures_and_targets_close_with_them(body, loop, unroll):
    made = make_reference(body, loop.qpos, 0.02, "made")
    np.testing.assert_allclose(loop.site_positions, made.site_positions, atol=1e-12)
    _, targets = unroll(loop, 2)
    n = loop.num_frames - 1
    np.testing.assert_allclose(targets[n], loop.target_positions[-1], atol=1e-9)
    assert np.linalg.norm(loop.target_positions - loop.site_positions, axis=-1).mean() < 0.035


def test_a_minute_of_walking_goes_on_without_a_jump_and_at_the_same_height(body, loop):
    library = ReferenceLibrary([loop], body)
    qpos, _ = library.state(torch.zeros(3001, dtype=torch.int64), torch.arange(3001))
    n = loop.num_frames - 1
    steps = qpos[:, :2].diff(dim=0).norm(dim=1)
    assert steps.max() <= steps[: n + 1].max() + 1e-9
    assert (qpos[n:, 2] - qpos[:-n, 2]).abs().max() < 1e-9
    assert body.couplings.residual(qpos).abs().max() < 1e-12
    assert steps.sum() == pytest.approx(60 * float(steps[:n].mean()) / 0.02, rel=0.01)


def test_a_straight_loop_leads_on_in_one_direction(body, walk, loop):
    straight = cut_loop(body, walk, straight=True)
    assert abs(straight.quality["cycle_yaw_rad"]) < 1e-9
    np.testing.assert_allclose(straight.qpos[:, 7:], loop.qpos[:, 7:], atol=1e-9)
    np.testing.assert_allclose(straight.qpos[0, :2], loop.qpos[0, :2], atol=0.02)


def test_what_repeats_itself_already_stays_as_it_is(body, gait):
    recording = gait(body)
    loop = cut_loop(body, recording, (0.6, 1.7))
    np.testing.assert_allclose(loop.qpos[:, 7:], recording.qpos[30:86, 7:], atol=1e-9)
    np.testing.assert_allclose(loop.qpos[:, :3], recording.qpos[30:86, :3], atol=1e-9)
    np.testing.assert_allclose(loop.qvel, recording.qvel[30:86], atol=1e-8)
    assert loop.quality["seam_mismatch_m"] < 1e-9


def test_a_loop_that_turns_by_a_right_angle_closes_as_smoothly(body, gait):
    recording = gait(body, turn=np.pi / 2 / 1.1, drift=0.02)
    loop = cut_loop(body, recording)
    assert loop.quality["cycle_yaw_rad"] == pytest.approx(np.pi / 2, abs=0.1)
    assert seam_gap(body, loop.qpos) < 1e-9
    four = cycle_of(loop.qpos).after(torch.tensor([0]), torch.tensor([4]))
    assert four.shift.norm() < 0.3  # once round
    assert loop.quality["seam_acceleration_ratio"] <= 1.01


@pytest.mark.parametrize("times", [(0.0, 1.1), (2.9, 4.0)])
def test_a_part_at_the_very_end_of_a_recording_closes_too(body, gait, times):
    loop = cut_loop(body, gait(body, turn=0.3, drift=0.02), times)
    assert seam_gap(body, loop.qpos) < 1e-9
    assert loop.quality["seam_acceleration_ratio"] <= 1.1


def test_a_whole_recording_of_one_cycle_closes(body, gait):
    loop = cut_loop(body, gait(body, seconds=1.1, drift=0.02), (0.0, 1.1))
    assert loop.num_frames == 56
    assert seam_gap(body, loop.qpos) < 1e-9


def test_arms_loop_in_place_with_their_activations(arms, movement):
    random = np.random.default_rng(0)
    activations = random.uniform(0.2, 0.8, (120, arms.mj_model.nu))
    recording = replace(make_reference(arms, movement(arms, 120, 0.02), 0.02, "wave"), activations=activations)
    loop = cut_loop(arms, recording, (0.4, 1.8))
    np.testing.assert_allclose(loop.qpos[-1], loop.qpos[0], atol=1e-12)
    np.testing.assert_allclose(loop.activations[-1], loop.activations[0], atol=1e-12)
    np.testing.assert_allclose(loop.qvel[-1], loop.qvel[0], atol=1e-9)
    assert loop.activations.min() >= 0
    assert loop.activations.max() <= 1
    assert "cycle_yaw_rad" not in loop.quality


@pytest.mark.parametrize("times", [(0.6, 1.7), (0.0, 4.0)])
def test_a_joint_at_its_limit_stays_in_its_range(body, gait, times):
    recording = gait(body)
    joint = body.mj_model.joint("knee_angle_r")
    low = joint.range[0]
    qpos = recording.qpos.copy()
    knee = qpos[:, joint.qposadr[0]]
    knee -= knee.min() - low  # touches the limit in every stride,
    knee += np.linspace(0, 0.1, len(knee))  # the first one on
    recording = make_reference(body, qpos, 0.02, "stiff")
    loop = cut_loop(body, recording, times)
    assert limit_violation(body, loop.qpos).max() <= limit_violation(body, recording.qpos).max() + 1e-9
    assert seam_gap(body, loop.qpos) < 1e-9


def test_feet_get_no_deeper_where_the_strides_are_very_unlike_and_the_root_rises_smoothly(body, gait):
    recording = gait(body, drift=0.15)
    loop = cut_loop(body, recording, (0.6, 1.9))  # not a cycle: the legs have swung on
    first, last = loop.source["loop_frames"]
    lowest = lowest_foot_heights(body, recording.qpos[first - 12 : last + 13]).min()
    assert lowest_foot_heights(body, loop.qpos).min() >= lowest - 1e-9
    assert seam_gap(body, loop.qpos) < 1e-9
    rise = np.diff(np.concatenate((loop.qpos[-2:-1, 2], loop.qpos[:, 2], loop.qpos[1:2, 2])), n=2) / 0.02**2
    assert np.abs(rise).max() < 10.0  # m/s²


def test_a_saved_loop_is_a_loop_again_and_a_file_from_before_loops_is_none(body, gait, tmp_path):
    recording = gait(body)
    loop = cut_loop(body, recording)
    assert Reference.load(loop.save(tmp_path / "loop.ref.safetensors"), body).loop
    assert not Reference.load(recording.save(tmp_path / "gait.ref.safetensors"), body).loop


def test_a_loop_whose_ends_do_not_meet_is_refused(body, gait):
    with pytest.raises(FileError, match=r"'gait' is a loop whose ends are .* apart; cut it again"):
        replace(gait(body, drift=0.02), loop=True).check_model(body)


def test_what_cannot_be_cut_is_refused_by_name(arms, arms_reference, body, gait):
    recording = gait(body)
    with pytest.raises(FileError, match=r"'wave' has too few heel strikes \(the model has no feet\).*in seconds"):
        cut_loop(arms, arms_reference)
    with pytest.raises(FileError, match=r"'gait' has too few heel strikes \(right 1, left 1\)"):
        cut_loop(body, gait(body, seconds=1.4))
    with pytest.raises(FileError, match=r"'gait' lasts 4 s; a loop from 3 to 5 s is not in it"):
        cut_loop(body, recording, (3.0, 5.0))
    with pytest.raises(FileError, match=r"shorter than two frames"):
        cut_loop(body, recording, (1.0, 1.02))
    with pytest.raises(FileError, match=r"'gait_loop' is a loop already"):
        cut_loop(body, cut_loop(body, recording))
