"""How differently one motion can be produced: K solutions, by their activations, forces and joint angles.

Muscles are redundant: policies that learned the same motion from other seeds, or under other costs, may agree in their
joint angles and yet not in their muscles. Two questions are asked of each modality (activations, muscle forces, joint
angles, ground forces):

- How many directions do its frames fill? Principal components of the frames of all solutions.
- How far are solutions apart? Distances in units of the movement itself, so that modalities can be compared:

      d(X, Y)^2 = <|x_t - y_t|^2> / (2 <|x_t - <x>|^2>)

  with means <> over time, and below the line over solutions, too. It is 0 for the same signals and 1 for unrelated
  ones that vary as much about the same mean. Between repetitions of one solution it says what chance does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
import pandas as pd

from musclewarp.biomechanics.signals import Floats, checked
from musclewarp.dynamics import Criterion, Trajectory, optimize_activations
from musclewarp.errors import SignalError
from musclewarp.evaluation.trial import Trial
from musclewarp.models import MuscleModel
from musclewarp.references.reference import Reference
from musclewarp.retarget.activations import reference_accelerations

ACTIVATION, MUSCLE_FORCE, JOINT_ANGLE, GROUND_FORCE = "activation", "muscle force", "joint angle", "ground force"
_ARRAYS = {ACTIVATION: "activation", MUSCLE_FORCE: "muscle_force", JOINT_ANGLE: "joint_pos", GROUND_FORCE: "foot_force"}
COSTS: Mapping[str, Criterion] = {
    "cost a²": Criterion(),
    "cost a³": Criterion(power=3.0),
    "cost F a²": Criterion(weight="force"),
    "cost V a²": Criterion(weight="volume"),
}


@dataclass(frozen=True, eq=False)
class Solution:
    """One way to produce a motion.

    Attributes:
        name: of the policy, or of the cost.
        signals: modality -> `(R, T, C)`: R repetitions of T frames in C channels, in the modality's unit.
    """

    name: str
    signals: Mapping[str, Floats]

    def __post_init__(self) -> None:
        values = {kind: np.asarray(value, dtype=np.float64) for kind, value in self.signals.items()}
        for kind, value in values.items():
            if value.ndim != 3 or not len(value):
                raise SignalError(f"solution '{self.name}': {kind} has shape {value.shape}, not (R, T, C)")
            for repetition in value:
                checked(repetition, f"solution '{self.name}': {kind}", ndim=2)
        object.__setattr__(self, "signals", values)


@dataclass(frozen=True, eq=False)
class Modality:
    """What K solutions have in common, and what not, in one kind of signal of C channels.

    Attributes:
        name: of the kind.
        channels: C.
        explained: `(P,)` share of the variance of all frames that the first 1 .. P principal components have, ending
            with 1; all zeros where nothing moves.
        distances: `(K, K)` between solutions, see the module; on the diagonal between repetitions of one, NaN where it
            has only one. Root mean squares over the pairs of repetitions.
        places: `(K, 2)` a map: the solutions' means about their common mean on their first two principal components,
            in the units of `distances` (their differences have these lengths, but for what the map leaves out).
        mapped: share `(2,)` of the variance between the solutions that each axis of the map shows.
    """

    name: str
    channels: int
    explained: Floats
    distances: Floats
    places: Floats
    mapped: Floats

    def components(self, share: float) -> int:
        """How many principal components have at least `share` of the variance of the frames."""
        return int(np.searchsorted(self.explained, share - 1e-9)) + 1 if self.explained[-1] else 0

    @property
    def between(self) -> float:
        """Mean distance between two solutions."""
        return float(self.distances[np.triu_indices(len(self.distances), 1)].mean())

    @property
    def within(self) -> float:
        """Mean distance between two repetitions of a solution; NaN where none is repeated."""
        repeated = np.diag(self.distances)[~np.isnan(np.diag(self.distances))]
        return float(repeated.mean()) if len(repeated) else float("nan")


@dataclass(frozen=True)
class SolutionSpace:
    """`modalities` of the solutions called `names`."""

    names: tuple[str, ...]
    modalities: tuple[Modality, ...]

    def table(self) -> pd.DataFrame:
        """One row per modality: channels, components for 90 and 95 %, distance between and within, and their ratio."""
        rows = {
            m.name: {
                "channels": m.channels,
                "components_90": m.components(0.90),
                "components_95": m.components(0.95),
                "between": m.between,
                "within": m.within,
                "between_over_within": m.between / m.within if m.within else float("nan"),
            }
            for m in self.modalities
        }
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("modality")

    def explained_table(self) -> pd.DataFrame:
        """Rows of `modality, component, explained`: the cumulative share of the variance of the frames."""
        rows = [(m.name, i, share) for m in self.modalities for i, share in enumerate(m.explained, start=1)]
        return pd.DataFrame(rows, columns=["modality", "component", "explained"])

    def distance_table(self) -> pd.DataFrame:
        """Rows of `modality, first, second, distance`; of a solution with itself, between its repetitions."""
        pairs = list(combinations_with_replacement(range(len(self.names)), 2))
        rows = [(m.name, self.names[i], self.names[j], m.distances[i, j]) for m in self.modalities for i, j in pairs]
        return pd.DataFrame(rows, columns=["modality", "first", "second", "distance"])


def solution_space(solutions: Sequence[Solution]) -> SolutionSpace:
    """Compare K solutions of one motion in every modality that all of them have.

    Raises:
        SignalError: fewer than two solutions, two of one name, no modality in common, or other numbers of frames or
            channels.
    """
    names = tuple(solution.name for solution in solutions)
    if len(names) < 2 or len(set(names)) < len(names):
        raise SignalError(f"solutions {', '.join(names) or '(none)'}: give at least two, of different names")
    kinds = [kind for kind in solutions[0].signals if all(kind in s.signals for s in solutions)]
    if not kinds:
        raise SignalError(f"solutions {', '.join(names)} have no kind of signal in common")
    for kind in kinds:
        shapes = {s.name: s.signals[kind].shape[1:] for s in solutions}
        if len(set(shapes.values())) > 1:
            raise SignalError(f"{kind}: solutions need the same (frames, channels), not {shapes}")
    return SolutionSpace(names, tuple(_compare(kind, [s.signals[kind] for s in solutions]) for kind in kinds))


def trial_solution(name: str, trials: Sequence[Trial]) -> Solution:
    """The solution that repeated `trials` of one policy are, without their first frame, before which nothing acted.

    Raises:
        SignalError: a trial broke the success rule, so that it is no solution of the motion, or is one of another clip,
            model, frame rate or length than the first.
    """
    first = trials[0]
    for trial in trials:
        if not trial.success:
            raise SignalError(
                f"trial of '{trial.clip}' in solution '{name}' fails in frame {trial.failed_at}: it is no solution of "
                "the motion; leave it out"
            )
    same_motion({name: first, **{f"{name}, repetition {i}": trial for i, trial in enumerate(trials[1:], 2)}})
    kinds = {kind: key for kind, key in _ARRAYS.items() if first[key].size}
    return Solution(name, {kind: _flat([trial[key][1:] for trial in trials]) for kind, key in kinds.items()})


def same_motion(trials: Mapping[str, Trial]) -> None:
    """Refuse trials, by name, that cannot be compared frame by frame.

    Raises:
        SignalError: one differs from the first in its clip, model, dt or number of frames.
    """
    traits = {name: (t.clip, t.model_hash, t.dt, t.num_frames) for name, t in trials.items()}
    first_name, expected = next(iter(traits.items()))
    for name, found in traits.items():
        for what, a, b in zip(("clip", "model", "time step", "number of frames"), expected, found):
            if a != b:
                raise SignalError(f"'{name}' and '{first_name}' differ in their {what} ({b}, {a}): compare one motion")


def cost_solutions(
    model: MuscleModel, reference: Reference, costs: Mapping[str, Criterion] | None = None
) -> list[Solution]:
    """What static optimisation finds for a reference under each cost, `COSTS` by default; no repetitions.

    The joint angles are the reference's in all of them. Frames and signs are those of `trial_solution`.
    """
    trajectory = Trajectory(reference.qpos, reference.qvel, reference_accelerations(model, reference))
    solutions = []
    for name, criterion in (costs or COSTS).items():
        found = optimize_activations(model, trajectory, criterion)
        signals = {
            ACTIVATION: found.activations,
            MUSCLE_FORCE: -found.muscle_forces,
            JOINT_ANGLE: reference.qpos[:, model.joint_qpos],
        }
        if model.feet:
            signals[GROUND_FORCE] = found.ground_force
        solutions.append(Solution(name, {kind: _flat([value[1:]]) for kind, value in signals.items()}))
    return solutions


def _flat(repetitions: Sequence[np.ndarray]) -> Floats:
    """`(R, T, C)` of R arrays `(T, ...)`."""
    return np.stack([np.asarray(values, dtype=np.float64).reshape(len(values), -1) for values in repetitions])


def _compare(kind: str, signals: Sequence[Floats]) -> Modality:
    """`signals`, one `(R, T, C)` for each of K solutions, which count alike however often they are repeated."""
    frames, channels = signals[0].shape[1:]
    movement = np.mean([np.square(x - x.mean(axis=(0, 1))).sum(axis=2).mean() for x in signals])
    unit = np.sqrt(2.0 * movement) or 1.0
    middle = np.mean([x.mean(axis=(0, 1)) for x in signals], axis=0)
    rows = np.concatenate([((x - middle) / np.sqrt(len(x))).reshape(-1, channels) for x in signals])
    means = np.stack([x.mean(axis=0).ravel() for x in signals])
    left, size, _ = np.linalg.svd(means - means.mean(axis=0), full_matrices=False)
    return Modality(
        kind,
        channels,
        np.cumsum(_shares(np.linalg.svd(rows, compute_uv=False))),
        np.array([[_apart(x, y, i == j) for j, y in enumerate(signals)] for i, x in enumerate(signals)]) / unit,
        left[:, :2] * size[:2] / (unit * np.sqrt(frames)),
        _shares(size)[:2],
    )


def _shares(singular: Floats) -> Floats:
    variance = singular**2
    return variance / variance.sum() if variance.sum() > 0.0 else variance


def _apart(first: Floats, second: Floats, same: bool) -> float:
    """Root mean square over time of |x - y|, over all pairs of repetitions; of a solution and the `same`, of others."""
    pairs = [(x, y) for i, x in enumerate(first) for j, y in enumerate(second) if not same or i < j]
    if not pairs:
        return float("nan")
    return float(np.sqrt(np.mean([np.square(x - y).sum(axis=1).mean() for x, y in pairs])))
