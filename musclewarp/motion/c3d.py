"""`.c3d` files: markers, analog channels (EMG, forces), force plates and events, by ezc3d.

ezc3d is run as a process of its own: damaged files crash it, or make it run for ever.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musclewarp.errors import FileError
from musclewarp.motion import c3d_worker
from musclewarp.motion.markers import METRES, Markers
from musclewarp.motion.table import Table

Floats = NDArray[np.float64]
TIMEOUT = 120.0  # s
# unit in the file -> (our unit, factor)
_UNITS = {"N": ("N", 1.0), "Nm": ("Nm", 1.0), "N.m": ("Nm", 1.0), "Nmm": ("Nm", 1e-3), "N.mm": ("Nm", 1e-3),
          "V": ("V", 1.0), "mV": ("V", 1e-3), "uV": ("V", 1e-6), "mm": ("m", 1e-3), "m": ("m", 1.0)}  # fmt: skip


@dataclass(frozen=True, eq=False)
class ForcePlate:
    """One force plate, in the frame of the laboratory and with the sign of the file.

    Attributes:
        time: `(T,)` s.
        force: `(T, 3)` N.
        moment: `(T, 3)` Nm about the plate's origin.
        center_of_pressure: `(T, 3)` m; meaningless while nobody stands on it.
        free_moment: `(T, 3)` Nm about the centre of pressure.
        corners: `(4, 3)` m.
    """

    time: Floats
    force: Floats
    moment: Floats
    center_of_pressure: Floats
    free_moment: Floats
    corners: Floats


@dataclass(frozen=True)
class C3DEvent:
    """A moment that somebody marked: `label` ("Foot Strike") of `context` ("Right") at `time` s."""

    time: float
    label: str
    context: str


@dataclass(frozen=True, eq=False)
class C3D:
    """What a `.c3d` holds; `markers` and `analog` are None where it has none. Times count from the recording's start.

    `analog` keeps the units that are known (V, N, Nm, m) in SI; columns of others have the unit "".
    """

    markers: Markers | None
    analog: Table | None
    plates: tuple[ForcePlate, ...]
    events: tuple[C3DEvent, ...]


def read_c3d(path: str | Path) -> C3D:
    """Read a `.c3d` file.

    Raises:
        FileError: no such file, truncated, inconsistent, or one that ezc3d cannot read.
    """
    path = Path(path)
    if not path.is_file():
        raise FileError(f"{path}: {'a folder, expected a file' if path.is_dir() else 'no such file'}")
    data = path.read_bytes()
    if len(data) < 1024 or data[1] != 0x50:
        raise FileError(f"{path}: not a .c3d file, or truncated (byte 2 of a header of 512 bytes is 80)")
    arrays, meta = _run_worker(path)
    source = {"file": path.name, "sha256": hashlib.sha256(data).hexdigest()}
    points, analogs = arrays["points"], arrays["analogs"][0]
    _refuse_truncated(path, data, points.shape[2])
    start = meta["first_frame"] / meta["point_rate"] if meta["point_rate"] > 0 else 0.0
    return C3D(
        markers=_markers(path, points, arrays["residuals"][0], meta, start, source) if points[0].size else None,
        analog=_analog(path, analogs, meta, start, source) if analogs.size else None,
        plates=tuple(
            _plate(path, arrays, number, units, start, meta["analog_rate"])
            for number, units in enumerate(meta["plate_units"])
        ),
        events=_events(path, arrays["event_times"], meta),
    )


def _run_worker(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="musclewarp-c3d-") as folder:
        result = Path(folder) / "content.npz"
        command = [sys.executable, str(Path(c3d_worker.__file__)), str(path.resolve()), str(result)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
        except subprocess.TimeoutExpired as error:
            raise FileError(f"{path}: damaged; ezc3d did not end within {TIMEOUT:g} s") from error
        if done.returncode or not result.is_file():
            last = (done.stderr.strip().splitlines() or [f"ezc3d ended with signal {-done.returncode}"])[-1]
            raise FileError(f"{path}: ezc3d cannot read it, so it is damaged or truncated ({last[:200]})")
        with np.load(result, allow_pickle=False) as content:
            arrays = dict(content)
    return arrays, json.loads(str(arrays.pop("meta")))


def _refuse_truncated(path: Path, data: bytes, frames: int) -> None:
    """ezc3d gives what frames there are."""
    # words 4 and 5 of the header are the first and the last frame; the 4th byte of the parameters tells their order
    order = "big" if data[512 * (data[0] - 1) + 3] == 86 else "little"
    first, last = (int.from_bytes(data[at : at + 2], order) for at in (6, 8))
    if frames < last - first + 1:
        raise FileError(f"{path}: truncated; its header tells {last - first + 1} frames, it has {frames}")


def _rate(path: Path, rate: float, what: str) -> float:
    if not 0 < rate < np.inf:
        raise FileError(f"{path}: {what} are recorded {rate} times a second, expected a positive rate")
    return rate


def _markers(
    path: Path, points: Floats, residuals: Floats, meta: Mapping[str, Any], start: float, source: Mapping[str, str]
) -> Markers:
    rate = _rate(path, meta["point_rate"], "markers")
    if meta["point_unit"] not in METRES:
        raise FileError(f"{path}: POINT:UNITS is '{meta['point_unit']}', expected one of {', '.join(METRES)}")
    labels = _unique(path, "POINT", meta["point_labels"], points.shape[1])
    positions = np.where(residuals < 0, np.nan, points).transpose(2, 1, 0) * METRES[meta["point_unit"]]
    return Markers(path.name, start + np.arange(len(positions)) / rate, labels, positions, source)


def _analog(path: Path, values: Floats, meta: Mapping[str, Any], start: float, source: Mapping[str, str]) -> Table:
    rate = _rate(path, meta["analog_rate"], "analog channels")
    labels = _unique(path, "ANALOG", meta["analog_labels"], len(values))
    names = [*meta["analog_units"], *[""] * len(labels)][: len(labels)]
    units, factors = zip(*(_UNITS.get(name.strip(), ("", 1.0)) for name in names))
    wrong = ~np.isfinite(values)
    if wrong.any():
        channel, row = np.argwhere(wrong)[0]
        raise FileError(f"{path}: analog channel '{labels[channel]}' is {values[channel, row]} in sample {row}")
    time = start + np.arange(values.shape[1]) / rate
    return Table(path.name, time, labels, values.T * np.array(factors), tuple(units), source)


def _unique(path: Path, group: str, labels: Sequence[str], count: int) -> tuple[str, ...]:
    """Labels of `count` channels; unnamed ones are numbered, repeated ones refused."""
    if len(labels) > count:
        raise FileError(f"{path}: {group}:LABELS names {len(labels)} channels, the data has {count}")
    named = tuple(
        label.strip() or f"{group.lower()} {n}" for n, label in enumerate([*labels, *[""] * count][:count], 1)
    )
    for number, label in enumerate(named):
        if label in named[:number]:
            raise FileError(f"{path}: {group}:LABELS names two channels '{label}'")
    return named


def _plate(
    path: Path, arrays: Mapping[str, Any], number: int, units: Sequence[str], start: float, rate: float
) -> ForcePlate:
    factors = []
    for unit, expected in zip(units, ("N", "Nm", "m")):
        ours, factor = _UNITS.get(unit, ("", 0.0))
        if ours != expected:
            raise FileError(f"{path}: force plate {number + 1} is in '{unit}', expected {expected}")
        factors.append(factor)

    def rows(key: str, factor: float) -> Floats:
        return arrays[f"plate{number}_{key}"].T * factor

    force = rows("force", factors[0])
    return ForcePlate(
        time=start + np.arange(len(force)) / _rate(path, rate, "force plates"),
        force=force,
        moment=rows("moment", factors[1]),
        center_of_pressure=rows("center_of_pressure", factors[2]),
        free_moment=rows("Tz", factors[1]),
        corners=rows("corners", factors[2]),
    )


def _events(path: Path, times: Floats, meta: Mapping[str, Any]) -> tuple[C3DEvent, ...]:
    labels, contexts = meta["event_labels"], meta["event_contexts"]
    if not labels:
        return ()
    # a column is (minutes, seconds)
    if times.ndim != 2 or len(times) != 2 or times.shape[1] != len(labels) or len(contexts) != len(labels):
        raise FileError(f"{path}: EVENT has {len(labels)} labels, {len(contexts)} contexts and times {times.shape}")
    seconds = 60.0 * times[0] + times[1]
    return tuple(C3DEvent(*event) for event in sorted(zip(seconds.tolist(), labels, contexts)))
