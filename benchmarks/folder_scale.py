"""Time and memory of `musclewarp retarget` against the number of frames (Linux: memory is read from /proc)."""

from __future__ import annotations

import itertools
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from musclewarp.motion.read import read_motion
from musclewarp.references.manifest import scan


@dataclass(frozen=True)
class Run:
    """One folder, retargeted by one command: what it had, how long it took, and peak resident memory in MB."""

    clips: int
    frames: int
    seconds: float
    first_s: float
    parent_mb: float
    worker_mb: float

    @property
    def frames_per_s(self) -> float:
        """All of it, from the command to its end."""
        return self.frames / self.seconds

    @property
    def steady_frames_per_s(self) -> float:
        """From the first reference on, without the start of the processes."""
        return self.frames / (self.seconds - self.first_s)


def measure_folder(clips: Sequence[Path], frames: int, model: str, body: str, dt: float, workers: int) -> Run:
    """Retarget `clips`, repeated until they have so many `frames`, and look on."""
    with tempfile.TemporaryDirectory(prefix="retarget-scale-") as place:
        folder, out = Path(place) / "clips", Path(place) / "references"
        link_repeated(clips, frames, dt, folder)
        command = [sys.executable, "-m", "musclewarp.cli", "retarget", str(folder), "--model", model, "--body", body]
        command += ["--dt", str(dt), "--workers", str(workers), "--no-activations", "--out", str(out)]
        started, first, peaks = time.perf_counter(), None, dict[int, float]()
        said = Path(place) / "said"  # a pipe that nobody reads would fill, and stop it
        with said.open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
            while process.poll() is None:
                time.sleep(0.2)
                peaks |= {pid: peak for pid in (process.pid, *_children(process.pid)) if (peak := _peak_mb(pid))}
                if first is None and any(out.rglob("*.safetensors")):
                    first = time.perf_counter() - started
            seconds = time.perf_counter() - started
            if process.returncode:
                raise SystemExit(f"{' '.join(command)} failed: {said.read_text()[-2000:]}")
        done = scan(out).values()
        parent = peaks.pop(process.pid, 0.0)
        return Run(
            len(done), sum(e.num_frames for e in done), seconds, first or 0.0, parent, max(peaks.values(), default=0.0)
        )


def link_repeated(clips: Sequence[Path], frames: int, dt: float, folder: Path) -> None:
    """Links to `clips` in `folder`, each in a numbered folder, again and again until they have so many `frames`."""
    counts = [int(read_motion(clip).duration / dt) + 1 for clip in clips]
    total = 0
    for k, (clip, count) in enumerate(itertools.cycle(zip(clips, counts, strict=True))):
        if total >= frames:
            break
        link = folder / f"{k:06d}" / clip.name
        link.parent.mkdir(parents=True)
        link.symlink_to(clip.resolve())
        total += count


def show_runs(console: Console, runs: Sequence[Run]) -> None:
    """Time and memory against the number of frames."""
    table = Table(title="one command")
    for column in ("clips", "frames", "s", "frames/s", "after the first clip", "parent, peak MB", "worker, peak MB"):
        table.add_column(column, justify="right")
    for run in runs:
        cells = (run.seconds, run.frames_per_s, run.steady_frames_per_s, run.parent_mb, run.worker_mb)
        table.add_row(str(run.clips), str(run.frames), *(f"{cell:.0f}" for cell in cells))
    console.print(table)


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _peak_mb(pid: int) -> float | None:
    """Largest resident memory so far; None of a process that has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    line = next((line for line in status.splitlines() if line.startswith("VmHWM")), None)
    return None if line is None else int(line.split()[1]) / 1024
