"""Figures of trials: matplotlib `Figure` objects without pyplot, so they need no screen and leave no state.

Colours are Okabe and Ito's, told apart by colour-blind readers too (https://jfly.uni-koeln.de/color/).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from musclewarp.errors import ConfigError
from musclewarp.evaluation.metrics import relative_site_error, relative_sites
from musclewarp.evaluation.trial import Trial
from musclewarp.models import MuscleModel

BLUE, ORANGE, GREY, RED = "#0072B2", "#E69F00", "#7F7F7F", "#D55E00"
CONTROLLERS = {"policy": (BLUE, "-"), "untrained": (ORANGE, "--"), "zero_excitation": (GREY, ":")}
_WIDTH = 7.5  # inches: a page between its margins
_MAX_PANELS = 16
_TELLING = (  # starts of the joint names that are shown first where there are too many
    *("hip_flexion", "knee_angle", "ankle_angle", "hip_adduction", "hip_rotation"),
    *("elv_angle", "shoulder_elv", "shoulder_rot", "elbow", "pro_sup", "deviation", "flexion"),
)


def tracking_error(trials: Mapping[str, Trial], limit: float | None = None) -> Figure:
    """Relative site error of one clip over time, cm, by controller; `limit` in m is what success allows."""
    figure, axes = _figure(2.8)
    for name, trial in trials.items():
        colour, style = CONTROLLERS.get(name, ("black", "-"))
        _line(axes, trial.time, 100 * relative_site_error(trial), colour, style, name.replace("_", " "))
    if limit is not None:
        axes.axhline(100 * limit, color=RED, linewidth=1, label="success limit")
    axes.set(xlabel="time (s)", ylabel="relative site error (cm)", ylim=(0, None))
    axes.legend(fontsize=8, frameon=False, ncols=4, loc="lower right", bbox_to_anchor=(1, 1))
    return figure


def joint_angles(trial: Trial) -> Figure:
    """Angles of up to 16 independent joints against the reference, degrees; the most telling where there are more."""
    shown = _joints_to_show(trial.joints)
    rows = -(-len(shown) // 4)
    figure = Figure(figsize=(_WIDTH, 1.5 * rows + 0.5), layout="constrained")
    panels = figure.subplots(rows, 4, sharex=True, squeeze=False).ravel()
    for axes, joint in zip(panels, shown, strict=False):
        _line(axes, trial.time, np.rad2deg(trial["reference_joint_pos"][:, joint]), "black", "--", "reference")
        _line(axes, trial.time, np.rad2deg(trial["joint_pos"][:, joint]), BLUE, "-", "simulated")
        _mark_failure(axes, trial)
        axes.set_title(trial.joints[joint], fontsize=8)
        _plain(axes)
    for axes in panels[len(shown) :]:
        axes.set_visible(False)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=8, frameon=False, ncols=3, loc="outside upper right")
    figure.supxlabel("time (s)", fontsize=9)
    figure.supylabel("angle (degrees)", fontsize=9)
    return figure


def activations(trial: Trial, model: MuscleModel) -> Figure:
    """Activation of every muscle over time as a heat map, by side and the joint that the muscles act on most."""
    table = model.muscles
    groups = (table["side"] + " " + table["group"]).to_numpy(str)
    order = np.argsort(groups, kind="stable")
    figure, axes = _figure(min(8.0, 2.0 + 0.035 * len(order)))
    end = trial.num_frames * trial.dt
    image = axes.imshow(
        trial["activation"][:, order].T,
        aspect="auto",
        interpolation="nearest",
        extent=(0, end, len(order), 0),
        cmap="cividis",
        vmin=0,
        vmax=1,
    )
    names, first, counts = np.unique(groups[order], return_index=True, return_counts=True)
    axes.set_yticks(first + counts / 2, [f"{name} ({count})" for name, count in zip(names, counts)])
    axes.tick_params(axis="y", length=0, labelsize=8)
    for boundary in first[1:]:
        axes.axhline(boundary, color="white", linewidth=0.8)
    axes.set(xlabel="time (s)")
    figure.colorbar(image, ax=axes, label="activation (0 to 1)", fraction=0.04, pad=0.02)
    return figure


def paths(trial: Trial) -> Figure:
    """Paths of the hands seen from the front or, where there are feet, of the ankles seen from the side, m.

    Relative to the root. The side view is along the horizontal direction in which the reference moves most.
    """
    part = "ankle" if trial.feet else "hand"
    sites = [i for i, name in enumerate(trial.sites) if i > 0 and name.endswith(part)] or [len(trial.sites) - 1]
    figure = Figure(figsize=(_WIDTH, 3.6), layout="constrained")
    own, goal = relative_sites(trial["site_pos"]), relative_sites(trial["reference_site_pos"])
    direction = _main_direction(goal[:, [i - 1 for i in sites]]) if trial.feet else np.array([1.0, 0.0])
    for axes, site in zip(figure.subplots(1, len(sites), sharey=True, squeeze=False)[0], sites, strict=True):
        for points, colour, style, label in ((goal, "black", "--", "reference"), (own, BLUE, "-", "simulated")):
            path = points[:, site - 1]
            _line(axes, path[:, :2] @ direction, path[:, 2], colour, style, label)
        axes.set(
            title=trial.sites[site].replace("_", " "), xlabel="horizontal (m)", aspect="equal", adjustable="datalim"
        )
        _plain(axes)
    figure.axes[0].set_ylabel("vertical (m)")
    figure.legend(
        *figure.axes[0].get_legend_handles_labels(), fontsize=8, frameon=False, ncols=2, loc="outside upper right"
    )
    return figure


def ground_reaction(trial: Trial) -> Figure:
    """Vertical and horizontal force of the floor on each foot over time, N.

    Raises:
        ConfigError: the model has no feet.
    """
    if not trial.feet:
        raise ConfigError(f"trial '{trial.clip}': model '{trial.model}' has no feet, so no ground reaction force")
    figure = Figure(figsize=(_WIDTH, 3.6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    for foot, name in enumerate(trial.feet):
        colour, style = ((BLUE, "-"), (RED, "--"))[foot % 2]
        force = trial["foot_force"][:, foot]
        _line(upper, trial.time, force[:, 2], colour, style, name)
        _line(lower, trial.time, np.linalg.norm(force[:, :2], axis=-1), colour, style, name)
    for axes, label in ((upper, "vertical (N)"), (lower, "horizontal (N)")):
        axes.set_ylabel(label)
        _mark_failure(axes, trial)
        _plain(axes)
    lower.set_xlabel("time (s)")
    upper.legend(fontsize=8, frameon=False, ncols=3, loc="lower right", bbox_to_anchor=(1, 1))
    return figure


def _figure(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    axes = figure.subplots()
    _plain(axes)
    return figure, axes


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)


def _line(axes: Axes, x: NDArray[np.floating], y: NDArray[np.floating], colour: str, style: str, label: str) -> None:
    """A curve; a dot where there is only one point, of which a line shows nothing."""
    axes.plot(x, y, color=colour, linestyle=style, linewidth=1.2, label=label, marker="o" if len(x) == 1 else None)


def _mark_failure(axes: Axes, trial: Trial) -> None:
    if not trial.success:
        axes.axvline(trial.failed_at * trial.dt, color=RED, linewidth=0.8, label="first failure")


def _joints_to_show(joints: Sequence[str]) -> list[int]:
    """Indices of at most 16 joints, the most telling, in the model's order."""

    def rank(joint: int) -> int:
        return next((i for i, start in enumerate(_TELLING) if joints[joint].startswith(start)), len(_TELLING))

    return sorted(sorted(range(len(joints)), key=rank)[:_MAX_PANELS])


def _main_direction(points: NDArray[np.floating]) -> NDArray[np.float64]:
    """The horizontal unit vector `(2,)` along which `points (T, K, 3)` vary most over time."""
    moved = (points - points.mean(axis=0))[..., :2].reshape(-1, 2).astype(np.float64)
    return np.linalg.svd(moved.T @ moved)[0][:, 0]
