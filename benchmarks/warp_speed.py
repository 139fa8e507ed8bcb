"""Control steps per second of WarpEngine against bare `mujoco_warp.step`, and memory, compile time and overflows.

On CUDA, bare stepping is one graph of the same number of substeps. On Warp's CPU device it shows that it runs.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import mujoco_warp as mjw
import torch
import warp as wp

from musclewarp.engines.warp import WarpEngine
from musclewarp.models import PhysicsConfig, load_model

PHYSICS = {"bimanual": PhysicsConfig(0.005, 4), "myofullbody": PhysicsConfig(0.005, 4)}


def rate(step: Callable[[], None], worlds: int, seconds: float) -> float:
    """World-steps per second of `step`, which advances all worlds by one control step."""
    step()
    wp.synchronize()
    started, count = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        step()
        wp.synchronize()
        count += 1
    return worlds * count / (time.perf_counter() - started)


def bare_step(engine: WarpEngine) -> Callable[[], None]:
    """The simulator's own stepping of the engine's model and data: a graph on CUDA."""
    model, data, substeps = engine._m, engine._d, engine.model.physics.substeps

    def program() -> None:
        for _ in range(substeps):
            mjw.step(model, data)

    if engine.device.type != "cuda":
        return program
    with wp.ScopedDevice(wp.device_from_torch(engine.device)), wp.ScopedCapture() as capture:
        program()
    return lambda: wp.capture_launch(capture.graph)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=sorted(PHYSICS), default="bimanual")
    parser.add_argument("--worlds", type=int, default=1024)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--append", type=Path, help="append the result as a JSON line to this file")
    options = parser.parse_args()

    model = load_model(options.model, physics=PHYSICS[options.model])
    started = time.perf_counter()
    engine = WarpEngine(model, options.worlds, options.device)
    ready = time.perf_counter() - started
    engine.ctrl.uniform_(0.0, 0.25)
    ours = rate(engine.step, options.worlds, options.seconds)
    bare = rate(bare_step(engine), options.worlds, options.seconds)
    result = {
        "model": options.model,
        "engine": "warp",
        "device": torch.cuda.get_device_name() if engine.device.type == "cuda" else "cpu",
        "worlds": options.worlds,
        "dt": model.physics.timestep,
        "substeps": model.physics.substeps,
        "control_steps_per_s": ours,
        "physics_steps_per_s": ours * model.physics.substeps,
        "simulated_seconds_per_s": ours * model.physics.control_dt,
        "over_bare": ours / bare,
        "ready_s": ready,
        "memory_gb": torch.cuda.mem_get_info()[1] / 1e9 - torch.cuda.mem_get_info()[0] / 1e9
        if engine.device.type == "cuda"
        else None,
        "faults": engine.fault_counts(),
        "commit": subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False
        ).stdout.strip(),
        "versions": {name: version(name) for name in ("mujoco-warp", "warp-lang", "torch")},
    }
    print(
        "  ".join(
            f"{key} {value:,.1f}" if isinstance(value, float) else f"{key} {value}" for key, value in result.items()
        )
    )
    if options.append is not None:
        options.append.parent.mkdir(parents=True, exist_ok=True)
        with options.append.open("a") as file:
            file.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
