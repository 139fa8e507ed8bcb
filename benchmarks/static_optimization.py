"""How fast static optimisation is, and what its activations are good for.

    python benchmarks/static_optimization.py speed --seconds 60 --processes 2
    python benchmarks/static_optimization.py first_steps REFERENCE.ref.safetensors ... --out ROWS.jsonl

`speed`: frames per second, and peak memory per process, on random sways of a standing whole body (354 muscles), whose
ground forces are unknowns as in retargeting.

`first_steps`: worlds are put at random frames of references, with their muscles warm (the reference's activations),
cold (0), or as the environment has them where it knows nothing (0.05); all are then given the reference's activations
as excitations, delayed by nothing and corrected by nothing. Rows tell how far tracking sites are from the reference,
relative to the root, after each of five control steps.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from musclewarp.dynamics import Trajectory, accelerations, optimize_activations
from musclewarp.engines import make_engine
from musclewarp.files import write_text
from musclewarp.models import MuscleModel, load_model
from musclewarp.references import Reference
from musclewarp.references.quality import lowest_foot_heights
from musclewarp.references.reference import differentiate
from musclewarp.retarget.activations import CUTOFF_HZ

STARTS = {"warm": None, "cold": 0.0, "constant": 0.05}
STEPS = 5


def swaying(model: MuscleModel, seconds: float, seed: int = 0) -> np.ndarray:
    """Postures `(T, nq)` of a body whose joints swing slowly about standing, the lowest foot on the floor."""
    random, dt = np.random.default_rng(seed), model.physics.control_dt
    time_s = np.arange(round(seconds / dt)) * dt
    rate, phase = random.uniform(0.3, 1.0, len(model.joint_qpos)), random.uniform(0, 2 * np.pi, len(model.joint_qpos))
    low, high = model.mj_model.jnt_range[model.mj_model.dof_jntid[model.joint_dofs]].T
    rest = model.posture(model.layout.rest)[model.joint_qpos]
    reach = np.minimum(0.2, np.minimum(rest - low, high - rest)).clip(0.0)
    qpos = np.tile(model.posture(model.layout.rest), (len(time_s), 1))
    qpos[:, model.joint_qpos] += reach * np.sin(2 * np.pi * rate * time_s[:, None] + phase)
    qpos = model.couplings.project_qpos(torch.from_numpy(qpos)).numpy()
    qpos[:, 2] -= lowest_foot_heights(model, qpos)
    return qpos


def optimize_sway(seconds: float) -> dict[str, float]:
    """Speed and memory of this process on `seconds` of motion."""
    model = load_model("myofullbody")
    qpos, dt = swaying(model, seconds), model.physics.control_dt
    movement = Trajectory(qpos, differentiate(model, qpos, dt), accelerations(qpos, dt, model, CUTOFF_HZ))
    optimize_activations(model, movement[:16])  # compiles and allocates
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started, cpu = time.perf_counter(), time.process_time()
    found = optimize_activations(model, movement)
    return {
        "frames": len(qpos),
        "wall_s": time.perf_counter() - started,
        "cpu_s": time.process_time() - cpu,
        "peak_mb_before": before / 1024,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "impossible_frames": float(found.impossible.mean()),
    }


def measure_speed(seconds: float, processes: int) -> dict[str, Any]:
    """`seconds` of motion by each of some processes at once."""
    with ProcessPoolExecutor(processes) as pool:
        rows = list(pool.map(optimize_sway, [seconds] * processes))
    frames = sum(row["frames"] for row in rows)
    return {
        "case": "speed",
        "muscles": 354,
        "processes": processes,
        "frames": frames,
        "frames_per_s": frames / max(row["wall_s"] for row in rows),
        "frames_per_cpu_s": frames / sum(row["cpu_s"] for row in rows),
        "peak_mb": max(row["peak_mb"] for row in rows),
        "peak_mb_before": max(row["peak_mb_before"] for row in rows),
        "impossible_frames": rows[0]["impossible_frames"],
    }


def measure_first_steps(path: Path, worlds: int, seed: int = 0) -> list[dict[str, Any]]:
    """One row for each start, of the same random frames of one reference."""
    reference = Reference.load(path)
    model = load_model(reference.model)
    reference.check_model(model, path)
    if reference.activations is None:
        raise SystemExit(f"{path} has no activations; retarget it with them")
    engine = make_engine("native", model, worlds)
    frames = np.random.default_rng(seed).integers(0, reference.num_frames - STEPS, worlds)
    rows = []
    for start, level in STARTS.items():
        act = reference.activations[frames] if level is None else np.full((worlds, model.mj_model.nu), level)
        state = (torch.from_numpy(x).to(engine.dtype) for x in (reference.qpos[frames], reference.qvel[frames], act))
        engine.reset(torch.ones(worlds, dtype=torch.bool), *state)
        errors = []
        for step in range(1, STEPS + 1):
            engine.ctrl[:] = torch.from_numpy(reference.activations[frames + step])
            engine.step()
            sites = torch.stack([engine.sensor(f"{site}_pos") for site in model.sites], dim=1).double().numpy()
            wanted = reference.site_positions[frames + step]
            error = (sites - sites[:, :1]) - (wanted - wanted[:, :1])
            errors.append(np.linalg.norm(error[:, 1:], axis=-1).mean(axis=1))
        after = np.array(errors) * 100
        rows.append(
            {
                "case": "first_steps",
                "clip": reference.name,
                "model": model.name,
                "worlds": worlds,
                "start": start,
                "mean_cm": [round(float(value), 3) for value in after.mean(axis=1)],
                "p95_cm": [round(float(value), 3) for value in np.percentile(after, 95, axis=1)],
                "unhealthy": int(engine.unhealthy().sum()),
                "missing_moment_nm": reference.quality.get("missing_moment_nm"),
                "impossible_frames": reference.quality.get("impossible_frames"),
            }
        )
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Print rows as JSON lines, and write them to `--out`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", choices=("speed", "first_steps"))
    parser.add_argument("references", nargs="*", type=Path)
    parser.add_argument("--seconds", type=float, default=60.0, help="of motion, per process")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--worlds", type=int, default=256)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    if options.case == "speed":
        rows = [measure_speed(options.seconds, options.processes)]
    else:
        rows = [row for path in options.references for row in measure_first_steps(path, options.worlds)]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    print(text, end="")
    if options.out is not None:
        write_text(options.out, text)


if __name__ == "__main__":
    main()
