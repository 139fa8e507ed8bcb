"""Train the arm policies of `notebooks/solution_space.ipynb`: one motion, four ways to solve it.

    python benchmarks/arm_solutions.py --out runs/arm_solutions

They differ in their seed and in what muscle activation costs them; one earns by it, and holds its arms stiffly. Each
learns for a minute or two on one core. What is learned lies in OUT/NAME/policy.safetensors; `--ship` puts it into
data/checkpoints/arms/.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = ROOT / "data" / "checkpoints" / "arms"
WAYS = {  # name: seed, and what a mean squared activation of 1 costs, where perfect tracking earns 1
    "seed_1": (1, 0.1),
    "seed_2": (2, 0.1),
    "thrifty": (3, 10.0),
    "stiff": (4, -3.0),
}


def command(name: str, out: Path, frames: int) -> list[str]:
    """What trains one of `WAYS`."""
    seed, cost = WAYS[name]
    return [
        *(sys.executable, "-m", "musclewarp.train", "fit", "--config", str(ROOT / "configs" / "bimanual_cpu.yaml")),
        *("--env.references", str(out / "refs"), "--out", str(out / name), "--seed_everything", str(seed)),
        *("--env.rewards.activation_energy.weight", str(cost)),
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
        SHIPPED.mkdir(parents=True, exist_ok=True)
        for name in WAYS:
            shutil.copyfile(options.out / name / "policy.safetensors", SHIPPED / f"{name}.safetensors")


if __name__ == "__main__":
    main()
