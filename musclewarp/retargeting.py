"""`musclewarp retarget`: how far it is, what it made, and what it could not."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from musclewarp.processes import available_cores
from musclewarp.references.manifest import MANIFEST, Entry
from musclewarp.retarget.folder import Outcome, Settings, find_clips, retarget_clips

_COLUMNS = (
    *(TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[speed]:.0f} frames/s,")),
    *(TimeElapsedColumn(), TextColumn("passed,"), TimeRemainingColumn(), TextColumn("left")),
)


def retarget_paths(
    paths: Sequence[Path], settings: Settings, out: Path, workers: int | None = None, overwrite: bool = False
) -> list[Outcome]:
    """Retarget files and folders into `out` (see `retarget_clips`), telling how it goes; `workers` None: all cores."""
    clips = find_clips(paths)
    console = Console(stderr=True)
    started = time.perf_counter()
    with Progress(*_COLUMNS, console=console, transient=True, speed_estimate_period=3600.0) as progress:
        counts = Counter[str]()
        task = progress.add_task("retargeting", total=sum(clip.size for clip in clips), speed=0.0)

        def tell(outcome: Outcome) -> None:
            entry = outcome.entry
            counts["done before" if outcome.skipped else "made" if entry else "failed"] += 1
            if entry is not None and not outcome.skipped:
                counts["frames"] += entry.num_frames
                console.print(_describe(out, entry), soft_wrap=True, markup=False)
            elif outcome.skipped:  # what costs no time says nothing about the time that is left
                progress.update(task, total=(progress.tasks[task].total or 0) - outcome.clip.size)
            progress.update(
                task,
                description=f"{counts['made']} made, {counts['failed']} failed",
                speed=counts["frames"] / (time.perf_counter() - started),
                advance=0 if outcome.skipped else outcome.clip.size,
            )

        outcomes = retarget_clips(clips, out, settings, workers or available_cores(), overwrite, tell)
    failed = [outcome for outcome in outcomes if outcome.error]
    for outcome in failed:
        console.print(f"[red]{escape(outcome.clip.name)}[/]: {escape(outcome.error)}", soft_wrap=True)
    if len(clips) > 1 or not failed:
        parts = ", ".join(f"{counts[key]} {key}" for key in ("made", "done before", "failed") if counts[key])
        console.print(f"{parts}; see {out / MANIFEST}", soft_wrap=True, markup=False)
    return outcomes


def _describe(out: Path, entry: Entry) -> str:
    seconds = entry.seconds or 0.0
    return "\n".join(
        [f"{out / entry.file}: {entry.num_frames} frames in {seconds:.1f} s", *(f"  {text}" for text in entry.warnings)]
    )
