"""Cycles, what is rejected and why, and gait numbers that are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musclewarp.biomechanics.gait import (
    CycleConfig,
    GaitCycle,
    GaitCycles,
    find_cycles,
    normalize_cycles,
    step_lengths,
    summarize_gait,
)
from musclewarp.biomechanics.gait_events import GaitEvents
from musclewarp.errors import SignalError


def steady(strikes, stance):
    strikes = np.asarray(strikes, dtype=float)
    return GaitEvents(strikes, strikes[:-1] + stance * np.diff(strikes))


@given(st.floats(0.3, 0.75), st.floats(0.6, 1.8), st.integers(2, 20))
@settings(max_examples=30, deadline=None)
def test_stance_fraction_and_cadence_come_back(stance, stride, strikes):
    cycles = find_cycles(steady(0.2 + stride * np.arange(strikes), stance))
    summary = summarize_gait(cycles.kept)
    assert cycles.rejected == ()
    assert summary.strides == strikes - 1
    assert summary.stance_fraction == pytest.approx(stance)
    assert summary.cadence == pytest.approx(120 / stride)
    assert summary.stride_time == pytest.approx(stride)
    assert np.isnan(summary.step_length)


def test_each_rejected_cycle_says_why():
    strikes = np.array([0.0, 1.0, 2.0, 3.0, 6.0, 7.0, 8.0, 9.0, 10.4])
    toe_offs = np.array([0.6, 2.6, 3.6, 6.95, 7.2, 7.6, 8.6, 9.9])  # 1-2 none, 6-7 late, 7-8 two
    cycles = find_cycles(GaitEvents(strikes, toe_offs))
    reasons = {cycle.start: cycle.reason for cycle in cycles.rejected}
    assert [cycle.start for cycle in cycles.kept] == [0.0, 2.0, 8.0]
    assert reasons == {
        1.0: "has 0 toe-offs instead of one",
        3.0: "lasts 3.000 s, outside 0.4 to 2.5 s",
        6.0: "stance is 95% of it, outside 15% to 85%",
        7.0: "has 2 toe-offs instead of one",
        9.0: "lasts 1.400 s, more than 30% off the median 1.000 s",
    }


def test_a_single_strike_is_no_cycle():
    cycles = find_cycles(GaitEvents(np.array([1.0]), np.array([1.6])))
    assert cycles == GaitCycles((), ())
    with pytest.raises(SignalError, match="no gait cycle"):
        summarize_gait(cycles.kept)


def test_limits_of_cycles_are_the_configs():
    events = steady([0.0, 3.0, 6.0], 0.6)
    assert not find_cycles(events).kept
    assert len(find_cycles(events, CycleConfig(duration=(0.4, 4.0))).kept) == 2


@given(st.integers(2, 200), st.floats(0.31, 0.9), st.sampled_from([50.0, 333.0, 1000.0]))
@settings(max_examples=30, deadline=None)
def test_a_straight_line_is_resampled_exactly(points, begin, rate):
    time = 0.25 + np.arange(int(3 * rate)) / rate
    cycles = GaitCycles((GaitCycle(begin, begin + 0.5, begin + 1.1), GaitCycle(begin + 1.1, begin + 1.7, 2.9)), ())
    signal = np.stack((time, 3 - 2 * time), axis=1)
    curves = normalize_cycles(signal, rate, cycles, points, start=0.25)
    assert curves.values.shape == (2, points, 2)
    for curve, cycle in zip(curves.values, cycles.kept):
        expected = np.linspace(cycle.start, cycle.end, points)
        np.testing.assert_allclose(curve, np.stack((expected, 3 - 2 * expected), axis=1), atol=1e-9)


def test_cycles_without_signal_are_rejected_with_the_reason():
    cycles = GaitCycles(tuple(GaitCycle(t, t + 0.6, t + 1.0) for t in (0.0, 1.0, 2.0, 3.0)), ())
    signal = np.arange(310, dtype=float)
    signal[155] = np.nan
    curves = normalize_cycles(signal, 100.0, cycles)
    assert [cycle.start for cycle in curves.cycles.kept] == [0.0, 2.0]
    assert curves.values.shape == (2, 101)
    assert [cycle.reason for cycle in curves.cycles.rejected] == [
        "the signal is not finite at 1.550 s",
        "the signal covers 0.000 to 3.090 s only",
    ]
    nothing = normalize_cycles(signal[:50], 100.0, cycles)
    assert nothing.values.shape == (0, 101)


@pytest.mark.parametrize("belt_speed", [0.0, 1.2])
def test_step_lengths_on_the_ground_and_on_a_belt(belt_speed):
    """Right steps are 0.7 m long and left ones 0.6 m; on a treadmill all of it is carried back by the belt."""
    rate, step_time = 100.0, 0.5
    time = np.arange(0, 5, 1 / rate)
    places = np.cumsum([0.0] + [0.7, 0.6] * 4)  # left, right, left, ...
    strikes = 0.25 + step_time * np.arange(len(places))
    belt = belt_speed * time

    def heel(own):
        x = places[own][np.searchsorted(strikes[own], time + 1e-9, side="right").clip(1) - 1]
        return np.stack((np.zeros_like(time), x - belt, np.zeros_like(time)), axis=1)

    left, right = heel(slice(0, None, 2)), heel(slice(1, None, 2))
    left_events = GaitEvents(strikes[0::2], np.empty(0))
    right_events = GaitEvents(strikes[1::2], np.empty(0))
    steps = step_lengths(right_events, left_events, right, left, rate, [0, 1, 0], belt_speed)
    np.testing.assert_allclose(steps, 0.7, atol=1e-9)
    np.testing.assert_allclose(
        step_lengths(left_events, right_events, left, right, rate, [0, 2, 0], belt_speed), 0.6, atol=1e-9
    )
    assert summarize_gait([GaitCycle(0, 0.6, 1)], steps).step_length == pytest.approx(0.7)


def test_a_missed_strike_of_the_other_foot_makes_no_long_step():
    heel = np.stack((np.arange(500) / 100, np.zeros(500), np.zeros(500)), axis=1)
    own = GaitEvents(np.array([1.0, 2.0, 3.0]), np.empty(0))
    other = GaitEvents(np.array([0.5, 2.5]), np.empty(0))  # nothing between 1 and 2 s
    assert len(step_lengths(own, other, heel, heel, 100.0, [1, 0, 0])) == 2


def test_strides_without_any_toe_off_are_strides_still():
    cycles = find_cycles(GaitEvents(np.array([0.0, 1.0, 2.1, 2.2]), np.empty(0)))
    assert [(cycle.start, cycle.end) for cycle in cycles.kept] == [(0.0, 1.0), (1.0, 2.1)]
    assert "lasts 0.100 s" in cycles.rejected[0].reason
    assert np.isnan(summarize_gait(cycles.kept).stance_fraction)
