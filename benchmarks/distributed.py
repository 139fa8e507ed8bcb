"""Frames/s of training in two processes over one, with the same total of worlds, threads and minibatches.

    python benchmarks/distributed.py --references refs/ [--worlds 64] [--seconds 20] [--processes 1 2]

Each run is one `lightning run` on the CPU; the speed is that between its first and its last row of `metrics.csv`.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MINIBATCH = 512


def frames_per_s(references: Path, processes: int, worlds: int, seconds: int) -> float:
    with tempfile.TemporaryDirectory() as out:
        command = [
            sys.executable,
            "-m",
            "musclewarp.launch",
            "run",
            "--accelerator",
            "cpu",
            "--devices",
            str(processes),
        ]
        command += [
            str(ROOT / "musclewarp" / "train.py"),
            "fit",
            "--config",
            str(ROOT / "configs" / "bimanual_cpu.yaml"),
        ]
        command += ["--out", out, "--env.references", str(references), f"--env.num_worlds={worlds // processes}"]
        command += [f"--ppo.minibatch={MINIBATCH // processes}", "--ppo.total_frames=1000000000"]
        command += [f"--trainer.max_time=00:00:{seconds // 60:02}:{seconds % 60:02}"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        with open(Path(out) / "metrics.csv", newline="") as file:
            rows = [(float(row["frames"]), float(row["frames_per_s"])) for row in csv.DictReader(file)]
    # `frames_per_s` counts from the beginning: time = frames / speed; the first update warms up
    (first, slow), (last, speed) = rows[0], rows[-1]
    return (last - first) / (last / speed - first / slow)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--references", type=Path, required=True)
    parser.add_argument("--worlds", type=int, default=64)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    options = parser.parse_args()
    speeds = {n: frames_per_s(options.references, n, options.worlds, options.seconds) for n in options.processes}
    for processes, speed in speeds.items():
        ratio = speed / speeds[options.processes[0]]
        row = {"processes": processes, "worlds": options.worlds, "frames_per_s": round(speed), "ratio": round(ratio, 3)}
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
