"""One door to all readers of recordings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from musclewarp.errors import FileError
from musclewarp.motion.amass import read_amass
from musclewarp.motion.motion import Motion

READERS: dict[str, Callable[[str | Path], Motion]] = {".npz": read_amass}
"""Suffix of a file, in lower case: what reads it."""
_NO_RECORDINGS = ("shape.npz", "*_stagei.npz")  # AMASS keeps a person's shape beside the recordings


def read_motion(path: str | Path) -> Motion:
    """Read a recording in any known format, told by its suffix.

    Raises:
        FileError: no format has this suffix, or as the format's reader.
    """
    path = Path(path)
    if path.suffix.lower() not in READERS:
        raise FileError(f"{path}: recordings end in {', '.join(READERS)}")
    return READERS[path.suffix.lower()](path)


def find_motions(folder: str | Path) -> list[Path]:
    """Files in `folder` and below that have the suffix of a recording, sorted; no hidden ones.

    Raises:
        FileError: there are none.
    """
    folder = Path(folder)
    found = [
        path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in READERS
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and not any(path.match(pattern) for pattern in _NO_RECORDINGS)
        and path.is_file()
    ]
    if not found:
        raise FileError(f"{folder}: no recordings in it or below; they end in {', '.join(READERS)}")
    return found
