"""How well a trial tracks; one definition of every number, for all engines and reports."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from musclewarp.evaluation.trial import Trial

Floats = NDArray[np.floating]
EARLY = {"relative_site_error_m": 0.3, "root_error_m": 0.5}
"""Where MuscleMimic's evaluation, after KINESIS, ends an episode: mean relative site error, and the pelvis's."""
_ROOTS = {
    "relative_site_mean_square_axis_m2": "relative_site_rmse_axis_m",
    "joint_mean_square_rad2": "joint_rmse_rad",
}


def relative_sites(positions: Floats) -> Floats:
    """Positions `(T, S, 3)` of all sites but the root, relative to the root `(T, S - 1, 3)`."""
    return positions[:, 1:] - positions[:, :1]


def relative_site_error(trial: Trial, against: str = "reference_site_pos") -> Floats:
    """Mean over the non-root sites of the distance to `against`, both relative to their root, m `(T,)`."""
    difference = relative_sites(trial["site_pos"]) - relative_sites(trial[against])
    return np.linalg.norm(difference, axis=-1).mean(axis=-1)


def frame_errors(trial: Trial) -> dict[str, Floats]:
    """Every error as a curve over the frames `(T,)`.

    - `relative_site_error_m`, and `relative_site_error_to_recording_m` against the recording's own scaled joints;
    - `relative_site_mean_square_axis_m2`: mean square per axis, whose root over time MuscleMimic publishes;
    - `absolute_site_error_m`, `root_error_m`: without removing the root's position;
    - `joint_error_rad`, `joint_velocity_error_rad_s`: mean absolute difference over the independent joints;
    - `joint_mean_square_rad2`: its square, whose root over time is the RMSE.
    """
    relative = relative_sites(trial["site_pos"]) - relative_sites(trial["reference_site_pos"])
    absolute = trial["site_pos"] - trial["reference_site_pos"]
    joint = trial["joint_pos"] - trial["reference_joint_pos"]
    return {
        "relative_site_error_m": relative_site_error(trial),
        "relative_site_error_to_recording_m": relative_site_error(trial, "recorded_site_pos"),
        "relative_site_mean_square_axis_m2": np.square(relative).mean(axis=(1, 2)),
        "absolute_site_error_m": np.linalg.norm(absolute, axis=-1).mean(axis=-1),
        "root_error_m": np.linalg.norm(absolute[:, 0], axis=-1),
        "joint_error_rad": np.abs(joint).mean(axis=-1),
        "joint_mean_square_rad2": np.square(joint).mean(axis=-1),
        "joint_velocity_error_rad_s": np.abs(trial["joint_vel"] - trial["reference_joint_vel"]).mean(axis=-1),
    }


def summarize(trials: Sequence[Trial]) -> dict[str, object]:
    """The numbers of a set of trials: each error is a mean over all frames of all trials.

    - `success`: share of trials without a failure;
    - `frame_coverage`: frames before the first failure over all frames; `survival_s`: the mean of their time;
    - `early_termination`: share of trials in which a frame passes a published threshold, `EARLY`, or the simulation
      broke;
    - `survived`: the errors over the frames before the first failure; None when there are none;
    - `intervals`: low and high end of the 95 % interval of these and of each error, from 2,000 bootstrap samples of
      trials (percentiles; frames of a trial are not independent); None for a single trial.
    """
    curves = [frame_errors(trial) for trial in trials]
    alive = [np.arange(trial.num_frames) < trial.survived for trial in trials]
    totals = {  # of each trial, what is added up, and what that is divided by
        "success": [(trial.success, 1) for trial in trials],
        "frame_coverage": [(trial.survived, trial.num_frames) for trial in trials],
        "survival_s": [(min(trial.survived, trial.num_frames - 1) * trial.dt, 1) for trial in trials],
        "early_termination": [(_ends_early(trial, curve), 1) for trial, curve in zip(trials, curves, strict=True)],
        **{key: [(curve[key].sum(dtype=np.float64), len(curve[key])) for curve in curves] for key in curves[0]},
    }
    draws = np.random.default_rng(0).integers(len(trials), size=(2000, len(trials)))
    means, intervals = {}, {}
    for key, pairs in totals.items():
        above, below = np.array(pairs, dtype=np.float64).T
        ends = np.quantile(above[draws].sum(axis=1) / below[draws].sum(axis=1), (0.025, 0.975))
        name, value = _rooted(key, np.array([above.sum() / below.sum(), *ends]))
        means[name], intervals[name] = float(value[0]), value[1:].tolist()
    lived = {key: np.concatenate([c[key][a] for c, a in zip(curves, alive, strict=True)]) for key in curves[0]}
    survived = {name: float(value) for name, value in (_rooted(k, _mean(c)) for k, c in lived.items())}
    return {
        **means,
        "survived": survived if sum(map(np.sum, alive)) else None,
        "intervals": intervals if len(trials) > 1 else None,
    }


def _ends_early(trial: Trial, curves: dict[str, Floats]) -> bool:
    return bool(trial.source.get("broken")) or any((curves[key] > bar).any() for key, bar in EARLY.items())


def _mean(curve: Floats) -> Floats:
    return np.asarray(curve.mean(dtype=np.float64)) if len(curve) else np.asarray(np.nan)


def _rooted(key: str, mean: Floats) -> tuple[str, Floats]:
    """Mean squares become root mean squares, under their name."""
    return (_ROOTS[key], np.sqrt(mean)) if key in _ROOTS else (key, mean)
