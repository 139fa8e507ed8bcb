"""`Movement`: named signals and gait events of one movement, measured or computed; what comparisons are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from scipy.spatial.transform import Rotation

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
_TO_Z_UP = Rotation.from_rotvec([np.pi / 2, 0.0, 0.0])


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
        given: kinds of signals that were taken from the measurement, so that their agreement with it is no finding.
        events_given: whether the events were.
        clock: which recording's time the signals are on; "" if their own. Movements on one clock can be compared
            instant by instant.
    """

    label: str
    signals: tuple[Signal, ...]
    events: Mapping[Side, GaitEvents] = field(default_factory=dict[Side, GaitEvents])
    mass: float | None = None
    notes: tuple[str, ...] = ()
    given: frozenset[Kind] = frozenset()
    events_given: bool = False
    clock: str = ""

    def find(self, like: Signal) -> Signal | None:
        """The signal of the same kind, name and side."""
        return next((s for s in self.signals if (s.kind, s.name, s.side) == (like.kind, like.name, like.side)), None)


def movement_of_experiment(experiment: Experiment) -> Movement:
    """What was measured: angles, moments, ground forces and EMG of the legs, turning of the pelvis.

    Mean cycles without events (wang2023) are of the right leg, from its heel strike to its next. Pelvis angles are from
    where it faces on average. Events of a raw recording are not those of people's mean cycles (santuz_walk_emg).
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
    if emg is not None and emg.over_cycle and experiment.raw_emg is not None:
        note = "the measurement has mean cycles and no stride time: lags are of the simulated stride"
        return Movement(experiment.name, tuple(signals), mass=experiment.subject_mass, notes=(note,))
    for side in SIDES:
        if side in ground:
            time, force = ground[side].time, ground[side].force
            signals += force_signals(side, time, force)
            events[side] = events_from_force(force[:, 2], (len(time) - 1) / np.ptp(time), start=float(time[0]))
        elif strikes := experiment.times("heel strike", side):
            events[side] = GaitEvents(np.array(strikes), np.array(experiment.times("toe off", side)))
    if mean_cycle and experiment.kinematics is not None:
        events[SIDES[0]] = GaitEvents(experiment.kinematics.time[[0, -1]], np.empty(0))
    return Movement(experiment.name, tuple(signals), events, experiment.subject_mass, clock=clock_of(experiment))


def clock_of(experiment: Experiment) -> str:
    """Of which recording its times are: one name may be that of many people and trials, which the task tells."""
    return f"{experiment.name}: {experiment.task}"


def pelvis_signals(time: Floats, pelvis: Rotation, turning: float = 0.0) -> list[Signal]:
    """Tilt, list and rotation of a pelvis `(T,)` in the z-up world, from where it faces on average.

    Args:
        time: `(T,)` s.
        pelvis: its x axis is forward, its y axis up.
        turning: rad that it turns from frame to frame on the whole, to the left, as on a curved path.
    """
    steps = turning * (np.arange(len(time)) - (len(time) - 1) / 2)
    straight = Rotation.from_rotvec(steps[:, None] * [0.0, 0.0, -1.0]) * pelvis
    turned = (_TO_Z_UP.inv() * Rotation.from_matrix(facing(straight)) * straight).as_euler("ZXY")
    turns = zip(PELVIS_TURN, np.unwrap(turned, axis=0).T)
    return [Signal(name, "angle", "", "rad", time, values[None]) for name, values in turns]


def facing(pelvis: Rotation) -> Floats:
    """The turn about z, `(3, 3)`, from the world to where the pelvis `(T,)` faces on average, its new x axis."""
    forward = pelvis.mean().apply([1.0, 0.0, 0.0])
    return Rotation.from_rotvec([0.0, 0.0, -np.arctan2(forward[1], forward[0])]).as_matrix()


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
    if kind == "angle" and set(PELVIS_TURN) <= set(table.columns):
        turns = np.stack([columns[name] for name in PELVIS_TURN], axis=-1)
        signals += pelvis_signals(table.time, _TO_Z_UP * Rotation.from_euler("ZXY", turns))
    if not mean_cycle:
        return signals
    phase = (table.time - table.time[0]) / (table.time[-1] - table.time[0])
    return [replace(signal, instants=phase, over_cycle=True) for signal in signals if signal.side != "left"]
