"""`Table`: named columns over time, in SI units."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import scipy.interpolate
import scipy.signal
from numpy.typing import NDArray

from musclewarp.errors import ConfigError, FileError

Floats = NDArray[np.float64]
UNITS = ("rad", "rad/s", "m", "m/s", "N", "Nm", "V", "1", "")


@dataclass(frozen=True, eq=False)
class Table:
    """Signals over time; the arrays are float64 copies that nobody can write to.

    Attributes:
        name: what it is, for messages.
        time: `(T,)` s, increasing.
        columns: names of the C signals, each once.
        values: `(T, C)`; NaN where nothing was measured.
        units: of each column: "rad", "rad/s", "m", "m/s", "N", "Nm", "V", "1" (no dimension), "" (not known).
        source: provenance (file name, sha256, ...).

    Raises:
        FileError: shapes, names or times are inconsistent.
    """

    name: str
    time: Floats
    columns: tuple[str, ...]
    values: Floats
    units: tuple[str, ...]
    source: Mapping[str, str] = field(default_factory=dict[str, str])

    def __post_init__(self) -> None:
        for key in ("time", "values"):
            array = np.array(getattr(self, key), dtype=np.float64)
            array.flags.writeable = False
            object.__setattr__(self, key, array)
        object.__setattr__(self, "columns", tuple(self.columns))
        object.__setattr__(self, "units", tuple(self.units))
        object.__setattr__(self, "source", dict(self.source))
        if self.time.ndim != 1 or self.values.shape != (len(self.time), len(self.columns)) or not len(self.time):
            shape = f"{self.values.shape} values for {self.time.shape} times and {len(self.columns)} columns"
            raise FileError(f"{self.name}: {shape}")
        if len(set(self.columns)) < len(self.columns):
            raise FileError(f"{self.name}: two columns have the same name")
        if len(self.units) != len(self.columns) or not set(self.units) <= set(UNITS):
            raise FileError(f"{self.name}: units are {self.units}, expected one of {UNITS} for each column")
        if not (np.isfinite(self.time).all() and (np.diff(self.time) > 0).all()):
            raise FileError(f"{self.name}: times do not increase")

    def __contains__(self, column: str) -> bool:
        return column in self.columns

    def __getitem__(self, column: str) -> Floats:
        """The signal `(T,)` of a column.

        Raises:
            FileError: there is none of that name.
        """
        return self.values[:, self._index(column)]

    def _index(self, column: str) -> int:
        if column not in self.columns:
            near = difflib.get_close_matches(column, self.columns, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"it has {', '.join(self.columns[:20])}"
            raise FileError(f"{self.name}: no column '{column}'; {hint}")
        return self.columns.index(column)

    def unit(self, column: str) -> str:
        """The unit of a column."""
        return self.units[self._index(column)]

    @property
    def rate(self) -> float:
        """Rows per second, on average."""
        if len(self.time) < 2:
            raise FileError(f"{self.name}: one row has no rate")
        return float((len(self.time) - 1) / (self.time[-1] - self.time[0]))

    def select(self, columns: Iterable[str]) -> Table:
        """These columns, in this order."""
        indices = [self._index(column) for column in columns]
        return replace(
            self,
            columns=tuple(self.columns[i] for i in indices),
            values=self.values[:, indices],
            units=tuple(self.units[i] for i in indices),
        )

    def rename(self, names: Mapping[str, str]) -> Table:
        """The same signals; a column that is no key of `names` keeps its name."""
        return replace(self, columns=tuple(names.get(column, column) for column in self.columns))

    def negate(self, columns: Iterable[str]) -> Table:
        """The same signals, these with the other sign."""
        values = self.values.copy()
        values[:, [self._index(column) for column in columns]] *= -1.0
        return replace(self, values=values)

    def at(self, times: Floats) -> Floats:
        """Values `(K, C)` at `times (K,)`, linear between rows.

        Raises:
            FileError: a time is outside the table.
        """
        times = np.asarray(times, dtype=np.float64)
        slack = 1e-6 * (self.time[-1] - self.time[0])
        if times.min() < self.time[0] - slack or times.max() > self.time[-1] + slack:
            asked = f"{times.min():g} to {times.max():g} s asked for"
            raise FileError(f"{self.name}: {asked}, it has {self.time[0]:g} to {self.time[-1]:g} s")
        return np.stack([np.interp(times, self.time, column) for column in self.values.T], axis=1)

    def resample(self, dt: float, cutoff_hz: float = np.inf) -> Table:
        """Rows every `dt` s from the first on, without aliasing.

        Where the new rate is lower, or `cutoff_hz` is below the Nyquist limit of the old one, a zero-phase Butterworth
        low-pass of 4th order, there and back, at 0.4 of the new rate, or at `cutoff_hz` if that is lower, comes first;
        then cubic splines.

        Raises:
            ConfigError: `cutoff_hz` is not positive.
            FileError: a value is missing, or fewer than two rows would remain.
        """
        if not cutoff_hz > 0:
            raise ConfigError(f"cutoff_hz is {cutoff_hz}; choose a frequency above 0 Hz, or infinity for no low-pass")
        missing = ~np.isfinite(self.values)
        if missing.any():
            row, column = np.argwhere(missing)[0]
            raise FileError(f"{self.name}: column '{self.columns[column]}' is missing at {self.time[row]:g} s")
        duration = self.time[-1] - self.time[0]
        rows = int(np.floor(duration / dt + 1e-6)) + 1
        if rows < 2:
            raise FileError(f"{self.name}: lasts {duration:.3f} s, too short for rows every {dt:.3f} s")
        time, values, new_rate = self.time, self.values, 1.0 / dt
        highest = min(cutoff_hz, 0.4 * new_rate if new_rate < 0.999 * self.rate else np.inf)
        if highest < 0.5 * self.rate:
            even = np.linspace(time[0], time[-1], len(time))
            values = _spline(time, values)(even)
            sections = scipy.signal.butter(4, highest, fs=self.rate, output="sos")
            pad = min(int(np.ceil(3 * self.rate / highest)), len(time) - 1)
            time, values = even, scipy.signal.sosfiltfilt(sections, values, axis=0, padlen=pad)
        new = self.time[0] + dt * np.arange(rows)
        return replace(self, time=new, values=_spline(time, values)(np.minimum(new, time[-1])))


def _spline(time: Floats, values: Floats) -> scipy.interpolate.BSpline:
    return scipy.interpolate.make_interp_spline(time, values, k=min(3, len(time) - 1))
