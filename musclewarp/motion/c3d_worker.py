"""Read a `.c3d` with ezc3d and write what it holds as an npz: a program of its own, for `musclewarp.motion.c3d`.

ezc3d is C++ and dies of (or hangs on) some damaged files; here that ends this process only.
It imports nothing of musclewarp: `python c3d_worker.py IN.c3d OUT.npz`. What is wrong goes to stderr.
"""

from __future__ import annotations

import json
import resource
import sys
from typing import Any

import ezc3d
import numpy as np

MEMORY = 16 << 30  # bytes; a damaged count of frames asks for more


def main(source: str, destination: str) -> None:
    """Read `source`, write `destination`."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    try:
        file = ezc3d.c3d(source, extract_forceplat_data=_has_plates(ezc3d.c3d(source)))
        arrays = _arrays(file)
    except Exception as error:  # whatever ezc3d throws at damaged files
        sys.exit(f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}")
    np.savez(destination, **arrays)


def _has_plates(file: Any) -> bool:
    used = _parameter(file, "FORCE_PLATFORM", "USED")
    return bool(len(used)) and int(used[0]) > 0


def _parameter(file: Any, group: str, name: str) -> Any:
    return file["parameters"].get(group, {}).get(name, {}).get("value", [])


def _labels(file: Any, group: str, key: str) -> list[str]:
    # beyond 255 channels a file goes on in LABELS2, LABELS3, ...
    found = [str(text) for text in _parameter(file, group, key)]
    for part in range(2, 100):
        more = _parameter(file, group, f"{key}{part}")
        if not len(more):
            break
        found += [str(text) for text in more]
    return found


def _arrays(file: Any) -> dict[str, Any]:
    data, header = file["data"], file["header"]
    plates = data.get("platform", [])
    meta = {
        "point_rate": float(header["points"]["frame_rate"]),
        "analog_rate": float(header["analogs"]["frame_rate"]),
        "first_frame": int(header["points"]["first_frame"]),
        "point_labels": _labels(file, "POINT", "LABELS"),
        "point_unit": _first(file, "POINT", "UNITS"),
        "analog_labels": _labels(file, "ANALOG", "LABELS"),
        "analog_units": _labels(file, "ANALOG", "UNITS"),
        "event_labels": _labels(file, "EVENT", "LABELS"),
        "event_contexts": _labels(file, "EVENT", "CONTEXTS"),
        "plate_units": [[p["unit_force"], p["unit_moment"], p["unit_position"]] for p in plates],
    }
    arrays: dict[str, Any] = {
        "meta": np.array(json.dumps(meta)),
        "points": data["points"][:3],
        "residuals": data["meta_points"]["residuals"],
        "analogs": data["analogs"],
        "event_times": np.asarray(_parameter(file, "EVENT", "TIMES"), dtype=float),
    }
    for number, plate in enumerate(plates):
        for key in ("force", "moment", "center_of_pressure", "Tz", "corners"):
            arrays[f"plate{number}_{key}"] = plate[key]
    return arrays


def _first(file: Any, group: str, name: str) -> str:
    return next((str(value) for value in _parameter(file, group, name)), "")


if __name__ == "__main__":
    main(*sys.argv[1:3])
