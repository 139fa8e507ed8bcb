"""Train the arm policies of `notebooks/solution_space.ipynb`: one motion, four ways to solve it.

    python benchmarks/arm_solutions.py --out runs/arm_solutions

They differ in their seed, in what muscle activation costs them, and in the stretch reflex that they begin with: one
earns by activation and begins with a strong reflex, so that antagonists pull against each other. Each learns for a
minute and a half on one core. What is learned lies in OUT/NAME/policy.safetensors; `--ship` puts it into
data/checkpoints/arms/.
"""

from __future__ import annotations

import argparse
import dataclasses
import subprocess
import sys
from pathlib import Path

from musclewarp.learning.policy import load_policy

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = ROOT / "data" / "checkpoints" / "arms"
WAYS = {  # name: seed; what a mean squared activation of 1 costs, where perfect tracking earns 1; gain of the reflex
    "seed_1": (1, 0.1, 1.5),
    "seed_2": (2, 0.1, 1.5),
    "thrifty": (3, 10.0, 1.5),
    "stiff": (4, -3.0, 6.0),
}


def command(name: str, out: Path, frames: int) -> list[str]:
    """What trains one of `WAYS`."""
    seed, cost, reflex = WAYS[name]
    return [
        *(sys.executable, "-m", "musclewarp.train", "fit", "--config", str(ROOT / "configs" / "bimanual_cpu.yaml")),
        *("--env.references", str(out / "refs"), "--out", str(out / name), "--seed_everything", str(seed)),
        *("--env.rewards.activation_energy.weight", str(cost), "--ppo.reflex", str(reflex)),
        *("--ppo.hidden", "[64,64]", "--ppo.total_frames", str(frames)),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/arm_solutions"))
    parser.add_argument("--frames", type=int, default=150_000, help="environment frames of each (default: 150000)")
    parser.add_argument("--ship", action="store_true", help=f"copy the policies to {SHIPPED.relative_to(ROOT)}")
    options = parser.parse_args()
    clip = ROOT / "data" / "motions" / "demo" / "arms.npz"
    retarget = [sys.executable, "-m", "musclewarp.cli", "retarget", str(clip), "--out", str(options.out / "refs")]
    for step in (retarget, *(command(name, options.out, options.frames) for name in WAYS)):
        subprocess.run(step, check=True)
    if options.ship:
        for name in WAYS:
            policy = load_policy(options.out / name / "policy.safetensors")
            env = dataclasses.replace(policy.env, references="refs", dump_folder="")  # no folder of this machine
            dataclasses.replace(policy, env=env).save(SHIPPED / f"{name}.safetensors")


if __name__ == "__main__":
    main()
