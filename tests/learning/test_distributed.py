"""Two processes under the launcher are one learner: equal weights, unlike episodes, frames of both."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

ROOT = Path(__file__).resolve().parents[2]

# Trains as `musclewarp/train.py` does, and keeps what each rank ends with.
SCRIPT = """
import sys, torch, lightning
from musclewarp import train
from musclewarp.learning.rollouts import Rollouts

folder = sys.argv.pop(1)
first = []
collect = Rollouts.collect

def spy(self, steps):
    rollout = collect(self, steps)
    first.append(rollout)
    return rollout

Rollouts.collect = spy

def keep(self, trainer, module):
    rollout = first[0]
    normal = (torch.logit(rollout["action"]) - module.head(rollout["observation"])[0]).detach()
    torch.save({"weights": {k: v.clone() for k, v in module.state_dict().items()}, "frames": module.frames,
                "updates": module.updates, "world": trainer.world_size, "observation": rollout["observation"].clone(),
                "action": rollout["action"].clone(), "optimizer": trainer.optimizers[0].state_dict(),
                "seen": sum(r.numel() for r in first)}, f"{folder}/{trainer.global_rank}.pt")

train.Progress.on_train_end = keep
sys.exit(train.main())
"""


def free_port():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


@pytest.fixture(scope="module")
def ranks(references, env_config, config, tmp_path_factory):
    """What each of two ranks ends with after three updates, and the folder of the run."""
    folder = tmp_path_factory.mktemp("ranks")
    (folder / "script.py").write_text(SCRIPT)
    settings = {
        "out": str(folder / "run"),
        "env": {"references": str(references), "num_worlds": 4, "engine": "native", "episode_seconds": 0.3},
        "ppo": {"total_frames": 3 * 2 * 32, "horizon": 8, "minibatch": 16, "epochs": 2, "hidden": [16]},
    }
    (folder / "tiny.yaml").write_text(yaml.safe_dump(settings))
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("LT_", "PYTEST_", "COVERAGE_"))}
    environ |= {"CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "musclewarp.launch", "run", "--devices", "2", "--accelerator", "cpu",
         "--main-port", str(free_port()), "script.py", str(folder), "fit", "--config", "tiny.yaml"],
        env=environ, cwd=folder, capture_output=True, text=True, timeout=400, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)], folder


@pytest.mark.slow
def test_weights_and_statistics_are_equal_on_both_ranks(ranks):
    first, second = ranks[0]
    assert first["world"] == second["world"] == 2
    assert [key for key, value in first["weights"].items() if not torch.equal(value, second["weights"][key])] == []
    assert first["optimizer"]["param_groups"] == second["optimizer"]["param_groups"]


@pytest.mark.slow
def test_each_rank_has_its_own_episodes_and_noise(ranks):
    first, second = ranks[0]
    assert not torch.equal(first["observation"], second["observation"])
    different = first["action"] != second["action"]
    assert different.float().mean() > 0.99


@pytest.mark.slow
def test_frames_and_statistics_count_both_ranks(ranks):
    first, second = ranks[0]
    assert first["frames"] == second["frames"] == 3 * 2 * 32
    assert first["updates"] == 3
    counts = [value for key, value in first["weights"].items() if key == "normalizer.count"]
    assert counts == [first["seen"] + second["seen"]]


@pytest.mark.slow
def test_one_rank_writes_the_files_once(ranks):
    folder = ranks[1] / "run"
    assert {"last.ckpt", "policy.safetensors", "metrics.csv"} <= {path.name for path in folder.iterdir()}
    rows = (folder / "metrics.csv").read_text().splitlines()
    assert len(rows) == 1 + 3
    checkpoint = torch.load(folder / "last.ckpt", weights_only=True)
    assert checkpoint["musclewarp"]["frames"] == 3 * 2 * 32
