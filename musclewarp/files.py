"""Files that are written whole or not at all, and arrays with a JSON header."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import tempfile
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from musclewarp.errors import FileError

HEADER_KEY = "musclewarp"
_UNFINISHED = ".tmp-"


def data_root() -> Path:
    """The folder of recordings, bodies and models (`data/README.md`): `$MUSCLEWARP_DATA`, else `data`."""
    return Path(os.environ.get("MUSCLEWARP_DATA", "data"))


def write_atomically(path: str | Path, write: Callable[[Path], object]) -> Path:
    """Let `write(temporary)` fill a temporary sibling of `path`, then rename it to `path`.

    A reader sees the old file or the new one, never half of it, also after a power cut; the folder is made if missing.
    The temporary file keeps the suffix of `path`, for writers that go by it.

    Raises:
        OSError: the disk is full, or whatever else went wrong; the old file stands, and no other is left.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}{_UNFINISHED}", suffix=path.suffix, dir=path.parent)
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
    with contextlib.suppress(OSError), _folder(path.parent) as handle:  # not every file system knows how
        os.fsync(handle)  # the new name
    return path


def remove_unfinished(folder: str | Path) -> None:
    """Remove what writers that were killed have left in `folder` and below; nobody else may be writing there."""
    for path in Path(folder).rglob(f".*{_UNFINISHED}*"):
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def only_writer(folder: str | Path) -> Generator[None]:
    """Make `folder`, and let no other process that asks write to it meanwhile; the lock dies with its holder.

    Raises:
        FileError: another process has it.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with _folder(folder) as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise FileError(f"{folder}: another process is writing there; wait for it, or choose another") from error
        except OSError as error:  # some network file systems have no locks
            if error.errno not in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP):
                raise
        yield


@contextlib.contextmanager
def _folder(path: Path) -> Generator[int]:
    handle = os.open(path, os.O_RDONLY)
    try:
        yield handle
    finally:
        os.close(handle)


def write_text(path: str | Path, text: str) -> Path:
    """Write UTF-8 text atomically."""
    return write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_arrays(
    path: str | Path, arrays: Mapping[str, np.ndarray], header: Mapping[str, Any], kind: str, version: int
) -> Path:
    """Write arrays as safetensors whose metadata hold `header` as JSON, with `kind` and schema `version`."""
    text = json.dumps({"kind": kind, "version": version, **header}, allow_nan=False)
    contiguous = {key: np.ascontiguousarray(value) for key, value in arrays.items()}
    # bytes first: the library's own writer does not say OSError when the disk is full
    content = save(contiguous, metadata={HEADER_KEY: text})
    return write_atomically(path, lambda temporary: temporary.write_bytes(content))


def read_arrays(path: str | Path, kind: str, version: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read what `write_arrays` wrote.

    Raises:
        FileError: the file is missing, truncated, not a musclewarp file, or of another kind or version.
    """
    with _opened(path) as file:
        arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a mapping)
        metadata = file.metadata() or {}
    return arrays, _header(path, metadata, kind, version)


def read_header(path: str | Path, kind: str, version: int) -> tuple[dict[str, tuple[int, ...]], dict[str, Any]]:
    """The shapes of the arrays that `write_arrays` wrote, and the header; the arrays are not read.

    Raises:
        FileError: as `read_arrays`.
    """
    with _opened(path) as file:
        shapes = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118 (not a mapping)
        metadata = file.metadata() or {}
    return shapes, _header(path, metadata, kind, version)


@contextlib.contextmanager
def _opened(path: str | Path) -> Generator[Any]:
    if not Path(path).is_file():
        raise FileError(f"{path}: no such file")
    try:
        with safe_open(path, framework="numpy") as file:
            yield file
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        raise FileError(f"{path}: not a safetensors file, or truncated ({error})") from error


def _header(path: str | Path, metadata: Mapping[str, str], kind: str, version: int) -> dict[str, Any]:
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
    return header
