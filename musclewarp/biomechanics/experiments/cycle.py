"""A gait cycle out of a recording that need not hold it in one piece."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from musclewarp.errors import FileError
from musclewarp.motion.table import Table


def over_cycle(table: Table, start: float, duration: float, points: int = 101) -> Table:
    """`table` at `points` instants of the cycle that begins at `start` s, both ends included.

    What was not recorded of that cycle is taken from the one before or after it, at the same phase: the movement is
    assumed to repeat. Columns in m are left out, for a person who walks on does not come back.

    Raises:
        FileError: a phase is in no recorded cycle.
    """
    angles = table.select(name for name, unit in zip(table.columns, table.units) if unit != "m")
    first, last = table.time[0] - 1e-9, table.time[-1] + 1e-9
    phase = np.linspace(0.0, 1.0, points)
    times = np.full(points, np.nan)
    for shift in sorted(range(-3, 4), key=abs):  # this cycle before its neighbours
        shifted = start + (phase + shift) * duration
        usable = np.isnan(times) & (shifted >= first) & (shifted <= last)
        times[usable] = shifted[usable]
    if np.isnan(times).any():
        percent = 100 * phase[np.isnan(times)][0]
        raise FileError(f"{table.name}: {percent:.0f} % of the cycle from {start:g} s was not recorded in any cycle")
    return replace(angles, time=phase * duration, values=angles.at(times))
