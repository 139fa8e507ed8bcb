"""Files of checkpoints: written whole, the last few and the best kept, and the newest that can be read found again.

In the folder of a run lie `last.ckpt`, the ones before it as `last.1.ckpt`, `last.2.ckpt`, ..., and `best.ckpt`.
"""

from __future__ import annotations

import io
import os
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_warn

from musclewarp.errors import FileError, require
from musclewarp.files import write_atomically

LAST, BEST = "last.ckpt", "best.ckpt"
VERSION = 1
"""Of what `PPO.on_save_checkpoint` writes; another one is refused."""


@dataclass(frozen=True)
class CheckpointConfig:
    """When checkpoints are written, beside at the end and on every other way out, and how many are kept.

    Attributes:
        minutes: between two of them.
        frames: environment frames (of all ranks) between two of them as well; 0: by time alone.
        keep: how many of the last are kept.
    """

    minutes: float = 5.0
    frames: int = 0
    keep: int = 3

    def __post_init__(self) -> None:
        require(self, "checkpoint.minutes", self.minutes > 0, "it must be positive")
        require(self, "checkpoint.frames", self.frames >= 0, "it must be positive, or 0 to go by time alone")
        require(self, "checkpoint.keep", self.keep >= 1, "it must be at least 1")


def software() -> dict[str, str]:
    """Versions of what decides how training goes on, bit by bit."""
    return {name: version(name) for name in ("musclewarp", "mujoco", "mujoco-warp", "torch")}


def own_part(checkpoint: Mapping[str, Any], path: str | Path = "the checkpoint") -> Mapping[str, Any]:
    """What `PPO.on_save_checkpoint` wrote into a loaded checkpoint.

    Raises:
        FileError: there is nothing, or it is of another version.
    """
    saved = checkpoint.get("musclewarp")
    if not isinstance(saved, Mapping):
        raise FileError(f"{path}: not a checkpoint of musclewarp; give the last.ckpt of `musclewarp fit`")
    if saved.get("version") != VERSION:
        raise FileError(
            f"{path}: checkpoint schema version {saved.get('version')}, this musclewarp reads {VERSION}; "
            "go on with the version that wrote it, or start anew in another --out"
        )
    return saved


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """A checkpoint, on the CPU; nothing in it is executed.

    Raises:
        FileError: it is missing, truncated, damaged, of others, or of another version.
    """
    path = Path(path)
    if not path.is_file():
        raise FileError(f"{path}: no such file; give the last.ckpt of `musclewarp fit`")
    try:
        with zipfile.ZipFile(path) as archive:
            if damaged := archive.testzip():  # torch does not compare the checksums that it writes
                raise FileError(f"{path}: damaged ({damaged} is not what was written)")
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except FileError:
        raise
    except Exception as error:  # zipfile and torch's unpickler raise a dozen kinds on broken bytes
        reason = (str(error).splitlines() or [type(error).__name__])[0].split(". ")[0]
        raise FileError(f"{path}: not a checkpoint, or truncated ({reason})") from error
    if not isinstance(checkpoint, dict):
        raise FileError(f"{path}: not a checkpoint of musclewarp; give the last.ckpt of `musclewarp fit`")
    own_part(checkpoint, path)
    return checkpoint


def newest_checkpoint(folder: str | Path) -> Path | None:
    """The newest checkpoint in `folder` that can be read, with a warning if a newer one cannot; None without any.

    Raises:
        FileError: there are some, and none can be read.
    """
    found = [path for path in (*_last(Path(folder)), Path(folder) / BEST) if path.exists()]
    errors: list[str] = []
    for path in found:
        try:
            read_checkpoint(path)
        except FileError as error:
            errors.append(str(error))
            continue
        if errors:
            rank_zero_warn(f"{'; '.join(errors)}. Training goes on from the older {path} instead")
        return path
    if errors:
        raise FileError(f"{'; '.join(errors)}. No older one is left; start anew in another --out")
    return None


def write_last(folder: Path, checkpoint: Mapping[str, Any], keep: int) -> Path:
    """Write `last.ckpt`; the one before it becomes `last.1.ckpt`, and so on; `keep` are kept.

    Raises:
        OSError: it cannot be written; those that were there stand.
    """
    content = io.BytesIO()
    torch.save(dict(checkpoint), content)  # into memory first: torch does not say OSError when the disk is full

    def write(temporary: Path) -> None:
        with open(temporary, "wb") as file:
            file.write(content.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        _shift(folder, keep)  # only now: the new one has found room

    return write_atomically(folder / LAST, write)


def keep_best(folder: Path) -> None:
    """Let `best.ckpt` be what `last.ckpt` is now.

    Raises:
        OSError: it cannot be written; the one before stands.
    """
    _link(folder / LAST, folder / BEST)


def _last(folder: Path) -> list[Path]:
    """`last.ckpt` and those before it, the newest first."""
    numbers = sorted(int(path.suffixes[0][1:]) for path in folder.glob("last.*.ckpt") if path.suffixes[0][1:].isdigit())
    return [folder / LAST, *(folder / f"last.{number}.ckpt" for number in numbers)]


def _shift(folder: Path, keep: int) -> None:
    """Let everyone be one older, and forget the oldest; there is a `last.ckpt` at every moment."""
    existing = [path for path in _last(folder) if path.exists()]
    for path in existing[keep:]:
        path.unlink()
    names = [folder / LAST, *(folder / f"last.{number}.ckpt" for number in range(1, keep))]
    moves = list(zip(existing, names[1:], strict=False))
    for source, target in reversed(moves):
        if source.name == LAST:
            _link(source, target)
        elif source != target:
            source.replace(target)


def _link(source: Path, target: Path) -> None:
    """Let `target` be `source`, too: the same bytes on the disk where its file system can do that."""

    def write(temporary: Path) -> None:
        temporary.unlink()
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)

    write_atomically(target, write)
