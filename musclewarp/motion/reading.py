"""One reader for all recordings of a person: the format is told from the content, not from the name."""

from __future__ import annotations

from pathlib import Path

from musclewarp.errors import FileError
from musclewarp.motion.amass import read_amass
from musclewarp.motion.deepmimic import read_deepmimic
from musclewarp.motion.motion import Motion

_ZIP = b"PK"  # what an npz is


def read_motion(path: str | Path) -> Motion:
    """Read an AMASS-layout npz (`read_amass`) or a DeepMimic clip (`read_deepmimic`).

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
