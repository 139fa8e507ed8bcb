"""`manifest.jsonl`: what lies in a folder of references, a line a clip: where it came from, and how good it is.

The truth is in the references' own headers; the manifest is made from them, so it can be lost, or a run be killed.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from musclewarp.errors import FileError
from musclewarp.files import write_text
from musclewarp.references.reference import SUFFIX, read_reference_header

MANIFEST = "manifest.jsonl"


@dataclass(frozen=True)
class Entry:
    """One reference of a folder.

    Attributes:
        clip: name of the reference.
        file: where it lies, relative to the folder.
        model: name of the muscle model.
        model_hash: `MuscleModel.hash` of the model that it was made for.
        dt: s between frames.
        num_frames: T.
        source: provenance: the recording's `file` and `sha256`, the `settings` that it was retargeted with, ...
        quality: numbers about the fit.
        seconds: that it took to make, None if nobody knows any more.
        warnings: that were given meanwhile.
    """

    clip: str
    file: str
    model: str
    model_hash: str
    dt: float
    num_frames: int
    source: Mapping[str, Any]
    quality: Mapping[str, float]
    seconds: float | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Failure:
    """A clip without a reference, and why."""

    clip: str
    error: str


def read_entry(path: Path, folder: Path) -> Entry:
    """The entry of the reference at `path` in `folder`; `seconds` and `warnings` are not in there.

    Raises:
        FileError: the file is not a reference, or truncated.
    """
    header = read_reference_header(path)
    fields = {field.name: header[field.name] for field in dataclasses.fields(Entry) if field.name in header}
    return Entry(clip=header["name"], file=path.relative_to(folder).as_posix(), **fields)


def scan(folder: Path, known: Mapping[str, Entry] | None = None) -> dict[str, Entry]:
    """The references in `folder` and below by file, as far as they can be read.

    What their headers do not have is taken from `known` (by default the manifest that is there), if that is of the
    same reference.
    """
    before = _read(folder / MANIFEST) if known is None else known
    found: dict[str, Entry] = {}
    for path in sorted(folder.rglob(f"*{SUFFIX}")):
        try:
            entry = read_entry(path, folder)
        except FileError:
            continue
        fuller = before.get(entry.file, entry)
        same = dataclasses.replace(fuller, seconds=None, warnings=()) == entry
        found[entry.file] = fuller if same else entry
    return found


def write_manifest(folder: Path, entries: Iterable[Entry], failures: Iterable[Failure] = ()) -> Path:
    """Write `manifest.jsonl`, sorted by clip, the failures last."""
    rows = [*sorted(entries, key=lambda row: row.file), *sorted(failures, key=lambda row: row.clip)]
    lines = [json.dumps(dataclasses.asdict(row), allow_nan=False, ensure_ascii=False) for row in rows]
    return write_text(folder / MANIFEST, "".join(f"{line}\n" for line in lines))


def _read(path: Path) -> dict[str, Entry]:
    """The entries of a manifest by file; none if it cannot be read, for it is only a copy."""
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        entries = [Entry(**row | {"warnings": tuple(row["warnings"])}) for row in rows if "error" not in row]
    except (OSError, ValueError, TypeError, KeyError):
        return {}
    return {entry.file: entry for entry in entries}
