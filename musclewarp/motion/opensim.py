"""OpenSim's tables: `.sto` and `.mot` files, of OpenSim 1 to 4 and of SIMM."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from musclewarp.errors import FileError
from musclewarp.motion.table import Table
from musclewarp.motion.text import parse_row, read_lines, refuse_backward, refuse_repeated

Floats = NDArray[np.float64]
LARGEST_ANGLE = 10 * np.pi  # rad; what is larger was written in degrees
# the first that fits a column's name tells its unit
_UNITS = (
    (re.compile(r"(force|grf)\w*_?v[xyz]$"), "N"),
    (re.compile(r"(force|grf)\w*_?p[xyz]$"), "m"),
    (re.compile(r"(torque|moment|grm)\w*[xyz]$|_moment$"), "Nm"),
    (re.compile(r"_force$"), "N"),
    (re.compile(r"_t[xyz]$"), "m"),
    (re.compile(r"activation$|excitation$"), "1"),
    (
        re.compile(
            r"(^|_)(tilt|list|rotation|rot|flexion|flex|adduction|add|abduction|angle|beta|extension|bending|pro|sup"
            r"|dev|deviation|elv|obliquity)(_|$)"
        ),
        "rad",
    ),
)
_DIMENSIONLESS = re.compile(r"static ?optimi[sz]ation|controls", re.IGNORECASE)


def read_opensim(path: str | Path, in_degrees: bool | None = None, drop: Collection[str] = ()) -> Table:
    """Read a `.sto` or `.mot` file, angles in radians, everything else as it is (OpenSim's other units are SI).

    Units are known by OpenSim's names: coordinates are angles but for translations (`..._tx`), forces, centres of
    pressure and torques end in `vx`, `px`, `x`, moments in `_moment`. Others have the unit "".

    Args:
        path: of the file.
        in_degrees: whether its angles are degrees; only needed, and only allowed, where the header does not tell.
        drop: columns to leave out, by their full or short names (`coordinate_name`).

    Raises:
        FileError: no such file, truncated, inconsistent or not a table of numbers; with line and column.
    """
    path = Path(path)
    lines, sha256 = read_lines(path)
    end = next((i for i, line in enumerate(lines) if line.strip().lower() == "endheader"), None)
    if end is None:
        raise FileError(f"{path}: no line 'endheader': truncated, or not an OpenSim file")
    header = _Header(path, lines[:end])
    start = next((i for i in range(end + 1, len(lines)) if lines[i].strip()), None)
    if start is None:
        raise FileError(f"{path}:{end + 1}: nothing follows 'endheader': truncated")
    names = [name.strip() for name in re.split(r"\t" if "\t" in lines[start].strip() else r"\s+", lines[start].strip())]
    refuse_repeated(f"{path}:{start + 1}", names)
    if names[0].lower() != "time":
        raise FileError(f"{path}:{start + 1}: the first column is '{names[0]}', expected 'time'")
    rows, numbers = [], []
    for i in range(start + 1, len(lines)):
        if cells := lines[i].split():
            rows.append(parse_row(f"{path}:{i + 1}", cells, names))
            numbers.append(i + 1)
    header.check_rows(len(rows))
    if not rows:
        raise FileError(f"{path}:{start + 1}: no rows below the names of the columns")
    values = np.array(rows)
    refuse_backward(path, values[:, 0], numbers)

    dropped = {name for name in names if name in drop or coordinate_name(name) in drop}
    kept = [i for i, name in enumerate(names) if i and name not in dropped]
    units = ["1" if _DIMENSIONLESS.match(header.title) else column_unit(names[i]) for i in kept]
    scale = header.angle_scale(in_degrees, any(unit.startswith("rad") for unit in units))
    table = np.stack([values[:, i] * (scale if u.startswith("rad") else 1.0) for i, u in zip(kept, units)], axis=1)
    for column, (i, unit) in enumerate(zip(kept, units)):
        where = f"column {i + 1} ('{names[i]}')"
        missing = np.isnan(table[:, column])
        if missing.any() and unit not in ("N", "m", "Nm"):  # plates have no centre of pressure while nobody stands
            raise FileError(f"{path}:{numbers[int(missing.argmax())]}: {where} is not a number")
        if unit == "rad" and np.abs(table[:, column]).max() > LARGEST_ANGLE:
            row = int(np.abs(table[:, column]).argmax())
            raise FileError(
                f"{path}:{numbers[row]}: {where} is {table[row, column]:g} rad by the header, which looks like "
                f"degrees; leave it out (drop={[coordinate_name(names[i])]}) or mend the header"
            )
    source = {"file": path.name, "sha256": sha256, "title": header.title}
    return Table(path.name, values[:, 0], tuple(names[i] for i in kept), table, tuple(units), source)


class _Header:
    """What stands above `endheader`: `key=value` (OpenSim), `key value` (SIMM), and free text."""

    def __init__(self, path: Path, lines: list[str]) -> None:
        self.path, self.title = path, lines[0].strip() if lines else ""
        self.rows: tuple[int, int] | None = None  # (count, line of the header)
        self.degrees: bool | None = None
        for number, line in enumerate(lines, start=1):
            key, _, value = (part.strip() for part in line.replace("\t", " ").strip().partition("="))
            if not value and len(words := line.split()) == 2:
                key, value = words
            self._take(key.lower(), value, number)
            if told := re.search(r"angles are in (degrees|radians)", line, re.IGNORECASE):
                self._take_degrees(told[1].lower() == "degrees", number)

    def _take(self, key: str, value: str, number: int) -> None:
        where = f"{self.path}:{number}"
        # the number of columns is not looked at: OpenSim leaves an old one where columns were removed
        if key in ("nrows", "datarows"):
            if not value.isdecimal():
                raise FileError(f"{where}: '{key}' is '{value[:40]}', expected a count")
            count = int(value[:18])
            if self.rows is not None and self.rows[0] != count:
                raise FileError(f"{where}: {count} rows, but {self.rows[0]} in line {self.rows[1]}")
            self.rows = count, number
        elif key == "indegrees":
            if value.lower() not in ("yes", "no"):
                raise FileError(f"{where}: inDegrees is '{value[:40]}', expected yes or no")
            self._take_degrees(value.lower() == "yes", number)
        elif key == "datatype" and value.lower() != "double":
            raise FileError(f"{where}: DataType is '{value[:40]}', only tables of double are read")

    def _take_degrees(self, degrees: bool, number: int) -> None:
        if self.degrees is not None and self.degrees != degrees:
            raise FileError(f"{self.path}:{number}: the header says both degrees and radians")
        self.degrees = degrees

    def check_rows(self, found: int) -> None:
        if self.rows is not None and self.rows[0] != found:
            told, number = self.rows
            raise FileError(f"{self.path}:{number}: the header tells {told} rows, the file has {found}: truncated?")

    def angle_scale(self, asked: bool | None, has_angles: bool) -> float:
        if asked is not None and self.degrees is not None and asked != self.degrees:
            raise FileError(
                f"{self.path}: in_degrees={asked} contradicts the header, which says {'yes' if self.degrees else 'no'}"
            )
        degrees = self.degrees if asked is None else asked
        if degrees is None and has_angles:
            raise FileError(f"{self.path}: the header does not say whether angles are degrees; pass in_degrees")
        return np.pi / 180.0 if degrees else 1.0


def coordinate_name(column: str) -> str:
    """`knee_angle_r` of `/jointset/walker_knee_r/knee_angle_r/value`; other names as they are."""
    parts = column.strip("/").split("/")
    return parts[-2] if len(parts) > 1 and parts[-1] in ("value", "speed") else parts[-1]


def column_unit(column: str) -> str:
    """The unit that a column of this name has in OpenSim, angles in radians; "" if not known."""
    name = coordinate_name(column).lower()
    unit = next((unit for pattern, unit in _UNITS if pattern.search(name)), "")
    return f"{unit}/s" if column.endswith("/speed") and unit in ("rad", "m") else unit


def to_z_up(vectors: Floats) -> Floats:
    """Vectors `(..., 3)` of OpenSim's ground frame (x forward, y up, z right) in ours (x forward, y left, z up)."""
    x, y, z = np.moveaxis(np.asarray(vectors, dtype=np.float64), -1, 0)
    return np.stack([x, -z, y], axis=-1)
