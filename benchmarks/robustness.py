"""How long a policy lasts where the world is not as it learned: pushed, on ice, heavier, lighter, with slower nerves.

    python benchmarks/robustness.py runs/walk_cpu/policy.safetensors --references refs --json robustness.jsonl

Every row is what `musclewarp evaluate --episodes` measures (`survival_s`: mean time to the first failure of episodes
from random frames, loops for 20 s), under one condition, from the same frames. Friction and mass are factors of the
model's: its own coefficient of friction is 1. Rows that the file has already (same policy, references and episodes) are
not measured again, so a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from musclewarp.commands import open_policy
from musclewarp.envs import PushConfig, VariationConfig
from musclewarp.evaluation.evaluator import EPISODE_SECONDS, NO_PUSHES, policy_controller, random_starts, run_trials
from musclewarp.evaluation.metrics import summarize
from musclewarp.learning import Policy
from musclewarp.models import MuscleModel
from musclewarp.references.library import ReferenceLibrary

Row = dict[str, Any]


@dataclass(frozen=True)
class Condition:
    """What is not as it was: N of pushes of 0.2 s, factors of friction and of all masses, s of further delay."""

    push: float = 0.0
    friction: float = 1.0
    mass: float = 1.0
    delay: float = 0.0


CONDITIONS = {
    "none": Condition(),
    **{f"pushes of {force} N": Condition(push=force) for force in (50, 100, 150, 200)},
    **{f"friction x {factor}": Condition(friction=factor) for factor in (0.5, 0.75)},
    **{f"mass x {factor}": Condition(mass=factor) for factor in (0.85, 1.15)},
    "20 ms more delay": Condition(delay=0.02),
}


def measure(
    policy: Policy,
    model: MuscleModel,
    library: ReferenceLibrary,
    condition: Condition,
    episodes: int,
    seconds: float = EPISODE_SECONDS,
    push_body: str = "",
) -> Row:
    """The summary (`evaluation.metrics.summarize`) of episodes from random frames under `condition`."""
    neural = dataclasses.replace(policy.env.neural, delay=policy.env.neural.delay + condition.delay)
    factors = {name: (f, f) for name in ("friction", "mass") if (f := getattr(condition, name)) != 1.0}
    trials = run_trials(
        dataclasses.replace(policy.env, neural=neural),
        model,
        library,
        policy_controller(policy),
        "policy",
        seconds=seconds,
        starts=random_starts(library, episodes),
        pushes=PushConfig((condition.push, condition.push), body=push_body) if condition.push else NO_PUSHES,
        variation=VariationConfig(**factors),
    )
    return summarize(trials)


def print_table(rows: Iterable[Row]) -> None:
    """Survival and what it costs to survive."""
    table = Table("condition", "lasts, s", "95 % interval", "to the end, %", "site error while it lasts, cm")
    for row in rows:
        low, high = row["intervals"]["survival_s"]
        error = (row["survived"] or {}).get("relative_site_error_m", float("nan"))
        cells = (f"{row['survival_s']:.2f}", f"{low:.2f} to {high:.2f}", f"{100 * row['success']:.0f}")
        table.add_row(row["condition"], *cells, f"{100 * error:.1f}")
    Console().print(table)


def main() -> None:
    """Measure what is not yet known."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("policy", type=Path, help="a .ckpt of `musclewarp fit`, or a policy .safetensors")
    parser.add_argument("--references", nargs="+", type=Path, help="default: those it was trained on")
    parser.add_argument("--episodes", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=EPISODE_SECONDS, help="for which loops are followed")
    parser.add_argument("--only", nargs="+", choices=CONDITIONS, metavar="CONDITION")
    parser.add_argument("--push-body", default="", metavar="NAME", help="the body that is pushed (default: the root)")
    parser.add_argument("--engine", default="auto", help="auto (default), native or warp")
    parser.add_argument("--json", type=Path, help="file of JSON lines to append to")
    options = parser.parse_args()
    if options.episodes < 2:
        parser.error("intervals need two --episodes at least")
    policy, model, (library,) = open_policy(options.policy, options.references, options.engine)
    experiment = {
        "policy": f"{options.policy.name}:{sha256(options.policy.read_bytes()).hexdigest()[:12]}",
        "references": sha256(str(library.names).encode() + library.qpos.cpu().numpy().tobytes()).hexdigest()[:12],
        **{name: getattr(options, name) for name in ("episodes", "seconds", "push_body", "engine")},
    }
    lines = options.json.read_text().splitlines() if options.json and options.json.exists() else []
    known = {row["condition"]: row for row in map(json.loads, lines) if experiment.items() <= row.items()}
    chosen = options.only or list(CONDITIONS)
    for name in chosen:
        if name in known:
            continue
        numbers = measure(
            policy, model, library, CONDITIONS[name], options.episodes, options.seconds, options.push_body
        )
        known[name] = {"condition": name, **experiment, "frames": policy.frames, **numbers}
        print(f"{name}: lasts {numbers['survival_s']:.2f} s", flush=True)
        if options.json:
            with options.json.open("a") as file:
                file.write(json.dumps(known[name]) + "\n")
    print_table(known[name] for name in chosen)


if __name__ == "__main__":
    main()
