"""Figures of a solution space: matplotlib `Figure` objects without pyplot, as in `viz.plots`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from musclewarp.biomechanics.solution_space import SolutionSpace
from musclewarp.viz.plots import BLUE, GREY, ORANGE, RED

_LINES = ((BLUE, "-"), (RED, "--"), (ORANGE, "-."), (GREY, ":"))
_MARKERS = "os^Dvx"
_WIDTH = 7.5  # inches: a page between its margins
_MOST_COMPONENTS = 30


def explained_variance(space: SolutionSpace) -> Figure:
    """Share of the variance of all frames that the first principal components have, one line per modality."""
    figure = Figure(figsize=(_WIDTH, 3.2), layout="constrained")
    axes = figure.subplots()
    for m, (colour, style) in zip(space.modalities, _LINES):
        shown = 100 * m.explained[:_MOST_COMPONENTS]
        label = f"{m.name}: {m.components(0.9)}, {m.components(0.95)} of {m.channels}"
        axes.plot(range(1, len(shown) + 1), shown, style, color=colour, marker="o", markersize=3, label=label)
    for level in (90, 95):
        axes.axhline(level, color="black", linewidth=0.6, linestyle=":")
    axes.set(xlabel="principal components", ylabel="variance explained (%)", ylim=(None, 101))
    axes.legend(fontsize=8, frameon=False, loc="lower right", title="components for 90, 95 %", title_fontsize=8)
    _plain(axes)
    return figure


def distances(space: SolutionSpace) -> Figure:
    """Distances between solutions, one matrix per modality on one scale; the diagonal is between repetitions."""
    panels = len(space.modalities)
    figure = Figure(figsize=(_WIDTH, 0.9 + 0.9 * _WIDTH / panels), layout="constrained")
    largest = max(float(np.nanmax(m.distances)) for m in space.modalities) or 1.0
    ticks, images = range(len(space.names)), list[AxesImage]()
    for axes, m in zip(figure.subplots(1, panels, squeeze=False, sharey=True)[0], space.modalities):
        images.append(axes.imshow(m.distances, cmap="cividis", vmin=0.0, vmax=largest))
        for (i, j), value in np.ndenumerate(m.distances):
            colour = "black" if value > 0.6 * largest else "white"
            axes.text(j, i, "" if np.isnan(value) else f"{value:.2f}", ha="center", va="center", color=colour, size=6)
        axes.set_xticks(ticks, space.names, rotation=90)
        axes.set_yticks(ticks, space.names)
        axes.set_title(m.name, fontsize=9)
        axes.tick_params(labelsize=7, length=0)
    figure.colorbar(images[0], ax=figure.axes, label="distance (1: unrelated)", fraction=0.03, pad=0.02)
    return figure


def places(space: SolutionSpace) -> Figure:
    """A map of the solutions in each modality, all of one scale: what differs little is drawn small."""
    panels = len(space.modalities)
    figure = Figure(figsize=(_WIDTH, 1.1 + _WIDTH / panels), layout="constrained")
    reach = 1.25 * max(float(np.abs(m.places).max()) for m in space.modalities) or 1.0
    for axes, m in zip(figure.subplots(1, panels, squeeze=False, sharey=True)[0], space.modalities):
        for i, (name, place) in enumerate(zip(space.names, m.places)):
            colour, marker = _LINES[i % len(_LINES)][0], _MARKERS[i // len(_LINES) % len(_MARKERS)]
            axes.plot(*place, marker, color=colour, markersize=6, markerfacecolor="none", label=name)
        axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
        axes.set_title(f"{m.name}, {100 * m.mapped.sum():.0f} % shown", fontsize=9)
        _plain(axes)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=8, frameon=False, ncols=4, loc="outside upper center")
    figure.supxlabel("first principal component of the solutions (distance)", fontsize=9)
    figure.supylabel("second", fontsize=9)
    return figure


FIGURES: Mapping[str, Callable[[SolutionSpace], Figure]] = {
    figure.__name__: figure for figure in (explained_variance, distances, places)
}


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
