"""`Movement`: named signals and gait events of one movement, measured or computed; what comparisons are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from musclewarp.biomechanics.experiments import Experiment
from musclewarp.biomechanics.experiments.experiment import SIDES, Side
from musclewarp.biomechanics.gait_events import GaitEvents, events_from_force
from musclewarp.biomechanics.muscle_maps import SITES
from musclewarp.biomechanics.signals import Floats
from musclewarp.errors import SignalError
from musclewarp.motion.table import Table
from musclewarp.retarget.opensim import PELVIS_TURN

Kind = Literal["angle", "moment", "grf", "emg"]
KINDS: tuple[Kind, ...] = ("angle", "moment", "grf", "emg")
SIDE_OF: Mapping[str, Side] = {"_r": SIDES[0], "_l": SIDES[1]}
LEG = ("hip_flexion", "hip_adduction", "hip_rotation", "knee_angle", "ankle_angle", "subtalar_angle", "mtp_angle")
FORCES = ("vertical", "forward", "medial")


@dataclass(frozen=True, eq=False)
class Signal:
    """One signal of one or more people.

    Attributes:
        name: "knee_angle", "vertical", "soleus"; angles and moments as `LEG` and OpenSim's pelvis, EMG as `SITES`.
        kind: what it is; muscle activations of a simulation are "emg".
        side: of the leg; "" of the trunk.
        unit: "rad", "Nm", "N", "1", and "Nm/kg", "N/kg".
        instants: `(T,)` s, evenly spaced, or fractions of the gait cycle from heel strike if `over_cycle`.
        values: `(N, T)` of N people; NaN where nothing was measured.
        over_cycle: whether `values` are mean gait cycles.
        has_level: whether its size means something; that of EMG in units of its own maximum does not.
    """

    name: str
    kind: Kind
    side: Side | Literal[""]
    unit: str
    instants: Floats
    values: Floats
    over_cycle: bool = False
    has_level: bool = True

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.values.shape[1] != len(self.instants) or len(self.instants) < 2:
            shape = f"values {self.values.shape} at instants {self.instants.shape}"
            raise SignalError(f"{self.kind} '{self.name}': {shape}; give (N, T) at (T,), two instants at least")

    def per_mass(self, mass: float) -> Signal:
        """A moment or a force per kg; anything else as it is."""
        if self.kind not in ("moment", "grf"):
            return self
        return replace(self, values=self.values / mass, unit=f"{self.unit}/kg")


@dataclass(frozen=True, eq=False)
class Movement:
    """What is known of one movement.

    Attributes:
        label: what a reader calls it.
        signals: each (kind, name, side) once.
        events: heel strikes and toe-offs of each foot, on the clock of the signals.
        mass: kg of who moves, None if not known.
        notes: what to know before comparing.
    """

    label: str
    signals: tuple[Signal, ...]
    events: Mapping[Side, GaitEvents] = field(default_factory=dict[Side, GaitEvents])
    mass: float | None = None
    notes: tuple[str, ...] = ()

    def find(self, like: Signal) -> Signal | None:
        """The signal of the same kind, name and side."""
        return next((s for s in self.signals if (s.kind, s.name, s.side) == (like.kind, like.name, like.side)), None)


def movement_of_experiment(experiment: Experiment) -> Movement:
    """What was measured: angles, moments, ground forces and EMG of the legs, turning of the pelvis.

    Mean cycles without events (wang2023) are of the right leg, from its heel strike.
    """
    emg, ground = experiment.emg, experiment.ground
    mean_cycle = emg is not None and emg.over_cycle and not experiment.events
    signals: list[Signal] = []
    if experiment.kinematics is not None:
        signals += _of_table(experiment.kinematics, "angle", mean_cycle)
    if experiment.moments is not None:
        signals += _of_table(experiment.moments, "moment", mean_cycle)
    if emg is not None:
        level, over = emg.normalised == "mvc", emg.over_cycle
        for muscle in (name for name in emg.muscles if name in SITES):
            signals.append(Signal(muscle, "emg", emg.side, "1", emg.instants, emg[muscle], over, level))
    events: dict[Side, GaitEvents] = {}
    for side in SIDES:
        if side in ground:
            time, force = ground[side].time, ground[side].force
            signals += force_signals(side, time, force)
            events[side] = events_from_force(force[:, 2], (len(time) - 1) / np.ptp(time), start=float(time[0]))
        elif strikes := experiment.times("heel strike", side):
            events[side] = GaitEvents(np.array(strikes), np.array(experiment.times("toe off", side)))
    return Movement(experiment.name, tuple(signals), events, experiment.subject_mass)


def leg_signals(kind: Kind, unit: str, time: Floats, columns: Mapping[str, Floats]) -> list[Signal]:
    """Signals of the legs' joints `name_r`, `name_l` among `columns`, name -> `(T,)`."""
    return [
        Signal(name[:-2], kind, SIDE_OF[name[-2:]], unit, time, values[None])
        for name, values in columns.items()
        if name[:-2] in LEG and name[-2:] in SIDE_OF
    ]


def force_signals(side: Side, time: Floats, force: Floats) -> list[Signal]:
    """Vertical, forward and medial ground force from `force (T, 3)` N on a foot, x forward, y left, z up."""
    inwards = 1.0 if side == "right" else -1.0
    columns = (force[:, 2], force[:, 0], inwards * force[:, 1])
    return [Signal(name, "grf", side, "N", time, values[None]) for name, values in zip(FORCES, columns)]


def _of_table(table: Table, kind: Kind, mean_cycle: bool) -> list[Signal]:
    columns = {name: table[name] for name in table.columns}
    signals = leg_signals(kind, "rad" if kind == "angle" else "Nm", table.time, columns)
    if kind == "angle":
        turns = [name for name in PELVIS_TURN if name in table]
        signals += [Signal(name, kind, "", "rad", table.time, columns[name][None]) for name in turns]
    if not mean_cycle:
        return signals
    phase = (table.time - table.time[0]) / (table.time[-1] - table.time[0])
    return [replace(signal, instants=phase, over_cycle=True) for signal in signals if signal.side != "left"]
