"""Split files: which references of a folder are learned from, and which are kept to test with.

The file lies in the folder and lists the clips of each part by subject, as YAML or JSON:

    train:
      "05": [cmu_05_01, cmu_05_02]
    test:
      "08": [cmu_08_01]

Where the clips lie in folders of their subjects, a part may also be a plain list: `test: [s8/walk, s8/run]`.
`FILE:PART` (`refs/split.yaml:train`) stands for the references of a part wherever references are asked for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd
import yaml

from musclewarp.errors import FileError
from musclewarp.files import write_text
from musclewarp.references.reference import SUFFIX, read_reference_header

SPLIT = "split.yaml"
PARTS = ("train", "test")


@dataclass(frozen=True)
class Split:
    """Parts that share neither subject nor clip.

    Attributes:
        parts: "train" and "test": subject to the names of its clips.
        where: the file it came from, for messages.

    Raises:
        FileError: a subject or a clip is in both parts, a clip is named twice, or a part is empty.
    """

    parts: Mapping[str, Mapping[str, tuple[str, ...]]]
    where: str = SPLIT

    def __post_init__(self) -> None:
        if set(self.parts) != set(PARTS) or not all(self.clips(part) for part in self.parts):
            raise FileError(f"{self.where}: a split has the parts {' and '.join(PARTS)}, each with a clip at least")
        shared = sorted(set(self.parts["train"]) & set(self.parts["test"]))
        if shared:
            raise FileError(f"{self.where}: train and test share the subject {shared[0]!r}; keep each in one part")
        times = Counter(clip for part in PARTS for clip in self.clips(part))
        for clip, count in times.items():
            if count > 1:
                raise FileError(f"{self.where}: clip {clip!r} is named {count} times; name it once")

    def clips(self, part: str) -> tuple[str, ...]:
        """The clips of a part."""
        return tuple(clip for clips in self.parts[part].values() for clip in clips)

    def files(self, folder: Path) -> dict[str, list[Path]]:
        """The references of each part in `folder`.

        Raises:
            FileError: one is missing, or one recording (by its sha256) is in both parts.
        """
        found = {part: [folder / f"{clip}{SUFFIX}" for clip in self.clips(part)] for part in PARTS}
        recordings = {part: {_recording(path): path for path in paths} for part, paths in found.items()}
        for digest in recordings["train"].keys() & recordings["test"].keys() - {""}:
            raise FileError(
                f"{self.where}: train and test share a recording, {recordings['train'][digest].relative_to(folder)} "
                f"and {recordings['test'][digest].relative_to(folder)}; take one of them out"
            )
        return found


def subject_of(clip: str) -> str:
    """The folder that a clip lies in, which is its subject's; "" if it lies in none."""
    folder = PurePosixPath(clip).parent.as_posix()
    return "" if folder == "." else folder


def make_split(subjects: Mapping[str, str], test_subjects: Iterable[str], where: str = SPLIT) -> Split:
    """The split that keeps `test_subjects` to test with; `subjects` is of every clip.

    Raises:
        FileError: there is no such subject, or nothing is left to learn from.
    """
    kept = set(test_subjects)
    unknown = sorted(kept - set(subjects.values()))
    if unknown:
        known = ", ".join(sorted(set(subjects.values())))
        raise FileError(f"{where}: no clip is of subject {', '.join(unknown)}; there are {known}")
    placed = ((clip, "test" if subject in kept else "train", subject) for clip, subject in subjects.items())
    return _grouped(placed, where)


def split_of_index(path: Path, clips: Iterable[str], test_subjects: Iterable[str] = ()) -> Split:
    """The split of `clips` by a CSV table with the columns `clip`, `subject`, and `split` where no subjects are given.

    Raises:
        FileError: the table cannot be read, lacks a column or a clip, or makes no split.
    """
    test_subjects = list(test_subjects)
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        columns = table.set_index("clip")[["subject"] if test_subjects else ["subject", "split"]]
        rows = columns.loc[list(clips)]
    except (OSError, ValueError, KeyError) as error:
        wanted = "'clip', 'subject'" if test_subjects else "'clip', 'subject', 'split' (or give --test-subjects)"
        raise FileError(f"{path}: expected a CSV table with {wanted} and a row for every clip ({error})") from error
    if test_subjects:
        return make_split({str(clip): subject for clip, subject in rows["subject"].items()}, test_subjects, str(path))
    return _grouped(((str(row.Index), str(row.split), str(row.subject)) for row in rows.itertuples()), str(path))


def _grouped(placed: Iterable[tuple[str, str, str]], where: str) -> Split:
    """A split of (clip, part, subject)."""
    parts: dict[str, dict[str, list[str]]] = {part: {} for part in PARTS}
    for clip, part, subject in placed:
        if not subject:
            raise FileError(f"{where}: nobody says who {clip!r} is of; give a table of clips and subjects (--index)")
        parts.setdefault(part, {}).setdefault(subject, []).append(clip)
    return Split({part: {s: tuple(clips) for s, clips in by.items()} for part, by in parts.items()}, where)


def save_split(path: Path, split: Split) -> Path:
    """Write `split` as YAML; in the folder of its references it can be used from there."""
    parts = {part: {subject: list(clips) for subject, clips in by.items()} for part, by in split.parts.items()}
    return write_text(path, yaml.safe_dump(parts, sort_keys=False, allow_unicode=True))


def load_split(path: Path) -> Split:
    """Read a split file (YAML or JSON).

    Raises:
        FileError: it cannot be read, is no split, or leaks.
    """
    try:
        # BaseLoader: subject 05 stays "05", it is not the number 5
        content = _plain(yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader))
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise FileError(f"{path}: not a split file: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(content, dict) or set(content) != set(PARTS):
        raise FileError(f"{path}: not a split file, which has the keys {' and '.join(PARTS)}")
    placed: list[tuple[str, str, str]] = []
    for part, by in content.items():
        for subject, clips in by.items() if isinstance(by, dict) else [(None, by)]:
            if not isinstance(clips, list) or not all(isinstance(clip, str) and clip for clip in clips):
                raise FileError(f"{path}: {part} is neither a list of clips nor lists of clips by subject")
            placed += [(clip, part, subject_of(clip) if subject is None else subject) for clip in clips]
    return _grouped(placed, str(path))


def split_files(path: Path, part: str) -> list[Path]:
    """The references of one part of the split file at `path`, which lies in their folder.

    Raises:
        FileError: there is no such part, or as `load_split` and `Split.files`.
    """
    if part not in PARTS:
        raise FileError(f"{path}: which part? Say {path}:train or {path}:test")
    return load_split(path).files(path.parent)[part]


def _recording(path: Path) -> str:
    """The sha256 of the recording that a reference is of; "" if nobody knows."""
    return str(read_reference_header(path)["source"].get("sha256", ""))


def _plain(node: Any) -> Any:
    """A YAML node as str, list and dict, refusing what is there twice (PyYAML takes the last)."""
    if isinstance(node, yaml.ScalarNode):
        return node.value
    if isinstance(node, yaml.SequenceNode):
        return [_plain(child) for child in node.value]
    if isinstance(node, yaml.MappingNode):
        keys = [str(key.value) for key, _ in node.value]
        if len(set(keys)) < len(keys):
            raise ValueError(f"a key is there twice among {', '.join(keys)}")
        return {key: _plain(child) for key, (_, child) in zip(keys, node.value, strict=True)}
    return None
