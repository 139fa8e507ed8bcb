"""Numbers in text files: whatever is wrong is told with file, line and column."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from musclewarp.errors import FileError

Floats = NDArray[np.float64]
# Python's float() also takes '1_000'
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_NAN = re.compile(r"[+-]?nan(\(ind\))?|-?1\.#(IND|QNAN)\d*", re.IGNORECASE)


def read_lines(path: Path) -> tuple[list[str], str]:
    """The lines of a text file, without their ends, and the SHA-256 of its bytes.

    Raises:
        FileError: no such file, empty, or not text.
    """
    if path.is_dir():
        raise FileError(f"{path}: a folder, expected a file")
    if not path.is_file():
        raise FileError(f"{path}: no such file")
    data = path.read_bytes()
    if not data.strip():
        raise FileError(f"{path}: empty")
    if b"\0" in data:
        raise FileError(f"{path}:{data[: data.index(0)].count(10) + 1}: not text (it has zero bytes)")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")  # paths and names with accents from old programs
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), hashlib.sha256(data).hexdigest()


def parse_row(where: str, cells: Sequence[str], names: Sequence[str], blank: bool = False) -> list[float]:
    """The numbers of one row; `nan` stays NaN, and so does an empty cell if `blank` allows it.

    Args:
        where: "file:line", for messages.
        cells: what stands in the row.
        names: of its columns.
        blank: whether cells may be empty.

    Raises:
        FileError: too few or too many cells, or one that is not a finite number.
    """
    if len(cells) != len(names):
        lost = f"; the row ends before '{names[len(cells)]}'" if len(cells) < len(names) else ""
        raise FileError(f"{where}: {len(cells)} columns, expected {len(names)}{lost}")
    try:  # most rows are good
        row = [float(cell) for cell in cells]
        if all(map(math.isfinite, row)) and not any("_" in cell for cell in cells):
            return row
    except ValueError:
        pass
    row = []
    for number, (cell, name) in enumerate(zip(cells, names, strict=True), start=1):
        cell = cell.strip()
        value = float(cell) if _NUMBER.fullmatch(cell) else np.nan
        if (np.isnan(value) and not (_NAN.fullmatch(cell) or (blank and not cell))) or np.isinf(value):
            what = f"'{cell[:40]}'" if cell else "empty"
            raise FileError(f"{where}: column {number} ('{name}') is {what}, expected a finite number")
        row.append(value)
    return row


def refuse_repeated(where: str, names: Sequence[str]) -> None:
    """Raise FileError if a column has no name or the name of another."""
    seen: dict[str, int] = {}
    for number, name in enumerate(names, start=1):
        if not name:
            raise FileError(f"{where}: column {number} has no name")
        if name in seen:
            raise FileError(f"{where}: columns {seen[name]} and {number} are both named '{name}'")
        seen[name] = number


def refuse_backward(path: Path, times: Floats, lines: Sequence[int]) -> None:
    """Raise FileError if times `(T,)`, each of the line of that number, are missing or do not increase."""
    wrong = ~np.isfinite(times)
    wrong[1:] |= ~(np.diff(times) > 0)
    if wrong.any():
        row = int(np.argmax(wrong))
        before = f"after {times[row - 1]:g} s, expected a later time" if row else "expected a time in s"
        raise FileError(f"{path}:{lines[row]}: column 'time' is {times[row]:g} {before}")


def read_csv(path: Path, columns: Sequence[str], text: Sequence[str] = ()) -> dict[str, NDArray[np.generic]]:
    """A comma-separated file with one header line: each column by name, float64, or str for those in `text`.

    Raises:
        FileError: a column of `columns` or `text` is missing, or a cell is not a finite number.
    """
    lines, _ = read_lines(path)
    names = [name.strip() for name in lines[0].split(",")]
    refuse_repeated(f"{path}:1", names)
    for name in (*text, *columns):
        if name not in names:
            raise FileError(f"{path}:1: no column '{name}'; it has {', '.join(names[:20])}")
    numeric = [i for i, name in enumerate(names) if name not in text]
    words: list[list[str]] = []
    rows: list[list[float]] = []
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        cells = line.split(",")
        if len(cells) != len(names):
            raise FileError(f"{path}:{number}: {len(cells)} columns, expected {len(names)}")
        row = parse_row(f"{path}:{number}", [cells[i] for i in numeric], [names[i] for i in numeric])
        if np.isnan(row).any():
            raise FileError(f"{path}:{number}: column '{names[numeric[int(np.isnan(row).argmax())]]}' is not a number")
        rows.append(row)
        words.append([cells[names.index(name)].strip() for name in text])
    if not rows:
        raise FileError(f"{path}: no rows below its header")
    found: dict[str, NDArray[np.generic]] = dict(zip([names[i] for i in numeric], np.array(rows).T, strict=True))
    return found | dict(zip(text, np.array(words).T, strict=True)) if text else found
