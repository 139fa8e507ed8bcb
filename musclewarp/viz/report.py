"""One self-contained HTML page about a policy: numbers, figures, video, provenance."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from matplotlib.figure import Figure

from musclewarp.evaluation.evaluator import SuccessRule
from musclewarp.evaluation.metrics import relative_site_error
from musclewarp.evaluation.trial import Trial
from musclewarp.models import MuscleModel
from musclewarp.viz import plots
from musclewarp.viz.page import format_number, html_table, key_value_table, png_figure, write_page

CONTROLLERS = ("policy", "untrained", "zero_excitation")
_SHOWN_CLIPS = 3
_METRICS = (  # key of `evaluation.metrics.summarize`, how a person reads it, factor, decimals
    ("success", "success (share of clips)", 1.0, 2),
    ("frame_coverage", "frame coverage (share of frames before the first failure)", 1.0, 3),
    ("relative_site_error_m", "relative site error against the reference (cm)", 100.0, 2),
    ("relative_site_error_to_recording_m", "relative site error against the recording (cm)", 100.0, 2),
    ("joint_error_rad", "joint error (degrees)", 180.0 / math.pi, 2),
    ("joint_velocity_error_rad_s", "joint velocity error (rad/s)", 1.0, 3),
)


def write_report(
    path: str | Path,
    model: MuscleModel,
    result: Mapping[str, Any],
    trials: Mapping[str, Sequence[Trial]],
    video: str | Path | None,
    context: Mapping[str, object],
) -> Path:
    """Write the page; figures are inside it, the video is linked relative to it.

    Args:
        path: the HTML file.
        model: the model of the trials.
        result: what `evaluation.evaluate` returns first.
        trials: by controller, as `evaluation.evaluate` returns.
        video: an mp4 to show, if any.
        context: provenance to list: name -> value, such as frames trained and versions.
    """
    path = Path(path)
    names = [name for name in CONTROLLERS if name in result]
    parts = [
        f"<h1>Tracking with {len(model.muscles)} muscles: {escape(model.name)}</h1>",
        "<p class='note'>Every clip once from its first frame, deterministic, without a reset after a failure.</p>",
        _summary_table(result, names),
        _rule_note(model),
        "" if video is None else _video(Path(video), path),
        "<h2>Clips</h2>",
        _clip_table(result.get("clips", [])),
        *_clip_figures(model, trials),
        "<h2>Provenance</h2>",
        _provenance(model, context),
    ]
    return write_page(path, f"musclewarp: {model.name}", parts)


def _summary_table(result: Mapping[str, Any], names: Sequence[str]) -> str:
    rows: list[list[str]] = []
    for key, label, factor, decimals in _METRICS:
        rows.append([label, *(format_number(result[name].get(key), factor, decimals) for name in names)])
    for key, label, factor, decimals in _METRICS[2:]:  # success and coverage mean nothing over survived frames
        survived = [(result[name].get("survived") or {}).get(key) for name in names]
        rows.append([f"{label}, survived frames", *(format_number(value, factor, decimals) for value in survived)])
    return html_table(["", *(name.replace("_", " ") for name in names)], rows)


def _rule_note(model: MuscleModel) -> str:
    limit = 100 * SuccessRule.of(model).site_error
    falling = " or the body falls" if model.feet else ""
    return (
        f"<p class='note'>A clip fails at the first frame whose relative site error exceeds {limit:.0f} cm{falling}. "
        "Errors are means over all frames unless they say 'survived frames': those before the first failure.</p>"
    )


def _clip_table(clips: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        [str(clip["name"]), *(format_number(clip.get(key), factor, decimals) for key, _, factor, decimals in _METRICS)]
        for clip in clips
    ]
    short = ("success", "coverage", "site error (cm)", "to recording (cm)", "joints (degrees)", "joints (rad/s)")
    return html_table(["clip (policy)", *short], rows)


def _clip_figures(model: MuscleModel, trials: Mapping[str, Sequence[Trial]]) -> list[str]:
    """The figures of the clips that the policy tracks worst."""
    shown = sorted(trials.get("policy", ()), key=lambda trial: -float(relative_site_error(trial).mean()))[:_SHOWN_CLIPS]
    parts: list[str] = []
    for trial in shown:
        of_clip = {name: other for name, group in trials.items() for other in group if other.clip == trial.clip}
        limit = SuccessRule.of(model).site_error
        makers: list[tuple[str, Callable[[], Figure]]] = [
            ("Relative site error over time.", lambda c=of_clip, k=limit: plots.tracking_error(c, k)),
            ("Joint angles of the policy against the reference.", lambda t=trial: plots.joint_angles(t)),
            ("Muscle activations of the policy.", lambda t=trial: plots.activations(t, model)),
            ("Paths relative to the root.", lambda t=trial: plots.paths(t)),
        ]
        if trial.feet:
            makers.append(("Ground reaction force of the policy.", lambda t=trial: plots.ground_reaction(t)))
        parts.append(f"<h3>{escape(trial.clip)}</h3>")
        parts += [png_figure(make(), caption) for caption, make in makers]
    return parts


def _video(video: Path, page: Path) -> str:
    link = quote(Path(os.path.relpath(video, page.parent)).as_posix())
    return (
        f"<h2>Video</h2><video controls loop muted src='{link}'></video>"
        "<p class='note'>Muscles go from blue-grey (not active) to red (fully active); the translucent body is the "
        "reference.</p>"
    )


def _provenance(model: MuscleModel, context: Mapping[str, object]) -> str:
    physics = model.physics
    rows = {
        "model": f"{model.name}, {len(model.muscles)} muscles",
        "model hash": model.hash,
        "physics": f"{1000 * physics.timestep:g} ms x {physics.substeps}, control at {1 / physics.control_dt:g} Hz",
        **context,
    }

    return key_value_table(rows)
