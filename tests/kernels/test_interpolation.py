"""Clips at any time against `numpy.interp` and scipy's `Slerp`."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation, Slerp

from musclewarp.errors import ConfigError
from musclewarp.kernels import interpolation
from musclewarp.kernels.interpolation import Clips, interpolate, interpolate_rotations, rounds

LENGTHS, DTS, LOOPS = [5, 8, 1, 6], [0.1, 0.03, 0.02, 0.05], [False, True, True, False]
STARTS = [2, 7, 15, 16]  # two rows at the front belong to nobody
FRAMES = 23  # and so does the last


def clips(device="cpu") -> Clips:
    return Clips(
        torch.tensor(STARTS, device=device),
        torch.tensor(LENGTHS, device=device),
        torch.tensor(DTS, dtype=torch.float64, device=device),
        torch.tensor(LOOPS, device=device),
    )


def numbers() -> np.ndarray:
    table = np.random.default_rng(0).normal(size=(FRAMES, 3))
    table[[0, 1, -1]] = np.nan
    return table


def rotations() -> np.ndarray:
    """Any quaternions, of either sign: neighbours are up to half a turn apart."""
    rng = np.random.default_rng(1)
    quats = Rotation.random(FRAMES * 2, rng=rng).as_quat(scalar_first=True) * rng.choice([-1, 1], (FRAMES * 2, 1))
    quats = quats.reshape(FRAMES, 2, 4)
    quats[[0, 1, -1]] = np.nan
    return quats


def clip_time(clip: int, time: float) -> float:
    """Where in its clip a time lies."""
    end = (LENGTHS[clip] - 1) * DTS[clip]
    if LOOPS[clip] and end:
        time = time % end
    return float(np.clip(time, 0, end))


def frame_times(clip: int) -> np.ndarray:
    return np.arange(LENGTHS[clip]) * DTS[clip]


def queries():
    rng = np.random.default_rng(2)
    clip = rng.integers(0, 4, 300)
    return clip, rng.uniform(-0.3, 1.0, 300)


def keys(clip, time, device="cpu"):
    return torch.as_tensor(clip, device=device), torch.as_tensor(time, dtype=torch.float64, device=device)


def test_numbers_are_those_of_numpy_in_every_world(device):
    table, (clip, time) = numbers(), queries()
    found = interpolate(torch.tensor(table, device=device), clips(device), *keys(clip, time, device))
    for row, c, t in zip(found.cpu().numpy(), clip, time, strict=True):
        own = table[STARTS[c] : STARTS[c] + LENGTHS[c]].T
        expected = [np.interp(clip_time(c, t), frame_times(c), column) for column in own]
        np.testing.assert_allclose(row, expected, atol=1e-12)


def test_rotations_are_those_of_scipy_along_the_shorter_arc(device):
    table, (clip, time) = rotations(), queries()
    found = interpolate_rotations(torch.tensor(table, device=device), clips(device), *keys(clip, time, device)).cpu()
    np.testing.assert_allclose(found.norm(dim=-1), 1.0, atol=1e-14)
    for row, c, t in zip(found.numpy(), clip, time, strict=True):
        for quat, own in zip(row, table[STARTS[c] : STARTS[c] + LENGTHS[c]].swapaxes(0, 1), strict=True):
            key = Rotation.from_quat(own, scalar_first=True)
            expected = Slerp(frame_times(c), key)(clip_time(c, t)) if LENGTHS[c] > 1 else key[0]
            error = (expected.inv() * Rotation.from_quat(quat, scalar_first=True)).magnitude()
            assert error < 1e-12


def test_float32_differs_by_rounding_only_late_in_a_loop_too(device):
    clip, time = np.full(50, 1), np.linspace(3600.0, 3600.2, 50)
    for ask, table in ((interpolate, numbers()), (interpolate_rotations, rotations())):
        double = torch.tensor(table, device=device)
        single = ask(double.float(), clips(device), *keys(clip, time, device))
        assert single.dtype == torch.float32
        np.testing.assert_allclose(single.cpu(), ask(double, clips(device), *keys(clip, time, device)).cpu(), atol=5e-6)


def test_at_the_frames_the_frames_come_back_up_to_sign():
    clip, time = np.zeros(5, int), np.arange(5) * 0.1
    frames = interpolate(torch.tensor(numbers()), clips(), *keys(clip, time))
    np.testing.assert_allclose(frames, numbers()[2:7], atol=1e-12)
    quats = interpolate_rotations(torch.tensor(rotations()), clips(), *keys(clip, time))
    np.testing.assert_allclose((quats * torch.tensor(rotations()[2:7])).sum(-1).abs(), 1.0, atol=1e-12)


def test_past_its_end_a_clip_holds_its_last_frame_and_a_loop_goes_on():
    held = interpolate(torch.tensor(numbers()), clips(), *keys([0, 0, 3], [0.4, 9.0, 1e9]))
    np.testing.assert_array_equal(held, numbers()[[6, 6, 21]])
    period = 7 * 0.03
    times = np.array([0.05, 0.05 + period, 0.05 + 4 * period, 0.05 - period])
    looped = interpolate(torch.tensor(numbers()), clips(), *keys([1, 1, 1, 1], times))
    np.testing.assert_allclose(looped, looped[:1].expand_as(looped), atol=1e-12)
    assert rounds(clips(), *keys([1, 1, 1, 1], times)).tolist() == [0, 1, 4, -1]
    assert rounds(clips(), *keys([0, 2, 3], [9.0, 9.0, 9.0])).tolist() == [0, 0, 0]


def test_rows_and_rounds_agree_about_the_side_of_every_seam(device):
    """What goes on evenly for ever, rows plus rounds, makes no jump where rounding decides on which side a time is."""
    for dt in (0.02, 1 / 30, 0.03, 1 / 120):
        one = Clips(
            torch.tensor([0], device=device),
            torch.tensor([8], device=device),
            torch.tensor([dt], dtype=torch.float64, device=device),
            torch.tensor([True], device=device),
        )
        clip, time = keys(np.zeros(2000, int), np.arange(2000) * dt, device)
        row = interpolate(torch.arange(8.0, device=device).double()[:, None], one, clip, time)[:, 0]
        np.testing.assert_allclose((row + 7 * rounds(one, clip, time)).cpu(), np.arange(2000), atol=1e-9)


@given(st.floats(1e-9, 3.1), st.floats(0, 1))
@settings(deadline=None, max_examples=50)
def test_the_angle_grows_evenly_from_the_smallest_to_nearly_half_a_turn(angle, part):
    table = np.array([[[1.0, 0, 0, 0]], [[np.cos(angle / 2), 0, np.sin(angle / 2), 0]]])
    two = Clips(*(torch.tensor([value]) for value in (0, 2)), torch.ones(1).double(), torch.tensor([False]))
    quat = interpolate_rotations(torch.tensor(table), two, *keys([0], [part]))[0, 0]
    assert 2 * np.arctan2(float(quat[2]), float(quat[0])) == pytest.approx(part * angle, rel=1e-12, abs=1e-24)


def test_equal_frames_and_opposite_signs_stand_still():
    quat = np.array([0.5, -0.5, 0.5, 0.5])
    two = Clips(*(torch.tensor([value]) for value in (0, 2)), torch.ones(1).double(), torch.tensor([False]))
    for sign in (1, -1):
        table = torch.tensor(np.array([[quat], [sign * quat]]))
        np.testing.assert_allclose(interpolate_rotations(table, two, *keys([0], [0.3]))[0, 0], quat, atol=1e-15)


def test_what_is_not_there_is_nan_and_spoils_no_other_world(device):
    clip, time = [0, 4, -1, 1, 1], [0.1, 0.1, 0.1, np.nan, np.inf]
    broken = clips(device)
    broken.start[3] = FRAMES - 3  # its frames leave the table
    for ask, table in ((interpolate, numbers()), (interpolate_rotations, rotations())):
        found = ask(torch.tensor(table, device=device), broken, *keys([*clip, 3], [*time, 0.0], device))
        missing = found.flatten(1).isnan()
        assert missing[1:].all()
        assert not missing[0].any()


def test_ops_keep_torchs_rules(device):
    c = clips(device)
    rest = (c.start, c.length, c.dt, c.loop, *keys([0, 1, 3], [0.1, 0.2, 0.1], device))
    torch.library.opcheck(interpolation._linear_op, (torch.tensor(numbers(), device=device).nan_to_num(), *rest))
    torch.library.opcheck(interpolation._slerp_op, (torch.tensor(rotations(), device=device).nan_to_num(), *rest))


def test_no_worlds_and_no_columns_give_empty_rows():
    assert interpolate(torch.zeros(FRAMES, 3), clips(), *keys(np.zeros(0, int), [])).shape == (0, 3)
    assert interpolate_rotations(torch.zeros(FRAMES, 0, 4), clips(), *keys([0], [0.0])).shape == (1, 0, 4)


def test_what_does_not_fit_together_is_named():
    table = torch.tensor(numbers())
    with pytest.raises(ConfigError, match="clips are int64"):
        interpolate(table, clips(), torch.zeros(2), torch.zeros(2))
    with pytest.raises(ConfigError, match=r"Q, 4"):
        interpolate_rotations(table, clips(), *keys([0], [0.0]))
    with pytest.raises(ConfigError, match="'loop' is"):
        Clips(clips().start, clips().length, clips().dt, torch.zeros(4))
    with pytest.raises(ConfigError, match="all on one device"):
        Clips(clips().start, clips().length.to("meta"), clips().dt, clips().loop)
