"""What the subcommands of `musclewarp` do, for calling from Python as well."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from musclewarp.engines import make_engine
from musclewarp.engines.health import check_dump_model, load_dump, replay, varied_fields
from musclewarp.envs import PushConfig
from musclewarp.errors import ConfigError, FileError
from musclewarp.evaluation.evaluator import evaluate
from musclewarp.evaluation.trial import SUFFIX as TRIAL_SUFFIX
from musclewarp.evaluation.trial import Trial
from musclewarp.files import write_text
from musclewarp.learning.policy import Policy, load_policy
from musclewarp.models import MuscleModel, PhysicsConfig, load_model, load_named, model_of_rate
from musclewarp.references.library import ReferenceLibrary, load_library
from musclewarp.references.loop import cut_loop
from musclewarp.references.reference import SUFFIX, Reference
from musclewarp.remade import references_of
from musclewarp.retarget.folder import Settings
from musclewarp.retargeting import retarget_paths

_ALIKE = 0.05  # m between the ends of a loop; above it feet slide and the body is lifted at the seam
_SOURCE = Path(__file__).resolve().parents[1]
_ROWS = (  # metric, how a person reads it, factor
    ("success", "success", 1.0),
    ("frame_coverage", "frame coverage", 1.0),
    ("early_termination", "early termination, published", 1.0),
    ("relative_site_error_m", "site error, cm", 100.0),
    ("relative_site_error_to_recording_m", "site error to the recording, cm", 100.0),
    ("joint_error_rad", "joint error, degrees", 180 / np.pi),
    ("joint_velocity_error_rad_s", "joint velocity error, rad/s", 1.0),
)


def loop_reference(path: Path, out: Path, times: tuple[float, float] | None = None, straight: bool = False) -> Path:
    """Write the part of a reference that repeats as a loop, by default the best from heel strike to heel strike."""
    recording = Reference.load(path)
    name, dt = recording.model, recording.dt
    model = model_of_rate(name, dt)
    loop_name = out.name.removesuffix(SUFFIX)
    loop = cut_loop(model, recording, times, straight=straight, name=loop_name)
    loop.save(out)
    first, last = (frame * dt for frame in loop.source["loop_frames"])
    print(f"{out}: {loop.duration:.2f} s, from {first:.2f} to {last:.2f} s of '{recording.name}'")
    for key in ("seam_mismatch_m", "seam_speed_ratio", "seam_acceleration_ratio", "cycle_distance_m", "cycle_yaw_rad"):
        if key in loop.quality:
            print(f"  {key} {loop.quality[key]:.3f}")
    if loop.quality["seam_mismatch_m"] > _ALIKE:
        print(f"  its ends are not alike (over {_ALIKE} m apart): it hardly repeats; choose another part with --times")
    return out


def open_policy(
    path: Path, references: Sequence[Path] | None = None, engine: str = "auto", *engines: str
) -> tuple[Policy, MuscleModel, list[ReferenceLibrary]]:
    """A policy to evaluate on `engine`, its model, and `references`, by default its own, on each engine's device.

    Raises:
        FileError: the policy has learned on another version of the model.
    """
    policy = load_policy(path)
    config = dataclasses.replace(policy.env, engine=engine, dump_folder="")
    policy = dataclasses.replace(policy, env=config)
    model = load_model(config.model, config.fingers, config.physics)
    if policy.model_hash != model.hash:
        raise FileError(
            f"{path}: learned on another version of '{model.name}' ({policy.model_hash[:8]}, this one is "
            f"{model.hash[:8]}); its numbers would mean nothing. Install the musclemimic-models it was trained with."
        )
    cuda = torch.cuda.is_available()
    with TemporaryDirectory() as folder:
        found = list(references or references_of(path, policy, Path(folder)))
        gone = any(Path(file).is_relative_to(folder) for file in found)  # soon: they cannot stream from there
        libraries = [
            load_library(
                found,
                model,
                "cuda" if cuda and name in ("auto", "warp") else "cpu",
                0.0 if gone else config.library_mb,
            )
            for name in (engine, *engines)
        ]
    policy.actor.to(libraries[0].device)
    return policy, model, libraries


def evaluate_policy(
    policy_path: Path,
    references: Sequence[Path] | None = None,
    json_path: Path | None = None,
    video_path: Path | None = None,
    report_path: Path | None = None,
    trials_folder: Path | None = None,
    engine: str = "auto",
    seconds: float | None = None,
    episodes: int = 0,
    other_engine: str | None = None,
    push: tuple[float, float] | None = None,
    push_body: str = "",
) -> dict[str, object]:
    """Measure a policy beside doing nothing and not having learned; print a table, write what is asked for.

    Loops are followed for `seconds`, by default for one cycle; `episodes` and `other_engine` as in `evaluate`.
    `push` is the force in N and the time in s of pushes that come every 2 s or so, on `push_body`, see `PushConfig`.
    """
    pushes = PushConfig((push[0], push[0]), push[1], body=push_body) if push else PushConfig(body=push_body)
    if other_engine not in (None, "native", "warp"):
        raise ConfigError(f"--compare-engine is '{other_engine}'; choose native or warp")
    engines = [engine, other_engine] if other_engine else [engine]
    policy, model, (library, *others) = open_policy(policy_path, references, *engines)
    other = (other_engine, others[0]) if other_engine else None
    with Progress(console=Console(stderr=True), transient=True) as progress:
        tasks: dict[str, object] = {}

        def on_step(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = progress.add_task(name.replace("_", " "), total=total)
            progress.update(tasks[name], completed=done)  # type: ignore[arg-type]

        result, trials = evaluate(policy, model, library, on_step, seconds, episodes, other, pushes)
    print_summary(result)
    if trials_folder is not None:
        for name, group in trials.items():
            for number, trial in enumerate(group):
                who = f"episode_{number:03d}" if name == "episodes" else trial.controller
                trial.save(trials_folder / f"{trial.clip}.{who}{TRIAL_SUFFIX}")
    if json_path is not None:
        write_text(json_path, json.dumps(result, indent=2, allow_nan=False) + "\n")
    if video_path is not None:
        render_worst(model, trials["policy"], video_path)
    if report_path is not None:
        from musclewarp.viz.report import write_report

        context = {name: version(name) for name in ("musclewarp", "mujoco", "torch", "torchrl", "lightning")}
        context |= {"policy": str(policy_path), "frames trained": f"{policy.frames:,}"}
        write_report(report_path, model, result, trials, video_path, context)
    for path in filter(None, (trials_folder, json_path, video_path, report_path)):
        print(f"wrote {path}")
    return result


def render_worst(model: MuscleModel, trials: Sequence[Trial], path: Path) -> None:
    """A video of the trial with the largest error."""
    from musclewarp.evaluation.metrics import relative_site_error
    from musclewarp.viz.video import render_trial

    worst = max(trials, key=lambda trial: float(relative_site_error(trial).mean()))
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("video", total=None)
        render_trial(
            model, worst, path, on_frame=lambda done, total: progress.update(task, completed=done, total=total)
        )


def print_summary(result: dict[str, Any]) -> None:
    """The table of `evaluate`: the policy beside doing nothing and not having learned."""
    names = ["policy", "untrained", "zero_excitation", *(name for name in ("other_engine",) if name in result)]
    table = Table(title="tracking, all frames")
    table.add_column("")
    for name in names:
        head = f"policy on {result[name]['engine']}" if name == "other_engine" else name.replace("_", " ")
        table.add_column(head, justify="right")
    for key, label, factor in _ROWS:
        row = [f"{factor * result[name][key]:.2f}" for name in names]
        if intervals := result["policy"]["intervals"]:
            row[0] += " ({:.2f} to {:.2f})".format(*(factor * end for end in intervals[key]))
        table.add_row(label, *row)
    console = Console()
    console.print(table)
    if intervals := result["policy"]["intervals"]:
        console.print("in brackets: 95 % intervals over the clips")
    if pushes := result.get("pushes"):
        console.print(
            f"pushed by {pushes['force'][1]:g} N for {pushes['seconds']:g} s in every {pushes['interval']:g} s; lasts "
            + ", ".join(f"{result[name]['survival_s']:.2f} s ({name.replace('_', ' ')})" for name in names)
        )
    if episodes := result.get("episodes"):
        console.print(
            f"{episodes['number']} episodes from random frames: lasts {episodes['survival_s']:.2f} s on average "
            f"(loops for {episodes['seconds']:g} s); while it does, sites "
            f"{100 * (episodes['survived'] or {}).get('relative_site_error_m', float('nan')):.2f} cm off"
        )


def replay_dump(dump: Path, engine_name: str | None = None) -> int:
    """Take a failing step again, on the engine that it failed on or another; 0 if it fails again, 1 if it does not."""
    arrays, header = load_dump(dump)
    physics = PhysicsConfig(float(str(header["timestep"])), int(str(header["substeps"])))
    name = str(header["model"])
    model = load_named(name, physics)
    check_dump_model(arrays, header, model)
    engine_name = engine_name or str(header["engine"])
    engine = make_engine(engine_name, model, 1, varied=varied_fields(arrays))
    failed = replay(engine, arrays)
    bad = [dof for dof, value in zip(model.dof_names, engine.qvel[0].tolist(), strict=True) if not np.isfinite(value)]
    before, now = ", ".join(header["faults"]), ", ".join(engine.fault_counts())
    print(f"{dump}: the step {'fails again' if failed else 'does not fail'} on the {engine_name} engine")
    print(f"faults then: {before}; now: {now or 'none'}")
    if not failed and "phase" in before:
        print("(the contact buffer that overflowed is shared by all worlds of a run; one world alone has room in it)")
    if bad:
        print(f"not finite afterwards: {', '.join(bad[:10])}{' ...' if len(bad) > 10 else ''}")
    return 0 if failed else 1


def run_demo(out: Path, minutes: float | None = None) -> int:
    """Everything on the bundled clip; the exit status of the part that failed, or 0.

    Training that was interrupted goes on; delete `out / "run"` to start anew.
    """
    clip, config = _SOURCE / "data/motions/demo/arms.npz", _SOURCE / "configs/bimanual_cpu.yaml"
    if not clip.is_file() or not config.is_file():
        raise FileError(f"{clip}: the demo needs a checkout of the repository, with its data/ and configs/")
    started = time.perf_counter()
    console = Console(stderr=True)
    console.rule("1/3  retarget")
    retarget_paths([clip], Settings("bimanual"), out / "refs", overwrite=True)
    console.rule("2/3  train: 64 muscles learn to move two arms")
    arguments = ["fit", "--config", str(config), "--env.references", str(out / "refs"), "--out", str(out / "run")]
    if minutes is not None:
        seconds = round(60 * minutes)
        arguments += ["--trainer.max_time", f"00:{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"]
    before = signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C is also the child's, which saves and then ends
    try:
        status = subprocess.run([sys.executable, "-m", "musclewarp.train", *arguments], check=False).returncode
    finally:
        signal.signal(signal.SIGINT, before)
    if status:
        return status
    console.rule("3/3  evaluate")
    evaluate_policy(
        out / "run" / "policy.safetensors",
        json_path=out / "evaluation.json",
        video_path=out / "video.mp4",
        report_path=out / "report.html",
        trials_folder=out / "trials",
    )
    console.print(f"{time.perf_counter() - started:.0f} s. Open {out / 'report.html'} and {out / 'video.mp4'}.")
    return 0
