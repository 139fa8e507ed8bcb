"""Figures of an agreement: simulated curves over the measured ones, a panel a signal, a block a leg.

Colours are Okabe and Ito's, told apart by colour-blind readers too (https://jfly.uni-koeln.de/color/).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from musclewarp.biomechanics.agreement import Agreement, SignalAgreement
from musclewarp.biomechanics.ceilings import Population
from musclewarp.biomechanics.experiments.experiment import SIDES
from musclewarp.biomechanics.movement import Kind
from musclewarp.biomechanics.phases import POINTS, Curves
from musclewarp.errors import SignalError

SIMULATED, MEASURED, PEOPLE = "#0072B2", "black", "#E69F00"
LABELS = {
    "hip_flexion": "Hip flexion",
    "hip_adduction": "Hip adduction",
    "hip_rotation": "Hip internal rotation",
    "knee_angle": "Knee flexion",
    "ankle_angle": "Ankle dorsiflexion",
    "subtalar_angle": "Subtalar inversion",
    "mtp_angle": "Toe dorsiflexion",
    "pelvis_tilt": "Pelvis tilt",
    "pelvis_list": "Pelvis list",
    "pelvis_rotation": "Pelvis rotation",
}
_AXES: dict[str, str] = {
    "angle": "angle (degrees)",
    "moment": "internal moment",
    "grf": "force",
    "emg": "activity",
}
_WIDTH, _COLUMNS = 7.5, 5  # inches: a page between its margins


def label(name: str) -> str:
    """How a reader calls a signal."""
    return LABELS.get(name, name.replace("_", " ").capitalize())


def agreement_figure(agreement: Agreement, kind: Kind, population: Population | None = None) -> Figure:
    """Mean curves, with bands of a standard deviation where there are several, of all signals of a kind.

    Each panel gives Pearson's r of the means (or "given") and, in brackets, the ceiling; a dotted line is the measured
    toe-off.

    Args:
        agreement: what to show.
        kind: of the signals.
        population: of EMG, people to show behind them, scaled to their own maximum.

    Raises:
        SignalError: there is no signal of that kind.
    """
    found = agreement.of(kind)
    blocks = [(title, part) for title, side in _BLOCKS if (part := [one for one in found if one.measured.side == side])]
    if not blocks:
        raise SignalError(f"'{agreement.simulated.movement.label}' has no {kind} to show")
    most = max(len(part) for _, part in blocks)
    columns = -(-most // -(-most // _COLUMNS))  # as few as the most signals need in their rows
    rows = [-(-len(part) // columns) for _, part in blocks]
    figure = Figure(figsize=(_WIDTH, 1.62 * sum(rows) + 0.45 * len(blocks) + 0.35), layout="constrained")
    figure.legend(handles=_handles(found, population), fontsize=8, frameon=False, ncols=4, loc="outside upper right")
    grid = figure.subfigures(len(blocks), 1, height_ratios=[r + 0.28 for r in rows], squeeze=False)[:, 0]
    panels: dict[str, list[Axes]] = {}
    for part, (title, signals), count in zip(grid, blocks, rows):
        _block(part, title, signals, (count, columns), agreement, population, panels)
    for same in panels.values():  # both legs of a signal are read on one scale
        low, high = (f(limit) for f, limit in zip((min, max), zip(*(axes.get_ylim() for axes in same))))
        for axes in same:
            axes.set_ylim(low, high)
    return figure


def _block(
    figure: SubFigure,
    title: str,
    signals: Sequence[SignalAgreement],
    shape: tuple[int, int],
    agreement: Agreement,
    population: Population | None,
    panels: dict[str, list[Axes]],
) -> None:
    first = signals[0]
    figure.suptitle(title, fontsize=9, fontweight="bold", x=0.01, ha="left")
    figure.supxlabel(f"{first.basis} (%)", fontsize=8)
    figure.supylabel(_y_label(first), fontsize=8)
    grid = figure.subplots(*shape, squeeze=False).ravel()
    for axes, one in zip(grid, signals):
        _panel(axes, one, population, agreement.is_given(one.measured.kind))
        strides = agreement.measured.over(one.foot, "gait cycle").kept
        stances = [stride.stance_fraction for stride in strides if np.isfinite(stride.toe_off)]
        if one.basis == "gait cycle" and stances:
            toe_off = 100.0 * float(np.mean(stances))
            axes.axvline(toe_off, color="0.5", linewidth=0.7, linestyle=":", zorder=0)
        panels.setdefault(one.measured.name, []).append(axes)
    for axes in grid[len(signals) :]:
        axes.set_visible(False)


def _panel(axes: Axes, one: SignalAgreement, population: Population | None, given: bool) -> None:
    percent = np.linspace(0.0, 100.0, POINTS)
    factor = 180.0 / np.pi if one.unit == "rad" else 1.0
    people = population.of(one.measured.name) if population is not None and one.measured.kind == "emg" else None
    if people is not None and one.basis == "gait cycle" and one.foot == one.measured.side:
        people = people / people.mean(axis=0).max()
        middle, spread = people.mean(axis=0), people.std(axis=0, ddof=1)
        axes.fill_between(percent, middle - spread, middle + spread, color=PEOPLE, alpha=0.3, linewidth=0)
    for curves, colour, style in ((one.measured_curves, MEASURED, "-"), (one.simulated_curves, SIMULATED, "--")):
        if (spread := curves.sd) is not None:
            low, high = (factor * (curves.mean + sign * spread) for sign in (-1.0, 1.0))
            axes.fill_between(percent, low, high, color=colour, alpha=0.2, linewidth=0)
        axes.plot(percent, factor * curves.mean, color=colour, linestyle=style, linewidth=1.3)
    if one.measured.kind != "emg" and one.measured.name != "vertical":
        axes.axhline(0.0, color="0.8", linewidth=0.6, zorder=0)
    axes.set_title(label(one.measured.name), fontsize=8, loc="left", pad=11)
    ceiling = f" ({one.ceiling_r:.2f})" if np.isfinite(one.ceiling_r) else ""
    r = "no change" if np.isnan(one.numbers.r) else f"r = {one.numbers.r:.2f}{ceiling}"
    told = "given" if given else r
    axes.text(0.0, 1.02, told, transform=axes.transAxes, fontsize=7, color="0.3", va="bottom")
    axes.set(xlim=(0.0, 100.0), xticks=(0, 25, 50, 75, 100))
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=7, length=2.5)
    axes.locator_params(axis="y", nbins=4)


def _handles(found: Sequence[SignalAgreement], population: Population | None) -> list[Line2D | Patch]:
    handles: list[Line2D | Patch] = [
        Line2D([], [], color=MEASURED, linewidth=1.3, label=_counted("measured", [f.measured_curves for f in found])),
        Line2D([], [], color=SIMULATED, linewidth=1.3, linestyle="--",
               label=_counted("simulated", [f.simulated_curves for f in found])),
    ]  # fmt: skip
    if population is not None and found[0].measured.kind == "emg":
        handles.append(Patch(color=PEOPLE, alpha=0.3, linewidth=0, label=f"{population.label}, mean ± SD"))
    return handles


def _counted(name: str, curves: Sequence[Curves]) -> str:
    """How many strides or people; the mean alone is shown of one."""
    counts = sorted({len(each.values) for each in curves})
    number = f"n = {counts[0]}" if len(counts) == 1 else f"n = {counts[0]} to {counts[-1]}"
    composed = " (composed)" if any(each.composed for each in curves) else ""
    return f"{name}, {number}{composed}" + ("" if counts[-1] == 1 else ", mean ± SD")


def _y_label(one: SignalAgreement) -> str:
    if one.measured.kind == "angle":
        return _AXES["angle"]
    return f"{_AXES[one.measured.kind]} ({one.unit})"


_BLOCKS = (("Right leg", SIDES[0]), ("Left leg", SIDES[1]), ("Pelvis", ""))
