"""`musclewarp references`: how good the references of a folder are, how they look, and which to test with."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from musclewarp.errors import FileError
from musclewarp.files import write_atomically
from musclewarp.models import MuscleModel, model_of_rate
from musclewarp.references.library import find_references
from musclewarp.references.manifest import read_entry, scan
from musclewarp.references.mirror import mirror_reference
from musclewarp.references.quality import reference_quality
from musclewarp.references.reference import SUFFIX, Reference
from musclewarp.references.split import SPLIT, make_split, save_split, split_of_index, subject_of
from musclewarp.viz.quality import quality_figure, quality_table
from musclewarp.viz.viewer import PORT, ReferenceViewer


def inspect_references(paths: Sequence[Path], plot: Path | None = None, rows: int = 20) -> int:
    """Print the quality of references, the worst first, and plot its distributions; 2 if one cannot be read.

    Raises:
        FileError: there are none, or they do not say how good they are.
    """
    entries, errors = [], []
    for path in find_references(paths):
        try:
            entries.append(read_entry(path, path.parent))
        except FileError as error:
            errors.append(error)
    if entries:
        Console().print(quality_table(entries, rows))
        if plot is not None:
            figure = quality_figure(entries)
            print(f"wrote {write_atomically(plot, figure.savefig)}")
    for error in errors:
        print(error, file=sys.stderr)
    return 2 if errors else 0


def open_viewer(paths: Sequence[Path], clip: str | None = None, port: int = PORT) -> ReferenceViewer:
    """A page of the references at `paths`; see `ReferenceViewer`.

    Args:
        paths: folders, references, or parts of split files.
        clip: the one to show first: its file below the folder, without the suffix.
        port: of this machine, or the next free one.

    Raises:
        FileError: there are none, none is called `clip`, or the first one cannot be read or is not of its model.
        ModelError: its model cannot be loaded.
    """
    files = find_references(paths)
    folder = os.path.commonpath([path.absolute().parent for path in files])
    named = {path.absolute().relative_to(folder).as_posix().removesuffix(SUFFIX): path for path in files}
    if clip is not None and clip not in named:
        known = ", ".join(list(named)[:8]) + (", ..." if len(named) > 8 else "")
        raise FileError(f"no reference is called '{clip}'; choose one of {known}")
    model = functools.lru_cache(maxsize=2)(model_of_rate)

    def load(path: Path) -> tuple[MuscleModel, Reference]:
        reference = Reference.load(path)
        return model(reference.model, reference.dt), reference

    return ReferenceViewer(named, load, clip, port)


def mirror_file(path: Path, out: Path) -> Path:
    """Write the mirror image of the reference at `path`, called by the file `out`, with a quality of its own.

    Raises:
        FileError: it cannot be read, or is not of its model.
        ModelError: its model cannot be loaded, or is not the same on both sides.
    """
    reference = Reference.load(path)
    model = model_of_rate(reference.model, reference.dt)
    image = replace(mirror_reference(model, reference), name=out.name.removesuffix(SUFFIX))
    replace(image, quality=reference_quality(model, image)).save(out)
    print(f"{out}: the mirror image of '{reference.name}'")
    return out


def split_references(folder: Path, test_subjects: Sequence[str] = (), index: Path | None = None) -> Path:
    """Write `split.yaml` into a folder of references; see `references.split`.

    Args:
        folder: of the references.
        test_subjects: to test with; all others are to learn from. Without `index`, subjects are the clips' folders.
        index: a CSV table of `clip`, `subject` and, where no subjects are given, `split`.

    Raises:
        FileError: there is a split file already, no references, no such subject, or a recording would be in both parts.
    """
    path = folder / SPLIT
    if path.exists():
        raise FileError(f"{path} exists; rename or remove it to make another")
    clips = sorted(entry.file.removesuffix(SUFFIX) for entry in scan(folder).values())
    if not clips:
        raise FileError(f"{folder}: no references; make some with: musclewarp retarget FOLDER --out {folder}")
    if index is not None:
        split = split_of_index(index, clips, test_subjects)
    else:
        split = make_split({clip: subject_of(clip) for clip in clips}, test_subjects, str(folder))
    split.files(folder)
    save_split(path, split)
    for part, by in split.parts.items():
        print(f"{part}: {len(split.clips(part))} clips of {len(by)} subjects: {path}:{part}")
    return path
