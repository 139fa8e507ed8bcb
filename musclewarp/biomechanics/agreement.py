"""How well a movement agrees with a measured one, signal by signal, over the gait cycle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd

from musclewarp.biomechanics.ceilings import Population
from musclewarp.biomechanics.compare import CurveComparison, compare_curves, representational_similarity
from musclewarp.biomechanics.experiments.experiment import SIDES, Side
from musclewarp.biomechanics.gait import RejectedCycle
from musclewarp.biomechanics.movement import KINDS, Kind, Movement, Signal
from musclewarp.biomechanics.phases import Basis, Curves, Record, curves_over, find_phases, mean_duration
from musclewarp.errors import SignalError

COLUMNS = ("signal", "kind", "side", "r", "lag_s", "rmse", "unit", "ceiling_r")
FURTHER = ("basis", "composed", "measured_vs_population_r", "r_at_lag", "peak_lag_s", "given")
BASES: tuple[Basis, ...] = ("gait cycle", "stance")
COORDINATION = "coordination"
OF_MAXIMUM = "of maximum"
_STILL = {
    "rad": 1e-3,
    "Nm": 0.1,
    "Nm/kg": 1e-3,
}  # a joint that turns less was held, one that does less has nothing to do
_SIDES = (*SIDES, "")
MAX_LAG = 0.25  # of the stride: what correlates better farther away is another burst, not the same one late


@dataclass(frozen=True, eq=False)
class SignalAgreement:
    """One signal of both movements.

    Attributes:
        measured: the measured signal, of its unit.
        foot: on whose strides both lie; of a signal of the trunk, the right foot where there is one.
        basis: what lies over one another.
        stride: s, how long the measured stride or stance takes.
        simulated_curves: ours, in the same unit.
        measured_curves: theirs.
        numbers: simulated against measured, of the means.
        unit: of the RMSE.
        ceiling_r: r that one person reaches with one other, or, where the measurement is of several people, with the
            mean of the others; NaN where that is not known.
        population_r: r of the one measured person with the mean of the population; NaN likewise.
    """

    measured: Signal
    foot: Side
    basis: Basis
    stride: float
    simulated_curves: Curves
    measured_curves: Curves
    numbers: CurveComparison
    unit: str
    ceiling_r: float
    population_r: float

    @property
    def composed(self) -> str:
        """Which strides are put together of parts: "simulated", "measured", "both" or "" (none)."""
        found = [whose for whose in ("simulated", "measured") if getattr(self, f"{whose}_curves").composed]
        return "both" if len(found) == 2 else "".join(found)


@dataclass(frozen=True)
class Coordination:
    """Muscle-by-muscle representational similarity (Spearman's rho) of one leg, and what people reach."""

    side: Side
    muscles: int
    rho: float
    ceiling: float
    population_rho: float


@dataclass(frozen=True)
class Rejected:
    """A stride of a foot, in s, of "simulated" or "measured", that a kind of signal leaves out, and why."""

    whose: Literal["simulated", "measured"]
    side: Side
    kind: str
    cycle: RejectedCycle


@dataclass(frozen=True)
class KindSummary:
    """Of the N `signals` of a `kind`: of how many there is an r (`judged`; what is silent has none), its mean, ...

    `given`: they were taken from the measurement, and r is no finding.
    """

    kind: Kind
    signals: int
    judged: int
    mean_r: float
    lowest_r: float
    mean_ceiling: float
    given: bool


@dataclass(frozen=True, eq=False)
class Agreement:
    """A simulated movement beside a measured one.

    Attributes:
        simulated, measured: the movements, per kg, and their strides.
        bases: what was compared of each foot.
        signals: what both have.
        coordination: of each leg with three muscles or more.
        rejected: parts that were left out.
        notes: what a reader has to know of the comparison; what the data's own notes say is not among them.
    """

    simulated: Record
    measured: Record
    bases: Mapping[Side, Basis]
    signals: tuple[SignalAgreement, ...]
    coordination: tuple[Coordination, ...]
    rejected: tuple[Rejected, ...]
    notes: tuple[str, ...]

    def of(self, kind: Kind) -> tuple[SignalAgreement, ...]:
        """Those of one kind."""
        return tuple(found for found in self.signals if found.measured.kind == kind)

    def is_given(self, kind: Kind) -> bool:
        """Whether the simulated signals of a kind were taken from the measurement, so that r is no finding."""
        return kind in self.simulated.movement.given

    def table(self) -> pd.DataFrame:
        """One row per signal, with `COLUMNS` and `FURTHER`; of "coordination", `r` is Spearman's rho.

        Of signals that were given, numbers are of what is left of filters and joints, and `given` says so.
        """
        rows: list[tuple[object, ...]] = []
        for found in self.signals:
            signal, numbers = found.measured, found.numbers
            values = (numbers.r, numbers.lag_s, numbers.rmse, found.unit, found.ceiling_r)
            further = (found.basis, found.composed, found.population_r, numbers.r_at_lag, numbers.peak_lag_s)
            further += (self.is_given(signal.kind),)
            rows.append((signal.name, signal.kind, signal.side, *values, *further))
        for leg in self.coordination:
            further = (self.bases.get(leg.side, ""), "", leg.population_rho, np.nan, np.nan, self.is_given("emg"))
            rows.append((COORDINATION, "emg", leg.side, leg.rho, np.nan, np.nan, "", leg.ceiling, *further))
        return pd.DataFrame(rows, columns=[*COLUMNS, *FURTHER])

    def summary(self) -> tuple[KindSummary, ...]:
        """Of each kind that both have."""
        rows: list[KindSummary] = []
        for kind in KINDS:
            if found := self.of(kind):
                r, ceilings = np.array([(one.numbers.r, one.ceiling_r) for one in found]).T
                r, ceilings = r[np.isfinite(r)], ceilings[np.isfinite(ceilings)]
                mean, lowest = (float(r.mean()), float(r.min())) if len(r) else (np.nan, np.nan)
                ceiling = float(ceilings.mean()) if len(ceilings) else np.nan
                rows.append(KindSummary(kind, len(found), len(r), mean, lowest, ceiling, self.is_given(kind)))
        return tuple(rows)


def compare_movements(simulated: Movement, measured: Movement, population: Population | None = None) -> Agreement:
    """Every signal that both movements have, over gait cycles of 101 points; lags in s of the measured stride.

    Where one has no whole stride of a foot, its stances are compared instead. Moments and forces are taken per kg if
    both masses are known. Curves without a level (EMG in units of its own maximum) are divided by their maxima, so that
    shape and timing count. Lags are looked for within a quarter of the stride. What the measurement holds constant is
    left out. Movements on one clock (a replay and its recording) are compared at the same instants, those that both
    have, so that no stride is composed of other steps than its counterpart. A leg without events, of which alone the
    measurement has none, is laid on the other foot's strides.

    Args:
        simulated: what a model did.
        measured: what people did.
        population: whose EMG sets the ceilings; of walkers, if walking is compared.

    Raises:
        SignalError: there is no stride or stance that both have, or no signal.
    """
    simulated, measured, notes = _on_one_scale(simulated, measured)
    ours = Record("simulated", simulated, find_phases(simulated))
    theirs = Record("measured", measured, find_phases(measured))
    records, bases = (ours, theirs), _bases(ours, theirs)
    notes += _notes(bases, records)
    signals: list[SignalAgreement] = []
    rejected = [
        Rejected(one.whose, side, "all", cycle)
        for one in records
        for side, basis in bases.items()
        for cycle in one.over(side, basis).rejected
    ]
    for signal in sorted(measured.signals, key=lambda signal: (KINDS.index(signal.kind), _SIDES.index(signal.side))):
        mine, foot = simulated.find(signal), _foot(signal, bases, measured)
        if mine is None or foot not in bases:
            continue
        finite = signal.values[np.isfinite(signal.values)]
        if np.ptp(finite if len(finite) else np.zeros(1)) <= _STILL.get(signal.unit, 0.0):
            notes.append(f"{_name(signal)} was held constant in the measurement: not compared")
            continue
        if simulated.clock and simulated.clock == measured.clock and not signal.over_cycle:
            together = _same_instants(mine, signal)
            if together is None:
                notes.append(f"{_name(signal)}: no instant of it is in both records; not compared")
                continue
            mine, signal = together
        cycles = [record.over(foot, bases[foot]) for record in records]
        curves = [curves_over(each, over, bases[foot]) for each, over in zip((mine, signal), cycles)]
        for record, each in zip(records, curves):
            rejected += [Rejected(record.whose, foot, signal.kind, cycle) for cycle in each.rejected]
            if not len(each.values):
                notes.append(f"{_name(signal)}: no whole {bases[foot]} of it is in the {record.whose} record")
        if all(len(each.values) for each in curves):
            stride = mean_duration(cycles[1]) or mean_duration(cycles[0]) or 1.0
            signals.append(_compare(mine, signal, foot, bases[foot], stride, curves[0], curves[1], population))
    if not signals:
        there, here = (", ".join(dict.fromkeys(s.kind for s in m.signals)) for m in (simulated, measured))
        raise SignalError(
            f"'{simulated.label}' ({there or 'no signals'}) and '{measured.label}' ({here or 'no signals'}) have no "
            "signal in common over a stride; choose another experiment"
        )
    told = tuple(dict.fromkeys((*simulated.notes, *measured.notes, *notes, *_composed(signals))))
    coordination = _coordination(signals, population)
    return Agreement(ours, theirs, bases, tuple(signals), coordination, tuple(dict.fromkeys(rejected)), told)


def _compare(
    mine: Signal, signal: Signal, foot: Side, basis: Basis, stride: float, simulated: Curves, measured: Curves,
    population: Population | None,
) -> SignalAgreement:  # fmt: skip
    unit, ceiling, with_mean, cyclic = signal.unit, float("nan"), float("nan"), basis == "gait cycle"
    if not (mine.has_level and signal.has_level):
        simulated, measured, unit = _of_maximum(simulated), _of_maximum(measured), OF_MAXIMUM
    if population is not None and signal.kind == "emg" and cyclic and foot == signal.side:
        one_person = len(signal.values) == 1
        ceiling = population.ceiling(signal.name, one_person)
        with_mean = population.with_mean(signal.name, measured.mean) if one_person else with_mean
    (numbers,) = compare_curves(
        simulated.mean[:, None], measured.mean[:, None], [signal.name], stride, cyclic, max_lag=MAX_LAG * stride
    )
    return SignalAgreement(signal, foot, basis, stride, simulated, measured, numbers, unit, ceiling, with_mean)


def _of_maximum(curves: Curves) -> Curves:
    """In units of the mean curve's maximum; one that is silent throughout stays so."""
    highest = curves.mean.max()
    return replace(curves, values=curves.values / highest) if highest > 0.0 else curves


def _foot(signal: Signal, bases: Mapping[Side, Basis], measured: Movement) -> Side:
    """On whose strides a signal lies: its own leg's, but for the trunk and for the one leg without events."""
    strides = next(iter(bases))
    if not signal.side or (not signal.over_cycle and measured.events and signal.side not in measured.events):
        return strides
    return signal.side


def _same_instants(mine: Signal, signal: Signal) -> tuple[Signal, Signal] | None:
    """Both at the simulated instants that lie within both; None without two of them."""
    first, last = signal.instants[0] - 1e-9, signal.instants[-1] + 1e-9
    inside = (mine.instants >= first) & (mine.instants <= last)
    if inside.sum() < 2:
        return None
    instants = mine.instants[inside]
    values = np.array([np.interp(instants, signal.instants, person) for person in signal.values])
    return replace(mine, instants=instants, values=mine.values[:, inside]), replace(
        signal, instants=instants, values=values
    )


def _bases(simulated: Record, measured: Record) -> dict[Side, Basis]:
    bases: dict[Side, Basis] = {}
    for side in SIDES:
        for basis in BASES:
            if side not in bases and simulated.has(side, basis) and measured.has(side, basis):
                bases[side] = basis
    if bases:
        return bases

    def told(record: Record) -> str:
        strikes = sum(len(events.heel_strikes) for events in record.movement.events.values())
        parts = [f"{basis} of the {side} foot" for side in SIDES for basis in BASES if record.has(side, basis)]
        return (
            f"'{record.movement.label}' has {', '.join(parts) or f'no stride and no stance ({strikes} heel strikes)'}"
        )

    raise SignalError(
        f"nothing to lay over one another: {told(simulated)}; {told(measured)}. Give a movement that walks or runs for "
        "a stride at least (see `musclewarp evaluate --seconds` for loops)"
    )


def _notes(bases: Mapping[Side, Basis], records: tuple[Record, Record]) -> list[str]:
    notes: list[str] = []
    for side in SIDES:
        measured = records[1].movement
        if side not in bases and measured.events and side not in measured.events:
            if any(signal.side == side for signal in measured.signals):
                notes.append(f"the {side} foot has no events: its leg is laid on the other foot's strides")
        elif side not in bases:
            notes.append(f"the {side} foot: no stride or stance is in both records; not compared")
        elif bases[side] == "stance":
            whose = " and ".join(one.whose for one in records if not one.has(side, "gait cycle"))
            notes.append(f"the {side} foot: no whole stride is in the {whose} record; stances are compared instead")
        for one in records:
            if bases.get(side) == "gait cycle" and side in one.phases and one.phases[side].borrowed:
                notes.append(f"{one.whose}: the {side} foot strikes once; its stride is as long as the other's")
    return notes


def _composed(signals: list[SignalAgreement]) -> list[str]:
    notes: list[str] = []
    for whose in ("simulated", "measured"):
        curves = [(one.measured.kind, getattr(one, f"{whose}_curves")) for one in signals]
        if kinds := dict.fromkeys(kind for kind, each in curves if each.composed):
            why = "no whole stride was recorded, one is put together of parts of neighbouring ones"
            notes.append(f"{whose} {', '.join(kinds)}: {why}")
    return notes


def _on_one_scale(simulated: Movement, measured: Movement) -> tuple[Movement, Movement, list[str]]:
    """Both per kg, if both masses are known."""
    if simulated.mass is None or measured.mass is None:
        forces = any(signal.kind in ("moment", "grf") for signal in measured.signals)
        note = "a mass is not known: moments and forces are compared in Nm and N, not per kg"
        return simulated, measured, [note] if forces else []
    return _per_mass(simulated, simulated.mass), _per_mass(measured, measured.mass), []


def _per_mass(movement: Movement, mass: float) -> Movement:
    return replace(movement, signals=tuple(signal.per_mass(mass) for signal in movement.signals))


def _coordination(signals: list[SignalAgreement], population: Population | None) -> tuple[Coordination, ...]:
    legs: list[Coordination] = []
    for side in SIDES:
        muscles = [found for found in signals if (found.measured.kind, found.measured.side) == ("emg", side)]
        moving = [found for found in muscles if np.isfinite(found.numbers.r)]
        if len(moving) >= 3:
            ours = np.stack([found.simulated_curves.mean for found in moving], axis=-1)
            theirs = np.stack([found.measured_curves.mean for found in moving], axis=-1)
            names = [found.measured.name for found in moving]
            ceiling = with_mean = float("nan")
            if population is not None and all(found.foot == side for found in moving):
                one_person = len(moving[0].measured.values) == 1
                ceiling = population.coordination_ceiling(names, one_person)
                with_mean = population.coordination_with_mean(names, theirs) if one_person else with_mean
            legs.append(Coordination(side, len(moving), representational_similarity(ours, theirs), ceiling, with_mean))
    return tuple(legs)


def _name(signal: Signal) -> str:
    return f"{signal.name.replace('_', ' ')} {signal.side}".strip()
