"""Which parts of a movement are laid over those of another: strides, or stances where no stride is whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from musclewarp.biomechanics.experiments import over_cycle
from musclewarp.biomechanics.experiments.experiment import Side
from musclewarp.biomechanics.gait import (
    CycleConfig,
    GaitCycle,
    GaitCycles,
    RejectedCycle,
    find_cycles,
    normalize_cycles,
)
from musclewarp.biomechanics.gait_events import GaitEvents
from musclewarp.biomechanics.movement import Movement, Signal
from musclewarp.biomechanics.signals import Floats
from musclewarp.errors import FileError
from musclewarp.motion.table import Table

Basis = Literal["gait cycle", "stance"]
POINTS = 101


@dataclass(frozen=True)
class FootPhases:
    """Strides and stances of one foot.

    Attributes:
        cycles: heel strike to heel strike.
        stances: heel strike to toe-off, each a `GaitCycle` that ends there.
        borrowed: whether a stride's length is the other foot's, of which alone two strikes were recorded.
    """

    cycles: GaitCycles
    stances: GaitCycles
    borrowed: bool = False

    def over(self, basis: Basis) -> GaitCycles:
        """Those of one kind."""
        return self.cycles if basis == "gait cycle" else self.stances


@dataclass(frozen=True, eq=False)
class Curves:
    """A signal over the parts of a movement.

    Attributes:
        values: `(C, 101)`, of C strides, stances or people.
        composed: whether the one stride is put together of parts of neighbouring ones.
        rejected: parts that the signal does not cover.
    """

    values: Floats
    composed: bool = False
    rejected: tuple[RejectedCycle, ...] = ()

    @property
    def mean(self) -> Floats:
        """`(101,)`."""
        return self.values.mean(axis=0)

    @property
    def sd(self) -> Floats | None:
        """`(101,)`, None of a single curve."""
        return self.values.std(axis=0, ddof=1) if len(self.values) > 1 else None


@dataclass(frozen=True, eq=False)
class Record:
    """A `movement`, "simulated" or "measured", and the `phases` of its feet."""

    whose: Literal["simulated", "measured"]
    movement: Movement
    phases: Mapping[Side, FootPhases]

    def over(self, side: Side, basis: Basis) -> GaitCycles:
        """Strides or stances of a foot; none of one without events."""
        return self.phases[side].over(basis) if side in self.phases else GaitCycles((), ())

    def has(self, side: Side, basis: Basis) -> bool:
        """Whether there is a stride, or stance, of a foot; mean cycles of people are strides."""
        averaged = basis == "gait cycle" and any(s.over_cycle and s.side == side for s in self.movement.signals)
        return averaged or bool(self.over(side, basis).kept)


def find_phases(movement: Movement, config: CycleConfig | None = None) -> dict[Side, FootPhases]:
    """Strides and stances of each foot that has events.

    A foot with one strike takes the other foot's stride time, if that was recorded: two feet that walk together take as
    long.
    """
    config = config or CycleConfig()
    found: dict[Side, FootPhases] = {}
    for side, events in movement.events.items():
        found[side] = FootPhases(find_cycles(events, config), _stances(events, config))
    for side, phases in list(found.items()):
        other = found.get("left" if side == "right" else "right")
        if not phases.cycles.kept and other is not None and other.cycles.kept:
            stride = float(np.mean([cycle.duration for cycle in other.cycles.kept]))
            if borrowed := _strides(movement.events[side], stride):
                cycles = GaitCycles(borrowed, phases.cycles.rejected)
                found[side] = FootPhases(cycles, phases.stances, borrowed=True)
    return found


def curves_over(signal: Signal, cycles: GaitCycles, basis: Basis) -> Curves:
    """A signal over strides or stances.

    Of a stride that the signal covers nowhere in one piece, the missing part is taken from the stride before or after,
    at the same phase.
    """
    if signal.over_cycle:
        phase = np.linspace(0.0, 1.0, POINTS)
        return Curves(np.array([np.interp(phase, signal.instants, person) for person in signal.values]))
    time, values = signal.instants, signal.values[0]
    rate = (len(time) - 1) / (time[-1] - time[0])
    curves = normalize_cycles(values, rate, GaitCycles(cycles.kept, ()), POINTS, float(time[0]))
    if not len(curves.values) and basis == "gait cycle" and np.isfinite(values).all():
        table = Table(signal.name, time, (signal.name,), values[:, None], ("",))
        for cycle in cycles.kept:
            try:
                composed = over_cycle(table, cycle.start, cycle.duration, POINTS)
            except FileError:
                continue
            return Curves(composed.values.T, composed=True)
    return Curves(curves.values, rejected=curves.cycles.rejected)


def mean_duration(cycles: GaitCycles) -> float | None:
    """Seconds, None without a cycle."""
    return float(np.mean([cycle.duration for cycle in cycles.kept])) if cycles.kept else None


def _stances(events: GaitEvents, config: CycleConfig) -> GaitCycles:
    """From each heel strike to the toe-off that comes before the next one; the record may end before the last."""
    ends = [*events.heel_strikes[1:].tolist(), np.inf]
    kept: list[GaitCycle] = []
    rejected: list[RejectedCycle] = []
    for start, end in zip(events.heel_strikes.tolist(), ends):
        inside = events.toe_offs[(events.toe_offs > start) & (events.toe_offs < end)].tolist()
        if len(inside) == 1 and inside[0] - start < config.duration[1]:
            kept.append(GaitCycle(start, inside[0], inside[0]))
        elif inside or np.isfinite(end):
            last = inside[-1] if inside else end
            reason = f"has {len(inside)} toe-offs instead of one"
            if len(inside) == 1:
                reason = f"stance lasts {last - start:.3f} s, {config.duration[1]:g} s or more"
            rejected.append(RejectedCycle(start, last, reason))
    return GaitCycles(tuple(kept), tuple(rejected))


def _strides(events: GaitEvents, stride: float) -> tuple[GaitCycle, ...]:
    """From each heel strike, `stride` s long, where one toe-off is inside."""
    strides: list[GaitCycle] = []
    for start in events.heel_strikes.tolist():
        inside = events.toe_offs[(events.toe_offs > start) & (events.toe_offs < start + stride)].tolist()
        if len(inside) == 1:
            strides.append(GaitCycle(start, inside[0], start + stride))
    return tuple(strides)
