"""Files that are written whole or not at all, and arrays with a JSON header."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from musclewarp.errors import FileError

HEADER_KEY = "musclewarp"


def data_root() -> Path:
    """The folder of recordings, bodies and models (`data/README.md`): `$MUSCLEWARP_DATA`, else `data`."""
    return Path(os.environ.get("MUSCLEWARP_DATA", "data"))


def write_atomically(path: str | Path, write: Callable[[Path], object]) -> Path:
    """Let `write(temporary)` fill a temporary sibling of `path`, then rename it to `path`.

    A reader sees the old file or the new one, never half of it; the folder is made if missing.
    The temporary file keeps the suffix of `path`, for writers that go by it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # mkstemp makes files that only their owner reads
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def write_text(path: str | Path, text: str) -> Path:
    """Write UTF-8 text atomically."""
    return write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_arrays(
    path: str | Path, arrays: Mapping[str, np.ndarray], header: Mapping[str, Any], kind: str, version: int
) -> Path:
    """Write arrays as safetensors whose metadata hold `header` as JSON, with `kind` and schema `version`."""
    text = json.dumps({"kind": kind, "version": version, **header}, allow_nan=False)
    contiguous = {key: np.ascontiguousarray(value) for key, value in arrays.items()}
    return write_atomically(path, lambda temporary: save_file(contiguous, temporary, metadata={HEADER_KEY: text}))


def read_arrays(path: str | Path, kind: str, version: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read what `write_arrays` wrote.

    Raises:
        FileError: the file is missing, truncated, not a musclewarp file, or of another kind or version.
    """
    path = Path(path)
    if not path.is_file():
        raise FileError(f"{path}: no such file")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        raise FileError(f"{path}: not a safetensors file, or truncated ({error})") from error
    try:
        header = json.loads(metadata[HEADER_KEY])
    except (KeyError, json.JSONDecodeError) as error:
        raise FileError(f"{path}: not written by musclewarp (no '{HEADER_KEY}' header)") from error
    if not isinstance(header, dict) or header.get("kind") != kind:
        found = header.get("kind") if isinstance(header, dict) else None
        raise FileError(f"{path}: holds a {found!r}, expected a {kind!r}")
    if header.get("version") != version:
        raise FileError(
            f"{path}: {kind} schema version {header.get('version')}, this musclewarp reads {version}; make it again"
        )
    return arrays, header
