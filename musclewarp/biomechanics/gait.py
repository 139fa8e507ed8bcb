"""Gait: strides from heel strike to heel strike, their summary, and signals over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from musclewarp.biomechanics.gait_events import GaitEvents, heading
from musclewarp.biomechanics.signals import Bools, Floats, checked
from musclewarp.errors import SignalError


@dataclass(frozen=True)
class CycleConfig:
    """Which cycles are kept.

    Attributes:
        duration: s, shortest and longest stride.
        stance_fraction: smallest and largest share of stance.
        max_deviation: from the median duration, as a share of it; applied where three cycles or more are left.
    """

    duration: tuple[float, float] = (0.4, 2.5)
    stance_fraction: tuple[float, float] = (0.15, 0.85)
    max_deviation: float = 0.3


@dataclass(frozen=True)
class GaitCycle:
    """One stride, heel strike to heel strike of the same foot; times in s, `toe_off` NaN where none was recorded."""

    start: float
    toe_off: float
    end: float

    @property
    def duration(self) -> float:
        """Stride time in s."""
        return self.end - self.start

    @property
    def stance_fraction(self) -> float:
        """Share of the stride with the foot on the ground."""
        return (self.toe_off - self.start) / self.duration


@dataclass(frozen=True)
class RejectedCycle:
    """A stride that is left out, in s, and why."""

    start: float
    end: float
    reason: str


@dataclass(frozen=True)
class GaitCycles:
    """The strides of one foot: those to use, and those that are not used."""

    kept: tuple[GaitCycle, ...]
    rejected: tuple[RejectedCycle, ...]


@dataclass(frozen=True, eq=False)
class CycleCurves:
    """A signal over the cycles that it covers: `values (C, points, ...)` for the C `cycles.kept`."""

    values: Floats
    cycles: GaitCycles


@dataclass(frozen=True)
class GaitSummary:
    """What a gait laboratory writes down first; standard deviations over the strides (ddof 1, NaN for one).

    Attributes:
        strides: how many.
        stance_fraction: mean share of stance.
        stance_fraction_sd: its standard deviation.
        stride_time: s, mean.
        cadence: steps per minute, two a stride.
        step_length: m, mean; NaN where no positions were given.
    """

    strides: int
    stance_fraction: float
    stance_fraction_sd: float
    stride_time: float
    cadence: float
    step_length: float


def find_cycles(events: GaitEvents, config: CycleConfig | None = None) -> GaitCycles:
    """The strides between heel strikes of one foot, and which of them to leave out for which reason.

    Where no toe-off was recorded at all, strides count without one (NaN).
    """
    config = config or CycleConfig()
    kept: list[GaitCycle] = []
    rejected: list[RejectedCycle] = []
    known = len(events.toe_offs) > 0
    for start, end in zip(events.heel_strikes[:-1].tolist(), events.heel_strikes[1:].tolist()):
        inside = events.toe_offs[(events.toe_offs > start) & (events.toe_offs < end)].tolist()
        cycle = GaitCycle(start, inside[0] if inside else end if known else float("nan"), end)
        if reason := _defect(cycle, len(inside) if known else None, config):
            rejected.append(RejectedCycle(start, end, reason))
        else:
            kept.append(cycle)
    if len(kept) >= 3:
        median = float(np.median([cycle.duration for cycle in kept]))
        for cycle in [c for c in kept if abs(c.duration - median) > config.max_deviation * median]:
            kept.remove(cycle)
            reason = f"lasts {cycle.duration:.3f} s, more than {config.max_deviation:.0%} off the median {median:.3f} s"
            rejected.append(RejectedCycle(cycle.start, cycle.end, reason))
    return GaitCycles(tuple(kept), tuple(sorted(rejected, key=lambda cycle: cycle.start)))


def normalize_cycles(
    signal: ArrayLike, rate: float, cycles: GaitCycles, points: int = 101, start: float = 0.0
) -> CycleCurves:
    """A signal over each kept cycle, from 0 to 100 % inclusive, interpolated linearly.

    A cycle that the signal does not cover, or in which it is not finite, moves to the rejected ones.

    Args:
        signal: `(T, ...)`, slow against the new spacing (an envelope, an angle): nothing is filtered here.
        rate: Hz.
        cycles: of one foot.
        points: per cycle.
        start: time of the first sample in s.
    """
    values = np.asarray(signal, dtype=np.float64)
    finite: Bools = np.asarray(np.isfinite(values).reshape(len(values), -1).all(axis=1))
    last = len(values) - 1
    curves: list[Floats] = []
    kept: list[GaitCycle] = []
    rejected = list(cycles.rejected)
    for cycle in cycles.kept:
        position = (np.linspace(cycle.start, cycle.end, points) - start) * rate
        first, end = int(np.floor(position[0] + 1e-6)), int(np.ceil(position[-1] - 1e-6))
        if first < 0 or end > last:
            span = f"{start:.3f} to {start + last / rate:.3f} s"
            rejected.append(RejectedCycle(cycle.start, cycle.end, f"the signal covers {span} only"))
        elif not finite[first : end + 1].all():
            gap = start + (first + int(np.argmin(finite[first : end + 1]))) / rate
            rejected.append(RejectedCycle(cycle.start, cycle.end, f"the signal is not finite at {gap:.3f} s"))
        else:
            left = np.clip(np.floor(position).astype(int), 0, last - 1)
            share = (position - left).reshape(-1, *(1 for _ in values.shape[1:]))
            curves.append((1.0 - share) * values[left] + share * values[left + 1])
            kept.append(cycle)
    stacked = np.array(curves).reshape(len(curves), points, *values.shape[1:])
    return CycleCurves(stacked, GaitCycles(tuple(kept), tuple(rejected)))


def step_lengths(
    events: GaitEvents,
    other_events: GaitEvents,
    heel: ArrayLike,
    other_heel: ArrayLike,
    rate: float,
    forward: ArrayLike | None = None,
    belt_speed: float = 0.0,
    start: float = 0.0,
) -> Floats:
    """How far each heel strike of a foot is in front of the other foot's strike before it, m `(K,)`.

    Args:
        events: of the foot that steps.
        other_events: of the other foot.
        heel: `(T, 3)` m, of the foot that steps.
        other_heel: `(T, 3)` m.
        rate: Hz.
        forward: `(3,)` direction of walking; by default where the heel travels.
        belt_speed: m/s of a treadmill's belt, backwards positive: the place of the other strike went back with it.
        start: time of the first sample in s.

    Raises:
        SignalError: a position is not finite; for `forward` see `heading`.
    """
    heel, other_heel = checked(heel, "the heel position", ndim=2), checked(other_heel, "the other heel", ndim=2)
    ahead = heading(heel, forward)
    times = start + np.arange(len(heel)) / rate
    along, other_along = (heel * ahead).sum(axis=1), (other_heel * ahead).sum(axis=1)
    lengths = []
    for strike in events.heel_strikes:
        before = other_events.heel_strikes[other_events.heel_strikes < strike]
        same = events.heel_strikes[events.heel_strikes < strike]
        if before.size and not (same.size and same[-1] > before[-1]):  # else the other foot's strike was missed
            moved = np.interp(strike, times, along) - np.interp(before[-1], times, other_along)
            lengths.append(moved + belt_speed * (strike - before[-1]))
    return np.array(lengths)


def summarize_gait(cycles: Sequence[GaitCycle], steps: ArrayLike = ()) -> GaitSummary:
    """Means over strides, of one foot or of both, and over `steps (K,)` lengths in m.

    Raises:
        SignalError: no stride at all.
    """
    if not cycles:
        raise SignalError("no gait cycle was kept; see the reasons in `rejected`")
    stance = np.array([cycle.stance_fraction for cycle in cycles])
    stride = float(np.mean([cycle.duration for cycle in cycles]))
    steps = np.asarray(steps, dtype=np.float64)
    return GaitSummary(
        strides=len(cycles),
        stance_fraction=float(stance.mean()),
        stance_fraction_sd=float(stance.std(ddof=1)) if len(stance) > 1 else float("nan"),
        stride_time=stride,
        cadence=120.0 / stride,
        step_length=float(steps.mean()) if steps.size else float("nan"),
    )


def _defect(cycle: GaitCycle, toe_offs: int | None, config: CycleConfig) -> str | None:
    shortest, longest = config.duration
    low, high = config.stance_fraction
    if not shortest <= cycle.duration <= longest:
        return f"lasts {cycle.duration:.3f} s, outside {shortest:g} to {longest:g} s"
    if toe_offs is None:
        return None
    if toe_offs != 1:
        return f"has {toe_offs} toe-offs instead of one"
    if not low <= cycle.stance_fraction <= high:
        return f"stance is {cycle.stance_fraction:.0%} of it, outside {low:.0%} to {high:.0%}"
    return None
