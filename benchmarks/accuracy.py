"""What a larger time step, another integrator or fewer solver iterations cost in accuracy, and gain in speed.

    python benchmarks/accuracy.py --model myofullbody --json

From states along a reference (those of the full body stand on the floor), worlds follow it for 0.1 s under muscle
excitations of 20 ms steps, recorded from a stretch reflex in the most exact run, and under joint moments of a weak PD
controller, evaluated in every physics step. The same is done with each setting; what differs from Euler at 0.1 ms is
its error. Contact makes any such movement sensitive: the row of 0.2 ms shows where the comparison itself ends.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from mujoco.batch import Batch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from musclewarp.engines.native import available_threads
from musclewarp.models import MuscleModel, PhysicsConfig, load_model
from musclewarp.motion.amass import read_amass
from musclewarp.references import Reference
from musclewarp.retarget import retarget

CLIPS = {"bimanual": "arms.npz", "myofullbody": "whole_body.npz"}
CONTROL_DT, STEPS, STATES = 0.02, 5, 50
EXACT, FLOOR = 1e-4, 2e-4
TIMESTEPS = (5e-4, 1e-3, 2e-3, 2.5e-3, 4e-3, 5e-3)
INTEGRATORS = ("EULER", "IMPLICITFAST", "RK4")
ITERATIONS = (100, 10, 4)


@dataclass(frozen=True)
class Setting:
    """How to integrate."""

    timestep: float
    integrator: str = "EULER"
    iterations: int = 100


@dataclass(frozen=True, eq=False)
class Run:
    """After each control step `joints (S, N, J)` rad and `muscles (S, N, M)` N; `floor (N, 3)` N, the mean in time."""

    joints: np.ndarray
    muscles: np.ndarray
    floor: np.ndarray
    excitations: np.ndarray


def starting_frames(model: MuscleModel, reference: Reference) -> np.ndarray:
    """Frames spread over the reference; of a model with feet, only those in which it touches the floor."""
    frames = np.arange(1, reference.num_frames - STEPS - 1)
    if model.feet:
        data, touching = mujoco.MjData(model.mj_model), []
        for frame in frames:
            data.qpos[:] = reference.qpos[frame]
            mujoco.mj_forward(model.mj_model, data)
            touching.append(data.sensor("floor").data[0] > 0)
        frames = frames[np.array(touching)]
    return frames[np.linspace(0, len(frames) - 1, STATES).round().astype(int)]


def with_options(model: MuscleModel, setting: Setting) -> mujoco.MjModel:
    """The model, integrated as `setting` says."""
    m = model.mj_model.__copy__()
    m.opt.timestep, m.opt.iterations = setting.timestep, setting.iterations
    m.opt.integrator = getattr(mujoco.mjtIntegrator, f"mjINT_{setting.integrator}")
    return m


def simulate(
    model: MuscleModel, reference: Reference, frames: np.ndarray, setting: Setting, excitations: np.ndarray | None
) -> Run:
    """0.1 s from each of `frames`, under `excitations (S, N, M)`, or under a stretch reflex if None."""
    m = with_options(model, setting)
    batch = Batch(m, len(frames), available_threads(), persistent=True)
    batch.reset()
    for name, value in (("qpos", reference.qpos[frames]), ("qvel", reference.qvel[frames])):
        batch.bind(name)[:] = value
    batch.bind("act")[:] = 0.05 if reference.activations is None else reference.activations[frames]
    batch.forward()
    lengths, force, sensors = (batch.bind(name) for name in ("actuator_length", "actuator_force", "sensordata"))
    qpos, qvel, applied = (batch.bind(name) for name in ("qpos", "qvel", "qfrc_applied"))
    joints, dofs = model.joint_qpos, model.joint_dofs
    stiffness, damping = 100.0 * m.dof_M0[dofs], 10.0 * m.dof_M0[dofs]  # rad/s² per rad, and per rad/s
    start, optimal = lengths.copy(), model.muscles["optimal_fibre_length"].to_numpy()
    substeps = round(CONTROL_DT / setting.timestep)
    floor, found = np.zeros((len(frames), 3)), []
    for step in range(STEPS):
        if excitations is None:
            known = 0.05 if reference.activations is None else reference.activations[frames + step]
            ctrl = np.clip(known + 2.0 * (lengths - start) / optimal, 0.0, 1.0)
        else:
            ctrl = excitations[step]
        batch.bind("ctrl")[:] = ctrl
        for substep in range(substeps):
            t = step + substep / substeps
            whole, part = int(t), t - int(t)
            goal = [
                (1 - part) * x[frames + whole] + part * x[frames + whole + 1] for x in (reference.qpos, reference.qvel)
            ]
            error, lag = goal[0][:, joints] - qpos[:, joints], goal[1][:, dofs] - qvel[:, dofs]
            applied[:, dofs] = stiffness * error + damping * lag
            batch.step()
            if model.feet:
                floor += sensors[:, model.sensor_slice("floor")][:, 1:4] / (STEPS * substeps)
        found.append((qpos[:, joints].copy(), force.copy(), ctrl))
    return Run(*(np.array(x) for x in list(zip(*found, strict=True))[:2]), floor, np.array([x[2] for x in found]))


def errors(model: MuscleModel, run: Run, exact: Run) -> dict[str, float | None]:
    """Means over states, instants and joints or muscles."""
    weight = float(model.mj_model.body_mass.sum()) * 9.81
    peak = model.muscles["peak_force"].to_numpy()
    floor = np.linalg.norm(run.floor - exact.floor, axis=-1).mean() / weight
    return {
        "joint_rad": float(np.abs(run.joints - exact.joints).mean()),
        "joint_max_rad": float(np.abs(run.joints - exact.joints).max()),
        "muscle_force_over_peak": float((np.abs(run.muscles - exact.muscles) / peak).mean()),
        "floor_force_over_weight": float(floor) if model.feet else None,
    }


def speeds(model: MuscleModel, reference: Reference, frames: np.ndarray, settings: Sequence[Setting]) -> list[float]:
    """Control steps per second and world, each setting in turn in short slices; medians."""
    batches, times = [], [[] for _ in settings]
    for setting in settings:
        batches.append(Batch(with_options(model, setting), len(frames), available_threads()))
    for _ in range(5):
        for batch, setting, spent in zip(batches, settings, times, strict=True):
            batch.reset()
            batch.bind("qpos")[:], batch.bind("qvel")[:] = reference.qpos[frames], reference.qvel[frames]
            started = time.perf_counter()
            batch.step(nstep=round(CONTROL_DT / setting.timestep))
            spent.append(time.perf_counter() - started)
    return [len(frames) / float(np.median(spent)) for spent in times]


def measure(name: str, clip: Path) -> dict[str, Any]:
    """All settings on one model."""
    model = load_model(name, physics=PhysicsConfig(0.005, 4))
    reference = retarget(read_amass(clip), model)
    frames = starting_frames(model, reference)
    exact = simulate(model, reference, frames, Setting(EXACT), None)
    settings = [Setting(FLOOR), *(Setting(dt, i) for i, dt in itertools.product(INTEGRATORS, TIMESTEPS))]
    settings += [Setting(dt, iterations=n) for n, dt in itertools.product(ITERATIONS[1:], (2e-3, 5e-3))]
    rows = []
    for setting, rate in zip(settings, speeds(model, reference, frames, settings), strict=True):
        rows.append({**vars(setting), "control_steps_per_s": rate})
    base = next(row for row in rows if (row["timestep"], row["integrator"]) == (2e-3, "EULER"))["control_steps_per_s"]
    for row, setting in zip(track(rows, name), settings, strict=True):
        run = simulate(model, reference, frames, setting, exact.excitations)
        row |= {"speed_over_euler_2ms": row["control_steps_per_s"] / base, **errors(model, run, exact)}
    return {
        "model": name,
        "clip": clip.stem,
        "states": len(frames),
        "rows": rows,
        "versions": {package: version(package) for package in ("musclewarp", "mujoco", "musclemimic-models")},
    }


def show(console: Console, result: dict[str, Any]) -> None:
    """One model's table."""
    columns = (
        "integrator",
        "dt, ms",
        "iterations",
        "joints, rad",
        "largest",
        "muscles, % of peak",
        "floor, % of weight",
    )
    title = f"{result['model']}: error after 0.1 s against Euler at 0.1 ms, {result['states']} states"
    table = Table(*columns, "speed", title=title)
    for row in result["rows"]:
        floor = row["floor_force_over_weight"]
        table.add_row(
            row["integrator"].lower(),
            f"{1e3 * row['timestep']:g}",
            str(row["iterations"]),
            f"{row['joint_rad']:.1e}",
            f"{row['joint_max_rad']:.1e}",
            f"{100 * row['muscle_force_over_peak']:.3f}",
            "" if floor is None else f"{100 * floor:.2f}",
            f"{row['speed_over_euler_2ms']:.2f}",
        )
    console.print(table)


def main() -> None:
    """Print a table per model, and on request one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", choices=sorted(CLIPS), default=sorted(CLIPS))
    parser.add_argument("--clip", type=Path, help="a recording in AMASS layout (default: the bundled one)")
    parser.add_argument("--json", action="store_true", help="one JSON line per model on stdout, the tables on stderr")
    options = parser.parse_args()
    console = Console(stderr=options.json, width=130)
    bundled = Path(__file__).resolve().parents[1] / "data" / "motions" / "demo"
    for name in options.model:
        result = measure(name, options.clip or bundled / CLIPS[name])
        show(console, result)
        if options.json:
            print(json.dumps(result))


if __name__ == "__main__":
    main()
