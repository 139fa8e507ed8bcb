"""One door to all readers of recordings."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path

from musclewarp.errors import FileError
from musclewarp.motion.amass import read_amass
from musclewarp.motion.deepmimic import read_deepmimic
from musclewarp.motion.motion import Motion

_ZIP = b"PK"  # what an npz is
_RECORDINGS = ("*.npz", "humanoid3d_*.txt")
_NO_RECORDINGS = ("shape.npz", "*_stagei.npz")  # AMASS keeps a person's shape beside the recordings


def read_motion(path: str | Path) -> Motion:
    """Read an AMASS-layout npz (`read_amass`) or a DeepMimic clip (`read_deepmimic`), told by its content.

    Raises:
        FileError: no such file, neither of these formats, or what its reader says.
    """
    path = Path(path)
    if not path.is_file():
        raise FileError(f"{path}: {'a folder' if path.is_dir() else 'no such file'}, expected a recording")
    with open(path, "rb") as file:
        start = file.read(64)
    if start.startswith(_ZIP):
        return read_amass(path)
    if start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
        return read_deepmimic(path)
    raise FileError(f"{path}: neither an AMASS npz nor a DeepMimic clip (JSON)")


def find_motions(folder: str | Path) -> list[Path]:
    """Files in `folder` and below that are called like recordings, sorted; no hidden ones.

    Raises:
        FileError: there are none.
    """
    folder = Path(folder)
    found = [
        path
        for path in sorted(folder.rglob("*"))
        if any(fnmatch(path.name.lower(), pattern) for pattern in _RECORDINGS)
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and not any(path.match(pattern) for pattern in _NO_RECORDINGS)
        and path.is_file()
    ]
    if not found:
        raise FileError(f"{folder}: no recordings in it or below; they are called {' or '.join(_RECORDINGS)}")
    return found
