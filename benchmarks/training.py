"""How fast a config trains, and where the time goes, at several physics steps; on the bundled clip, from the beginning.

    python benchmarks/training.py configs/walk_gpu.yaml --device cuda --steps 0.005x4 0.002x5 --json training.json

A frame is one control step of one world. Shares are of physics, of networks (forward, backward, optimiser), and of all
else: muscle solver, observations, rewards, advantages.
"""

from __future__ import annotations

import argparse
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import yaml
from rich.console import Console
from rich.table import Table

from musclewarp.bench.compare import VERSIONS, bench_reference, device_name, memory_gb
from musclewarp.bench.training import training_shares
from musclewarp.envs import EnvConfig
from musclewarp.files import write_text
from musclewarp.learning import PPOConfig
from musclewarp.learning.policy import parse_config
from musclewarp.models import load_model


def measure(config: Path, device: str, step: str, seconds: float, **changes: Any) -> dict[str, Any]:
    """A row; `step` is a physics step in s and how many make a control step, `changes` are those of the task."""
    timestep, substeps = step.split("x")
    physics = {"timestep": float(timestep), "substeps": int(substeps)}
    values = yaml.safe_load(config.read_text())
    env = parse_config(EnvConfig, {**values["env"], "physics": physics, **changes})
    reference = bench_reference(load_model(env.model, env.fingers, env.physics))
    told = training_shares(reference, env, seconds, parse_config(PPOConfig, values["ppo"]), device)
    return {
        "config": config.stem,
        "device": device_name(torch.device(device)),
        "worlds": env.num_worlds,
        "dt": env.physics.timestep,
        "substeps": env.physics.substeps,
        **told,
        "physics_steps_per_s": told["frames_per_s"] * env.physics.substeps,
        "simulated_seconds_per_s": told["frames_per_s"] * env.physics.control_dt,
        "memory_gb": memory_gb(torch.device(device)),
        "versions": {name: version(name) for name in VERSIONS},
    }


def main() -> None:
    """Measure, and show."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    parser.add_argument("--worlds", type=int, help="default: the config's")
    parser.add_argument("--steps", nargs="+", default=["0.005x4"], metavar="TIMESTEPxSUBSTEPS")
    parser.add_argument("--seconds", type=float, default=40.0, help="measuring time of each row (default: 40)")
    parser.add_argument("--json", type=Path, help="write the rows here")
    options = parser.parse_args()
    changes = {"num_worlds": options.worlds} if options.worlds else {}
    table = Table(
        "config", "worlds", "step", "frames/s", "physics steps/s", "simulated s/s", "physics", "networks", "else"
    )
    rows = []
    for step in options.steps:
        row = measure(options.config, options.device, step, options.seconds, **changes)
        rows.append(row)
        speeds = (f"{row[key]:,.0f}" for key in ("frames_per_s", "physics_steps_per_s", "simulated_seconds_per_s"))
        shares = (f"{row[f'{what}_share']:.0%}" for what in ("physics", "network", "other"))
        table.add_row(row["config"], str(row["worlds"]), step, *speeds, *shares)
        if options.json:
            write_text(options.json, json.dumps(rows, indent=2) + "\n")
    Console().print(table)


if __name__ == "__main__":
    main()
