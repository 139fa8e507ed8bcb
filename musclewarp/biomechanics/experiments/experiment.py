"""`Experiment`: what a laboratory measured of people who moved, in one set of units, signs and frames."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from musclewarp.errors import FileError
from musclewarp.models import MuscleModel
from musclewarp.motion.markers import Markers
from musclewarp.motion.opensim import coordinate_name, to_z_up
from musclewarp.motion.table import Table
from musclewarp.references import Reference
from musclewarp.retarget.opensim import from_opensim

Floats = NDArray[np.float64]
Side = Literal["right", "left"]
SIDES: tuple[Side, ...] = ("right", "left")
CONTACT_FORCE = 20.0  # N of vertical force; below it a centre of pressure is noise divided by noise


@dataclass(frozen=True, eq=False)
class GroundForce:
    """What the ground does to one foot, in the z-up world (x forward, y left).

    Attributes:
        time: `(T,)` s.
        force: `(T, 3)` N.
        point: `(T, 3)` m, centre of pressure; NaN where the vertical force is below 20 N.
        torque: `(T, 3)` Nm about that point; zero there.
    """

    time: Floats
    force: Floats
    point: Floats
    torque: Floats

    @property
    def loaded(self) -> NDArray[np.bool_]:
        """`(T,)` whether the foot stands on the ground: 20 N or more."""
        return self.force[:, 2] >= CONTACT_FORCE


@dataclass(frozen=True)
class Event:
    """`kind` ("heel strike" or "toe off") of the foot of one `side` at `time` s."""

    time: float
    side: Side
    kind: Literal["heel strike", "toe off"]


@dataclass(frozen=True, eq=False)
class Emg:
    """Muscle activity of N people (or trials) at T instants from M electrodes.

    Attributes:
        muscles: what the electrodes were over ("soleus", "vastus_medialis", ...).
        values: `(N, T, M)`; not negative where they are envelopes.
        instants: `(T,)` s, or, if `over_cycle`, fractions of the gait cycle in [0, 1] from heel strike.
        over_cycle: whether these are mean gait cycles.
        side: of the leg.
        normalised: what 1 is: "max" (the largest value of the channel), "mvc" (a maximal voluntary contraction),
            "mean cycle", or "" (raw, `unit`). Whatever it is not MVC: compare shape and timing, never level.
        subjects: names of the N people.
        unit: "1", "V", or "" where the file does not tell.
    """

    muscles: tuple[str, ...]
    values: Floats
    instants: Floats
    over_cycle: bool
    side: Side
    normalised: Literal["max", "mvc", "mean cycle", ""]
    subjects: tuple[str, ...] = ("subject",)
    unit: str = "1"

    def __post_init__(self) -> None:
        if self.values.shape != (len(self.subjects), len(self.instants), len(self.muscles)):
            shape = f"{len(self.subjects)} subjects, {len(self.instants)} instants and {len(self.muscles)} muscles"
            raise FileError(f"EMG of shape {self.values.shape} for {shape}")

    def __getitem__(self, muscle: str) -> Floats:
        """Activity `(N, T)` of one muscle.

        Raises:
            FileError: there was no electrode over it.
        """
        if muscle not in self.muscles:
            raise FileError(f"no EMG of '{muscle}'; there is {', '.join(self.muscles)}")
        return self.values[:, :, self.muscles.index(muscle)]


@dataclass(frozen=True, eq=False)
class Experiment:
    """One published experiment.

    Signs, for every experiment, on both sides: flexion of hip, knee and elbow, adduction, internal rotation, ankle
    dorsiflexion and subtalar inversion are positive, and so are lumbar extension, bending to the right and rotation to
    the left. Pelvis tilt, list and rotation turn it about its z (right), x (forward) and y (up) axes, in this sequence.
    These are the signs of the Rajagopal model and of MyoFullBody. A joint's moment has the sign of its angle, and is
    what muscles and ligaments together do (internal): plantarflexors make a negative ankle moment.

    Frames: `kinematics` are OpenSim's generalised coordinates, so `pelvis_tx, _ty, _tz` are in its ground frame (y up);
    vectors (`ground`, `markers`) are in the z-up world: x forward, y left. SI units, radians.

    Attributes:
        name: what `load_experiment` calls it.
        task: what people did, at which speed.
        kinematics: joint angles in rad, pelvis translations in m; None if not measured.
        moments: net joint moments in Nm (N for the pelvis translations), by the name of the coordinate.
        ground: ground reaction force of each foot that was on a plate.
        emg: envelopes of muscle activity, over time or over the gait cycle.
        raw_emg: unprocessed, of one trial.
        markers: measured marker positions.
        events: in time.
        subject_mass: kg, None if not published (or many people).
        subject_height: m, likewise.
        treadmill_speed: m/s of the belt; 0 overground.
        licence: of the data.
        citation: what to cite.
        notes: what to know before comparing anything.
        files: SHA-256 of each file that was read.
    """

    name: str
    task: str
    licence: str
    citation: str
    kinematics: Table | None = None
    moments: Table | None = None
    ground: Mapping[Side, GroundForce] = field(default_factory=dict[Side, GroundForce])
    emg: Emg | None = None
    raw_emg: Emg | None = None
    markers: Markers | None = None
    events: tuple[Event, ...] = ()
    subject_mass: float | None = None
    subject_height: float | None = None
    treadmill_speed: float = 0.0
    notes: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict[str, str])

    def times(self, kind: str, side: Side) -> tuple[float, ...]:
        """When events of this kind and side happened, in s."""
        return tuple(event.time for event in self.events if event.kind == kind and event.side == side)

    def reference(self, model: MuscleModel, dt: float | None = None, cutoff_hz: float = np.inf) -> Reference:
        """The movement as a reference of `model`, see `retarget.opensim.from_opensim`; off its treadmill.

        Raises:
            FileError: joint angles were not measured, or cannot be mapped.
        """
        if self.kinematics is None:
            raise FileError(f"experiment '{self.name}' has no kinematics")
        source = {"experiment": self.name, "task": self.task, "licence": self.licence, "citation": self.citation}
        return from_opensim(self.kinematics, model, dt, self.name, self.treadmill_speed, source, cutoff_hz)


def coordinates(table: Table, knee_extension_positive: bool = False, flip: Iterable[str] = ()) -> Table:
    """A table of OpenSim coordinates, or of their moments, with short names and the signs of `Experiment`.

    Columns of the kneecap (`knee_angle_r_beta`), which follow the knee, are left out.
    """
    short = {name: coordinate_name(name).removesuffix("_moment").removesuffix("_force") for name in table.columns}
    kept = [name for name in table.columns if not short[name].endswith("_beta")]
    named = table.select(kept).rename(short)
    flipped = [*(f"knee_angle_{side}" for side in "rl" if knee_extension_positive), *flip]
    return named.negate(name for name in flipped if name in named)


def ground_forces(table: Table, force: str, point: str, torque: str, letters: str) -> dict[Side, GroundForce]:
    """Both feet's, from a table in OpenSim's ground frame (y up).

    The columns are `force`, `point` and `torque` with an axis behind and the right and the left one of `letters` for
    each `*`.

    Raises:
        FileError: a column, or a value under load, is missing.
    """
    ground: dict[Side, GroundForce] = {}
    for side, letter in zip(SIDES, letters):
        names = [name.replace("*", letter) for name in (force, point, torque)]
        vectors = [to_z_up(table.select(f"{name}{axis}" for axis in "xyz").values) for name in names]
        loaded = vectors[0][:, 2] >= CONTACT_FORCE
        if not (np.isfinite(vectors[0]).all() and np.isfinite(np.concatenate(vectors, axis=1)[loaded]).all()):
            raise FileError(f"{table.name}: a force, or its point or torque under load, is missing ('{names[0]}')")
        where, turn = np.where(loaded[:, None], vectors[1], np.nan), np.where(loaded[:, None], vectors[2], 0.0)
        ground[side] = GroundForce(table.time, vectors[0], where, turn)
    return ground


def contact_events(ground: Mapping[Side, GroundForce]) -> tuple[Event, ...]:
    """Where the vertical force of each foot rises through 20 N (heel strike) and falls through it (toe off).

    For clean plate data: nothing is debounced.
    """
    events: list[Event] = []
    for side, plate in ground.items():
        force = plate.force[:, 2] - CONTACT_FORCE
        for row in np.flatnonzero(plate.loaded[1:] != plate.loaded[:-1]):
            part = force[row] / (force[row] - force[row + 1])
            time = plate.time[row] + part * (plate.time[row + 1] - plate.time[row])
            events.append(Event(float(time), side, "heel strike" if plate.loaded[row + 1] else "toe off"))
    return tuple(sorted(events, key=lambda event: event.time))
