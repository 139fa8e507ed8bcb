"""Marker trajectories, and `.trc` files."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from musclewarp.errors import FileError
from musclewarp.motion.text import parse_row, read_lines, refuse_backward, refuse_repeated

Floats = NDArray[np.float64]
METRES = {"mm": 1e-3, "cm": 1e-2, "m": 1.0}


@dataclass(frozen=True, eq=False)
class Markers:
    """Positions of markers in the frame of the laboratory, whose up axis the files do not tell.

    Attributes:
        name: what it is, for messages.
        time: `(T,)` s.
        labels: names of the M markers, each once.
        positions: `(T, M, 3)` m; NaN where a marker was not seen.
        source: provenance.
    """

    name: str
    time: Floats
    labels: tuple[str, ...]
    positions: Floats
    source: Mapping[str, str] = field(default_factory=dict[str, str])

    def __post_init__(self) -> None:
        for key in ("time", "positions"):
            array = np.array(getattr(self, key), dtype=np.float64)
            array.flags.writeable = False
            object.__setattr__(self, key, array)
        if self.positions.shape != (len(self.time), len(self.labels), 3) or len(set(self.labels)) < len(self.labels):
            raise FileError(f"{self.name}: {self.positions.shape} positions of {len(self.labels)} labels")

    def __getitem__(self, label: str) -> Floats:
        """Positions `(T, 3)` of one marker.

        Raises:
            FileError: there is none of that name.
        """
        if label not in self.labels:
            near = difflib.get_close_matches(label, self.labels, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"it has {', '.join(self.labels[:20])}"
            raise FileError(f"{self.name}: no marker '{label}'; {hint}")
        return self.positions[:, self.labels.index(label)]


def read_trc(path: str | Path) -> Markers:
    """Read a `.trc` file; a marker whose three cells are empty was not seen.

    Raises:
        FileError: no such file, truncated or inconsistent; with line and column.
    """
    path = Path(path)
    lines, sha256 = read_lines(path)
    if not lines[0].startswith("PathFileType"):
        raise FileError(f"{path}:1: starts with '{lines[0][:20]}', expected 'PathFileType': not a .trc file")
    if len(lines) < 6:
        raise FileError(f"{path}: ends after line {len(lines)}, within its header: truncated")
    keys, told = lines[1].split(), lines[2].split()
    if len(keys) != len(told):
        raise FileError(f"{path}:3: {len(told)} values for the {len(keys)} names of line 2")
    header = dict(zip(keys, told))
    rate, frames, count = (_number(path, header, key) for key in ("DataRate", "NumFrames", "NumMarkers"))
    if (unit := header.get("Units", "").lower()) not in METRES:
        raise FileError(f"{path}:3: Units is '{unit}', expected one of {', '.join(METRES)}")
    if "\t" not in lines[3]:
        raise FileError(f"{path}:4: no tabs between the names of the columns")
    labels = [cell.strip() for cell in lines[3].split("\t")[2:] if cell.strip()]
    refuse_repeated(f"{path}:4", labels)
    if len(labels) != count:
        raise FileError(f"{path}:4: {len(labels)} markers, but NumMarkers is {count:g} in line 3")
    names = ["Frame#", "Time", *(f"{label} {axis}" for label in labels for axis in "xyz")]

    rows, numbers = [], []
    for number, line in enumerate(lines[5:], start=6):
        if not line.strip():
            continue
        cells = line.split("\t")
        while len(cells) > len(names) and not cells[-1].strip():
            cells.pop()
        row = parse_row(f"{path}:{number}", cells, names, blank=True)
        seen = ~np.isnan(np.reshape(row[2:], (-1, 3)))
        if (broken := seen.any(1) & ~seen.all(1)).any():
            label = labels[int(broken.argmax())]
            raise FileError(f"{path}:{number}: marker '{label}' has some of its three coordinates only")
        rows.append(row)
        numbers.append(number)
    if len(rows) != frames or not rows:
        raise FileError(f"{path}: {len(rows)} frames, but NumFrames is {frames:g} in line 3: truncated?")
    values = np.array(rows)
    time = values[:, 1]
    refuse_backward(path, time, numbers)
    off = np.abs(time - time[0] - np.arange(len(time)) / rate) * rate
    if off.max() > 0.5:
        worst = int(off.argmax())
        raise FileError(
            f"{path}:{numbers[worst]}: column 2 ('Time') is {time[worst]:g} s, not at {rate:g} Hz (DataRate)"
        )
    positions = values[:, 2:].reshape(len(rows), -1, 3) * METRES[unit]
    return Markers(path.name, time, tuple(labels), positions, {"file": path.name, "sha256": sha256})


def _number(path: Path, header: Mapping[str, str], key: str) -> float:
    try:
        value = float(header[key])
    except (KeyError, ValueError):
        value = np.nan
    if not 0 < value < np.inf:
        raise FileError(f"{path}:3: {key} is {header.get(key, 'missing')}, expected a positive number")
    return value
