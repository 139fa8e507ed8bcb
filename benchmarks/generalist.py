"""What one policy for many clips can do, clip by clip, on the people it learned from and on those it has never seen.

    python benchmarks/generalist.py runs/generalist_gpu/policy.safetensors refs/split.yaml --json generalist.json

Every clip is followed once from its first frame, as by `musclewarp evaluate`. "early" is the share of clips that pass a
published threshold (`evaluation.metrics.EARLY`). Beside each clip stands how good its reference is, so that one sees
whether it fails because nobody could follow: a joint moment that the muscles lack, frames that no activations produce,
feet in the floor.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any

from rich.console import Console
from rich.table import Table

from musclewarp.commands import open_policy
from musclewarp.evaluation.evaluator import policy_controller, run_trials
from musclewarp.evaluation.metrics import frame_errors, summarize
from musclewarp.evaluation.trial import Trial
from musclewarp.files import write_text
from musclewarp.references.library import find_references
from musclewarp.references.reference import read_reference_header
from musclewarp.references.split import PARTS, load_split

QUALITY = {  # figure of a reference: title, factor
    "missing_moment_nm": ("missing, Nm", 1.0),
    "impossible_frames": ("impossible, %", 100.0),
    "penetration_max_m": ("in the floor, mm", 1000.0),
    "peak_site_speed_m_s": ("fastest, m/s", 1.0),
}
FIGURES = {
    "frame_coverage": ("lasts, %", 100.0),
    "relative_site_error_m": ("site error, cm", 100.0),
    "root_error_m": ("root error, cm", 100.0),
}


def clip_row(trial: Trial, part: str, subject: str, quality: dict[str, float]) -> dict[str, Any]:
    """What is told of a clip: its part, how it went, when and by what it first failed, and its reference's quality."""
    numbers, failed = summarize([trial]), ""
    if not trial.success:
        curves = frame_errors(trial)
        at = {key: round(float(curves[key][trial.failed_at]), 3) for key in ("relative_site_error_m", "root_error_m")}
        failed = (
            f"{trial.failed_at * trial.dt:.2f} s, sites {at['relative_site_error_m']} m, root {at['root_error_m']} m"
        )
    return {
        "clip": trial.clip,
        "part": part,
        "subject": subject,
        "seconds": (trial.num_frames - 1) * trial.dt,
        **{key: numbers[key] for key in ("early_termination", "success", "survival_s", *FIGURES)},
        "failed": failed,
        **{key: quality.get(key) for key in QUALITY},
    }


def print_table(rows: Sequence[dict[str, Any]]) -> None:
    """Each part's clips, the worst first; what the clips that fail have in common; and the parts' rates."""
    console, titles = Console(), {**FIGURES, **QUALITY}
    parts = {part: [row for row in rows if row["part"] == part] for part in PARTS}
    for part, group in parts.items():
        table = Table("clip", *(title for title, _ in titles.values()), "first failure", title=part)
        for row in sorted(group, key=lambda row: row["frame_coverage"]):
            numbers = ("" if row[key] is None else f"{factor * row[key]:.1f}" for key, (_, factor) in titles.items())
            table.add_row(row["clip"], *numbers, row["failed"])
        console.print(table)
    table = Table("median of", "clips", *(title for title, _ in QUALITY.values()))
    for name, early in (("clips that end early", True), ("the others", False)):
        group = [row for row in rows if bool(row["early_termination"]) == early]
        figures = {key: [row[key] for row in group if row[key] is not None] for key in QUALITY}
        medians = (f"{QUALITY[key][1] * median(found):.1f}" if found else "" for key, found in figures.items())
        table.add_row(name, str(len(group)), *medians)
    console.print(table)
    for part, group in parts.items():
        early, error = (fmean(row[key] for row in group) for key in ("early_termination", "relative_site_error_m"))
        console.print(
            f"{part}: {len(group)} clips of {len({row['subject'] for row in group})} subjects, early termination "
            f"{early:.3f}, sites {100 * error:.2f} cm off (means over clips)"
        )


def main() -> None:
    """Evaluate both parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("policy", type=Path, help="a .ckpt of `musclewarp fit`, or a policy .safetensors")
    parser.add_argument("split", type=Path, help="a split file in the folder of its references")
    parser.add_argument("--engine", default="auto", help="auto (default), native or warp")
    parser.add_argument("--json", type=Path, help="write a row for each clip, and the parts' summaries, here")
    options = parser.parse_args()
    split, rows, parts = load_split(options.split), [], {}
    for part in PARTS:
        place = Path(f"{options.split}:{part}")
        policy, model, (library,) = open_policy(options.policy, [place], options.engine)
        headers = {header["name"]: header for header in map(read_reference_header, find_references(place))}
        subjects = [subject for subject, clips in split.parts[part].items() for _ in clips]
        trials = run_trials(policy.env, model, library, policy_controller(policy), "policy")
        parts[part] = summarize(trials)
        rows += [
            clip_row(trial, part, subject, headers[trial.clip]["quality"])
            for trial, subject in zip(trials, subjects, strict=True)
        ]
    print_table(rows)
    if options.json:
        write_text(options.json, json.dumps({"parts": parts, "clips": rows}, indent=2, allow_nan=False) + "\n")


if __name__ == "__main__":
    main()
