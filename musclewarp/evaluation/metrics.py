"""How well a trial tracks; one definition of every number, for all engines and reports."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from musclewarp.evaluation.trial import Trial

Floats = NDArray[np.floating]


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

    `success`: share of trials without a failure. `frame_coverage`: frames before the first failure over all frames.
    `survived`: the same errors over the frames before the first failure; None when there are none.
    """
    curves = [frame_errors(trial) for trial in trials]
    everything = {key: np.concatenate([curve[key] for curve in curves]) for key in curves[0]}
    alive = np.concatenate([np.arange(trial.num_frames) < trial.survived for trial in trials])
    return {
        "success": float(np.mean([trial.success for trial in trials])),
        "frame_coverage": float(alive.mean()),
        **_means(everything),
        "survived": _means({key: curve[alive] for key, curve in everything.items()}) if alive.any() else None,
    }


def _means(curves: dict[str, Floats]) -> dict[str, float]:
    squares = {
        "relative_site_mean_square_axis_m2": "relative_site_rmse_axis_m",
        "joint_mean_square_rad2": "joint_rmse_rad",
    }
    return {
        squares.get(key, key): float(
            np.sqrt(curve.mean(dtype=np.float64)) if key in squares else curve.mean(dtype=np.float64)
        )
        for key, curve in curves.items()
    }
