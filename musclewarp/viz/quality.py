"""The quality of many references: a table, the worst first, and the distribution of every figure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from rich.markup import escape
from rich.table import Table

from musclewarp.errors import FileError
from musclewarp.references.bars import BARS, Bar, excesses
from musclewarp.references.manifest import Entry
from musclewarp.viz.plots import BLUE, RED

_COLUMNS = 3


def quality_table(entries: Sequence[Entry], rows: int = 20) -> Table:
    """The `rows` worst references, what fails a bar in red, and median, 95th percentile and worst of all of them.

    Raises:
        FileError: none has a figure that there is a bar for.
    """
    bars = _known(entries)
    ordered = sorted(entries, key=lambda entry: (excesses(entry.quality), entry.clip), reverse=True)
    failing = sum(excesses(entry.quality)[0] > 1 for entry in entries)
    table = Table(title=f"{len(entries)} references, {failing} fail a bar; the worst first")
    table.add_column("clip", overflow="fold")
    for bar in bars:
        table.add_column(bar.title, justify="right")
    for entry in ordered[:rows]:
        table.add_row(escape(entry.clip), *(_cell(bar, entry.quality) for bar in bars))
    table.add_section()
    values = {bar: _values(entries, bar) for bar in bars}
    for name, percent in (("median", 50), ("95th percentile", 95), ("worst", 100)):
        table.add_row(name, *(_number(bar.scale * float(np.percentile(values[bar], percent))) for bar in bars))
    limits = (f"{bar.limit:g} x recording" if bar.relative_to else f"{bar.scale * bar.limit:g}" for bar in bars)
    table.add_row("bar, at most", *limits, style="dim")
    return table


def quality_figure(entries: Sequence[Entry]) -> Figure:
    """A histogram of every figure over the references, its bar as a line (one that is a multiple: as a multiple).

    Raises:
        FileError: none has a figure that there is a bar for.
    """
    bars = _known(entries)
    rows = math.ceil(len(bars) / _COLUMNS)
    figure = Figure(figsize=(3.2 * _COLUMNS, 2.2 * rows), layout="constrained")
    panels = figure.subplots(rows, _COLUMNS, squeeze=False).ravel()
    for axes, bar in zip(panels, bars, strict=False):
        if bar.relative_to:
            limit, title = bar.limit, f"{bar.title.partition(',')[0]}, times the recording's"
            pairs = [(e.quality[bar.key], e.quality.get(bar.relative_to, 0.0)) for e in entries if bar.key in e.quality]
            values = np.array([value / other for value, other in pairs if other > 0])
        else:
            limit, title, values = bar.scale * bar.limit, bar.title, bar.scale * _values(entries, bar)
        axes.hist(values, bins=30, color=BLUE)
        axes.axvline(limit, color=RED, linewidth=1)
        axes.set_xlabel(title, fontsize=9)
        axes.set_yscale("symlog", linthresh=1)  # one clip that fails is seen beside a thousand that do not
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
    for axes in panels[len(bars) :]:
        axes.set_visible(False)
    figure.supylabel("references", fontsize=9)
    return figure


def _known(entries: Sequence[Entry]) -> list[Bar]:
    bars = [bar for bar in BARS if any(bar.key in entry.quality for entry in entries)]
    if not bars:
        raise FileError("none of these references says how good it is in figures that are known; retarget them again")
    return bars


def _values(entries: Sequence[Entry], bar: Bar) -> np.ndarray:
    return np.array([entry.quality[bar.key] for entry in entries if bar.key in entry.quality])


def _cell(bar: Bar, quality: Mapping[str, float]) -> str:
    if bar.key not in quality:
        return "-"
    text = _number(bar.scale * quality[bar.key])
    return f"[bold red]{text} ![/]" if bar.excess(quality) > 1 else text


def _number(value: float) -> str:
    return f"{value:.3g}"
