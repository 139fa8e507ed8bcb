"""Tendons that jump, wraps that flip sides, lengths out of range: provoked on purpose."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
import torch

from musclewarp.references.muscle_paths import find_jumps, muscle_paths


def sweep(model, joint: str, low: float, high: float, frames: int = 100) -> np.ndarray:
    """Postures `(frames, nq)` in which one joint goes from `low` to `high`, on the couplings."""
    qpos = np.tile(model.mj_model.qpos0, (frames, 1))
    qpos[:, model.mj_model.joint(joint).qposadr[0]] = np.linspace(low, high, frames)
    return model.couplings.project_qpos(torch.from_numpy(qpos)).numpy()


@pytest.mark.parametrize("seeded", [True, False])
def test_jumps_are_those_of_the_definition_taken_step_by_step(seeded):
    random = np.random.default_rng(1)
    change = 2e-3 * random.uniform(size=(300, 6)) ** 3
    change[random.uniform(size=change.shape) < 0.02] = 0.05
    change[0] = [0.0, 1e-5, 1e-3, 0.05, 2e-3, 1e-4]
    expected = np.zeros(change.shape, bool)
    for k in range(6):
        average = change[0, k]
        weights = values = 0.0
        for t, value in enumerate(change[:, k]):
            if t:
                average = 0.99 * average + 0.01 * value
            weights, values = 0.99 * weights + 0.01, 0.99 * values + 0.01 * value
            expected[t, k] = value > max(10 * (average if seeded else values / weights), 1e-3)
    assert expected.any()
    np.testing.assert_array_equal(find_jumps(change, seeded), expected)


def test_a_steady_movement_has_neither_jumps_nor_breaks(arms):
    paths = muscle_paths(arms, sweep(arms, "elbow_flex_r", 0.3, 1.2))
    figures = paths.figures()
    assert figures["tendon_jump_fraction"] == figures["tendon_break_fraction"] == 0
    assert paths.events().empty


def test_a_joint_that_jumps_is_named_by_its_muscles_and_frame_and_is_no_break(arms):
    qpos = sweep(arms, "elbow_flex_r", 0.5, 0.6, 60)
    qpos[41:, arms.mj_model.joint("elbow_flex_r").qposadr[0]] += 0.2
    qpos = arms.couplings.project_qpos(torch.from_numpy(qpos)).numpy()
    paths = muscle_paths(arms, qpos)
    assert paths.figures()["tendon_jump_fraction"] == pytest.approx(1 / 59)
    assert paths.figures()["tendon_break_fraction"] == 0
    events = paths.events()
    assert set(events["frame"]) == {41}
    assert {"BRA", "BIClong", "TRIlong"} <= set(events["muscle"])
    assert not any("left" in muscle for muscle in events["muscle"])
    lengths = []
    for frame in (40, 41):
        data = mujoco.MjData(arms.mj_model)
        data.qpos[:] = qpos[frame]
        mujoco.mj_fwdPosition(arms.mj_model, data)
        lengths.append(data.actuator("BRA").length[0])
    rest = arms.mj_model.tendon_length0[arms.mj_model.actuator("BRA").trnid[0]]
    change = events.set_index("muscle").loc["BRA", "change"]
    assert change == pytest.approx(abs(lengths[1] - lengths[0]) / rest)


def test_a_wrap_that_flips_sides_is_named_with_its_frame(arms):
    """The supinator of these models leaves its wrap at full pronation: its length changes by a third within a step."""
    low, high = arms.mj_model.joint("pro_sup_r").range
    paths = muscle_paths(arms, sweep(arms, "pro_sup_r", low, high))
    broken = paths.events().query("kind == 'break'")
    assert list(broken["muscle"]) == ["SUP"]
    assert broken["change"].item() > 0.1
    assert paths.figures()["tendon_break_fraction"] == pytest.approx(1 / 99)
    frame = broken["frame"].item()
    assert muscle_paths(arms, sweep(arms, "pro_sup_r", low, high)[: frame - 1]).figures()["tendon_break_fraction"] == 0


def test_mere_curvature_of_a_path_is_no_break(arms):
    """Large steps across the elbow's range: R of one end alone would be off by more than 1e-3 L0."""
    low, high = arms.mj_model.joint("elbow_flex_r").range
    assert muscle_paths(arms, sweep(arms, "elbow_flex_r", low, high, 12)).figures()["tendon_break_fraction"] == 0


def test_where_the_root_is_and_turns_does_not_matter(body, movement):
    qpos = movement(body, 8, 0.02)
    still = qpos.copy()
    still[:, :7] = still[0, :7]
    moving, standing = muscle_paths(body, qpos), muscle_paths(body, still)
    np.testing.assert_allclose(moving.change, standing.change, atol=1e-9)
    np.testing.assert_array_equal(moving.breaks, standing.breaks)


def test_muscles_out_of_their_length_range_are_named(arms):
    m = arms.mj_model
    qpos = sweep(arms, "elbow_flex_r", 0.2, 2.0, 30)
    paths = muscle_paths(arms, qpos)
    data, outside = mujoco.MjData(m), np.zeros((30, m.nu))
    for row, posture in zip(outside, qpos, strict=True):
        data.qpos[:] = posture
        mujoco.mj_fwdPosition(m, data)
        low, high = m.actuator_lengthrange.T
        row[:] = np.clip(low - data.actuator_length, 0, None) + np.clip(data.actuator_length - high, 0, None)
    np.testing.assert_allclose(paths.outside, outside, atol=1e-12)
    assert paths.figures()["length_range_fraction"] == pytest.approx((outside > 0).mean())
    table = paths.out_of_range()
    names = [m.actuator(i).name for i in np.flatnonzero(outside.any(axis=0))]
    assert sorted(table.index) == sorted(names)
    assert table["worst_m"].max() == pytest.approx(outside.max())


def test_ligaments_have_their_own_names(arms):
    paths = muscle_paths(arms, sweep(arms, "elbow_flex_r", 0.2, 0.3, 3))
    assert len(paths.tendons) == arms.mj_model.ntendon
    assert len(paths.muscles) == arms.mj_model.nu
    assert set(paths.muscles) < set(paths.tendons)
    assert "coracohum_ligament" in paths.tendons
