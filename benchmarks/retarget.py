"""How good and how fast retargeting is: every quality figure beside its bar and beside GMR-Fit's own.

    python benchmarks/retarget.py CLIP.npz ... FOLDER ... --model myofullbody --body stand-in
    python benchmarks/retarget.py CLIP.npz ... --mink          # and the speed of mink and daqp on the same targets
    python benchmarks/retarget.py --references FOLDER          # figures of references that are there already
    python benchmarks/retarget.py DEEPMIMIC --line benchmarks/results/deepmimic.jsonl    # and a line with all figures
    python benchmarks/retarget.py FOLDER --scale 10000 200000  # time and memory of one command, clips repeated

Up to nine clips have a column each; of more, the median, the 95th percentile and the worst are shown, and what is
wrong with the five worst clips. GMR-Fit's figures: MyoFullBody, four CMU clips at 30 Hz, its current version, that of
its paper, and where it has one that of the recording itself.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from folder_scale import measure_folder, show_runs
from mink_ik import MinkSolver, versions
from rich.console import Console
from rich.progress import track
from rich.table import Table

from musclewarp.engines.native import available_threads
from musclewarp.errors import MusclewarpError
from musclewarp.models import MuscleModel, model_of_rate
from musclewarp.motion.body import Body, body_of
from musclewarp.motion.motion import Motion
from musclewarp.motion.read import find_motions, read_motion
from musclewarp.references.library import find_references
from musclewarp.references.muscle_paths import muscle_paths
from musclewarp.references.reference import Reference
from musclewarp.retarget import retarget
from musclewarp.retarget.pipeline import fit_postures, resample
from musclewarp.retarget.quality import QUALITY_FILE

Figures = Mapping[str, float | None]
FEW = 9


@dataclass(frozen=True)
class Bar:
    """What a figure is, in which unit it is shown, between what bounds it should lie, and what GMR-Fit's is."""

    key: str
    label: str
    scale: float = 1.0
    most: float = np.inf
    least: float = -np.inf
    gmr: tuple[float | None, float | None, float | None] = (None, None, None)

    def excess(self, value: float | None) -> float:
        """By what share of the bar `value` is beyond it, 0 within."""
        if value is None or self.least <= value <= self.most:
            return 0.0
        bound = self.most if value > self.most else self.least
        return abs(value - bound) / max(bound, 1e-3)


BARS = (
    Bar("position_rmse_m", "RMSE to 16 raw joints, mm", 1e3, 0.020, gmr=(0.032, 0.033, None)),
    Bar("target_rmse_m", "RMSE to 17 targets, mm", 1e3, gmr=(0.030, 0.030, None)),
    Bar("orientation_rmse_rad", "orientation RMSE, degrees", 180 / np.pi),
    Bar("coupling_residual_max", "coupling residual, mrad or mm", 1e3, 1e-6, gmr=(0.53, 0.0014, None)),
    Bar("joint_limit_violation_fraction", "joint-limit violation, %", 1e2, 0.0, gmr=(0.0, 0.0, None)),
    Bar("penetration_fraction", "penetration over 1 mm, %", 1e2, 1e-3, gmr=(0.25, 0.23, None)),
    Bar("penetration_max_m", "penetration, max, mm", 1e3, gmr=(0.017, 0.018, None)),
    Bar("stance_floating_m", "floating in stance, mean, mm", 1e3, 0.005, gmr=(0.0051, 0.0066, 0.0077)),
    Bar("stance_floating_fraction", "floating over 10 mm, %", 1e2, gmr=(0.20, 0.27, None)),
    Bar("skate_mps", "skate in contact, m/s", gmr=(0.056, 0.056, 0.053)),
    Bar("recording_skate_mps", "skate of the recording, m/s", gmr=(None, None, 0.053)),
    Bar("skate_ratio", "skate, over the recording's", 1.0, 1.1, gmr=(0.056 / 0.053, 0.056 / 0.053, 1.0)),
    Bar("tendon_jump_fraction", "tendon jumps, % of frames", 1e2, 0.01, gmr=(0.17, 0.18, None)),
    Bar("tendon_jump_fraction_unseeded", "tendon jumps, not seeded, %", 1e2),
    Bar("tendon_break_fraction", "tendon inconsistent, %", 1e2, 0.0),
    Bar("length_range_fraction", "muscles out of range, %", 1e2),
    Bar("acceleration_ratio", "acceleration, over recording's", 1.0, 1.1, 0.85, (9.7 / 8.2, 8.3 / 8.2, 1.0)),
    Bar("jerk_ratio", "jerk, over recording's", 1.0, 1.1, gmr=(384 / 242, 269 / 242, 1.0)),
    Bar("site_acceleration_rms_m_s2", "Cartesian acceleration, m/s²", gmr=(9.7, 8.3, 8.2)),
    Bar("site_jerk_rms_m_s3", "Cartesian jerk, m/s³", gmr=(384.0, 269.0, 242.0)),
    Bar("joint_acceleration_rms_rad_s2", "joint acceleration, rad/s²", gmr=(28.0, 27.0, None)),
    Bar("joint_jerk_rms_rad_s3", "joint jerk, rad/s³", gmr=(1313.0, 1101.0, None)),
    Bar("frames_per_s", "frames/s, all of retargeting", 1.0, least=500.0, gmr=(100.0, 11.0, None)),
    Bar("solver_frames_per_s", "frames/s, solver alone"),
    Bar("mink_frames_per_s", "frames/s, mink, one process"),
    Bar("mink_speedup", "frames/s, over mink's", 1.0, least=20.0),
    Bar("mink_target_rmse_m", "RMSE to 17 targets of mink, mm", 1e3),
)


def measure(path: Path, model: MuscleModel, body: str, dt: float, mink: MinkSolver | None) -> dict[str, Any]:
    """All figures of one clip."""
    motion = read_motion(path)
    person = body_of(motion, body)
    started = time.perf_counter()
    reference = retarget(motion, model, dt, person)
    seconds = time.perf_counter() - started
    figures = {**reference.quality, "frames_per_s": reference.num_frames / seconds}
    if mink is not None:
        figures |= against_mink(mink, person, resample(motion, dt))
    return _row(path.stem, model, reference, figures)


def against_mink(mink: MinkSolver, person: Body, motion: Motion) -> dict[str, float]:
    """Frames/s of both solvers on the same targets, one right after the other; ours finds the floor, too."""
    frames = motion.num_frames
    started = time.perf_counter()
    _, targets = fit_postures(mink.model, person, motion)
    half = time.perf_counter()
    solution = mink.solve(targets)
    ended = time.perf_counter()
    error = mink.positions(solution.qpos) - targets.positions
    return {
        "solver_frames_per_s": frames / (half - started),
        "mink_frames_per_s": frames / (ended - half),
        "mink_speedup": (ended - half) / (half - started),
        "mink_target_rmse_m": float(np.sqrt(np.square(error).sum(axis=-1).mean())),
        "mink_programs_per_frame": solution.steps / frames,
        "mink_frames_off_the_couplings": float(solution.unconverged),
    }


def read_references(folders: Sequence[Path], model: MuscleModel) -> list[dict[str, Any]]:
    """Figures that references carry, with the speed from `quality.json` beside them."""
    rows = []
    for path in find_references(list(folders)):
        reference, beside = Reference.load(path, model), path.with_name(QUALITY_FILE)
        speeds = {row["clip"]: row["frames_per_s"] for row in json.loads(beside.read_text())} if beside.exists() else {}
        figures = {**reference.quality, "frames_per_s": speeds.get(reference.name)}
        rows.append(_row(reference.name, model, reference, figures))
    return rows


def _row(clip: str, model: MuscleModel, reference: Reference, figures: dict[str, Any]) -> dict[str, Any]:
    if figures.get("recording_skate_mps"):
        figures["skate_ratio"] = figures["skate_mps"] / figures["recording_skate_mps"]
    paths = muscle_paths(model, reference.qpos)
    named: dict[str, Any] = {
        str(kind): {str(muscle): frames.tolist() for muscle, frames in events.groupby("muscle")["frame"]}
        for kind, events in paths.events().groupby("kind")
    }
    named["out_of_range"] = paths.out_of_range()["fraction"].round(3).to_dict()
    return {"clip": clip, "frames": reference.num_frames, **figures, "muscles": named}


def summary(rows: Sequence[Figures]) -> dict[str, dict[str, float]]:
    """Median, 95th percentile and worst over clips of each figure; the end that the bar bounds is the worst."""
    result = {}
    for bar in BARS:
        values = np.array([row[bar.key] for row in rows if row.get(bar.key) is not None], dtype=float)
        if len(values):
            low = bar.most == np.inf and bar.least > -np.inf
            tail, worst = np.percentile(values, 5 if low else 95), values.min() if low else values.max()
            if bar.most < np.inf and bar.least > -np.inf:  # bounded at both ends
                worst = max(values, key=bar.excess)
            result[bar.key] = {"median": float(np.median(values)), "p95": float(tail), "worst": float(worst)}
    return result


def failures(row: Figures) -> list[tuple[float, str]]:
    """The bars that a clip misses, and by how much: (share of the bar, in words), the worst first."""
    missed = [(bar.excess(row.get(bar.key)), f"{bar.label} {_shown(bar, row.get(bar.key))}") for bar in BARS]
    return sorted((item for item in missed if item[0] > 0), reverse=True)


def worst_clips(rows: Sequence[dict[str, Any]], count: int = 5) -> list[dict[str, Any]]:
    """The clips that miss most bars, and among these by the largest shares, with what they miss."""
    faults = {row["clip"]: failures(row) for row in rows}
    order = sorted(
        faults, key=lambda clip: (len(faults[clip]), sum(min(f[0], 10.0) for f in faults[clip])), reverse=True
    )
    return [{"clip": clip, "misses": [words for _, words in faults[clip]]} for clip in order[:count] if faults[clip]]


def _shown(bar: Bar, value: float | None) -> str:
    return "" if value is None else f"{bar.scale * value:.3g}"


def _coloured(bar: Bar, value: float | None) -> str:
    if value is None or (bar.most == np.inf and bar.least == -np.inf):
        return _shown(bar, value)
    return f"[{'red' if bar.excess(value) else 'green'}]{_shown(bar, value)}[/]"


def _bounds(bar: Bar) -> str:
    low = f">= {bar.scale * bar.least:g} " if bar.least > -np.inf else ""
    return low + (f"<= {bar.scale * bar.most:g}" if bar.most < np.inf else "")


def show(console: Console, rows: Sequence[dict[str, Any]]) -> None:
    """The table of figures, and of many clips the worst."""
    few = len(rows) <= FEW
    overall = summary(rows)
    columns = [row["clip"] for row in rows] if few else ["median", "95th percentile", "worst"]
    table = Table(title=f"{len(rows)} clips")
    for column in ("", "bar", *columns, "GMR-Fit", "paper", "recording"):
        table.add_column(column, no_wrap=column in ("", "bar"))
    for bar in BARS:
        if bar.key in overall:
            values = [row.get(bar.key) for row in rows] if few else list(overall[bar.key].values())
            table.add_row(
                bar.label, _bounds(bar), *(_coloured(bar, v) for v in values), *(_shown(bar, v) for v in bar.gmr)
            )
    console.print(table)
    missed = sum(bool(failures(row)) for row in rows)
    console.print(f"{missed} of {len(rows)} clips miss a bar")
    for row in rows:
        for muscle, frames in row["muscles"].get("break", {}).items():
            console.print(f"{row['clip']}: tendon inconsistent: {muscle} in frames {frames}", soft_wrap=True)
    if not few:
        for clip in worst_clips(rows):
            console.print(f"{clip['clip']}: {'; '.join(clip['misses'])}", soft_wrap=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="*", type=Path, help="recordings (AMASS, DeepMimic), or folders of them")
    parser.add_argument("--references", nargs="+", type=Path, help="folders of references, instead of clips")
    parser.add_argument("--model", default="myofullbody")
    parser.add_argument("--body", default="auto", help="auto, stand-in, smpl, smplh or smplx")
    parser.add_argument("--dt", type=float, default=0.02, help="s between frames")
    parser.add_argument("--mink", action="store_true", help="solve the same frame by frame with mink and daqp")
    parser.add_argument(
        "--mink-tolerance", type=float, default=1e-4, help="m of weighted error by which a last step may help"
    )
    parser.add_argument(
        "--scale",
        nargs="+",
        type=int,
        metavar="FRAMES",
        help="only: musclewarp retarget of the clips, repeated up to these",
    )
    parser.add_argument("--workers", type=int, default=available_threads(), help="processes of --scale")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, the table on stderr")
    parser.add_argument("--line", type=Path, help="append a JSON line of all figures to this file")
    options = parser.parse_args()
    if bool(options.clips) == bool(options.references):
        parser.error("give clips, or --references")
    console = Console(stderr=options.json, width=150)
    packages = {name: version(name) for name in ("musclewarp", "mujoco", "torch")}
    paths = [p for path in options.clips for p in (find_motions(path) if path.is_dir() else [path])]
    if options.scale:
        how = options.model, options.body, options.dt, options.workers
        runs = [measure_folder(paths, frames, *how) for frames in options.scale]
        show_runs(console, runs)
        if options.json:
            print(json.dumps({"model": options.model, "workers": options.workers, "runs": [asdict(r) for r in runs]}))
        return
    model, rows, failed = model_of_rate(options.model, options.dt), [], {}
    if options.references:
        rows = read_references(options.references, model)
    else:
        packages |= versions() if options.mink else {}
        mink = MinkSolver(model, options.mink_tolerance) if options.mink else None
        for path in track(paths, "retargeting", console=Console(stderr=True), transient=True):
            try:
                rows.append(measure(path, model, options.body, options.dt, mink))
            except MusclewarpError as error:
                failed[str(path)] = str(error)
    for path, reason in failed.items():
        console.print(f"[red]{path}[/]: {reason}", soft_wrap=True)
    if not rows:
        raise SystemExit("no clip could be retargeted")
    show(console, rows)
    if options.json:
        result = {"model": options.model, "dt": options.dt, "body": options.body, "versions": packages}
        result |= {"cores": available_threads(), "bars": [asdict(bar) for bar in BARS], "clips": rows}
        result |= {"summary": summary(rows), "worst": worst_clips(rows), "failed": failed}
        print(json.dumps(_finite(result)))
    if options.line:
        figures = [{key: value for key, value in row.items() if key != "muscles"} for row in rows]
        line = {"model": options.model, "dt": options.dt, "versions": packages, "clips": figures, "failed": failed}
        with open(options.line, "a") as file:
            file.write(json.dumps(_finite(line)) + "\n")


def _finite(value: Any) -> Any:
    """JSON has no infinities: a bound that is none becomes null."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


if __name__ == "__main__":
    main()
