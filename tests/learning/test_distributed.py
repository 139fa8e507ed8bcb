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
from tensordict import TensorDict

from musclewarp.learning.ppo import PPO

ROOT = Path(__file__).resolve().parents[2]

# Trains as `musclewarp/train.py` does, and keeps what each rank ends with.
SCRIPT = """
import sys, torch, lightning
from musclewarp import train
from musclewarp.learning.ppo import PPO
from musclewarp.learning.rollouts import Rollouts

folder = sys.argv.pop(1)
first = []
collect = Rollouts.collect

def spy(self, steps):
    rollout = collect(self, steps)
    first.append(rollout)
    return rollout

Rollouts.collect = spy
kept, metrics = {}, []
training_step, optimise, clip_gradients = PPO.training_step, PPO._optimise, torch.nn.utils.clip_grad_norm_

def step(self, rollout, index):
    kept.setdefault("start", {k: v.clone() for k, v in self.state_dict().items()})
    training_step(self, rollout, index)

def update(self, optimizers, minibatch):
    def clip(weights, norm):
        kept.setdefault("gradient", {k: v.grad.clone() for k, v in self.named_parameters() if v.grad is not None})
        return clip_gradients(weights, norm)

    torch.nn.utils.clip_grad_norm_ = clip
    return optimise(self, optimizers, minibatch)

PPO.training_step, PPO._optimise = step, update

def note(self, trainer, module, *arguments):
    metrics.append({k: float(v) for k, v in trainer.callback_metrics.items()})

def keep(self, trainer, module):
    rollout = first[0]
    normal = (torch.logit(rollout["action"]) - module.head(rollout["observation"])[0]).detach()
    torch.save({"weights": {k: v.clone() for k, v in module.state_dict().items()}, "frames": module.frames,
                "updates": module.updates, "world": trainer.world_size, "observation": rollout["observation"].clone(),
                "action": rollout["action"].clone(), "optimizer": trainer.optimizers[0].state_dict(),
                "seen": sum(r.numel() for r in first), "sizes": module.sizes, "metrics": metrics, **kept,
                "rates": module.env.starts.rates,
                "rollouts": [rollout.to_dict() for rollout in first[1:]]}, f"{folder}/{trainer.global_rank}.pt")

train.Progress.on_train_end = keep
train.Progress.on_train_batch_end = note
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
        "env": {
            "references": str(references),
            "num_worlds": 4,
            "engine": "native",
            "episode_seconds": 0.3,
            "sampling": {"floor": 0.5, "segment_seconds": 0.2},
        },
        "ppo": {"total_frames": 3 * 2 * 32, "horizon": 8, "minibatch": 32, "epochs": 2, "hidden": [16]},
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
def test_ranks_know_alike_what_fails(ranks):
    first, second = ranks[0]
    assert torch.equal(first["rates"], second["rates"])
    assert first["rates"].max() < 1


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
def test_the_gradient_of_one_full_batch_is_that_of_a_single_process(ranks, env_config, config):
    first, second = ranks[0]
    module = PPO(env_config, config)
    module.build(**first["sizes"])
    module.load_state_dict(first["start"])
    rollout = TensorDict.cat([TensorDict.from_dict(rank["rollouts"][0], batch_size=(4, 8)) for rank in ranks[0]])
    module._estimate_advantages(rollout)
    losses = module.loss(rollout.exclude("next").reshape(-1))
    (losses["loss_objective"] + losses["loss_critic"]).backward()
    expected = {name: weight.grad for name, weight in module.named_parameters() if weight.grad is not None}
    assert expected.keys() == first["gradient"].keys()
    largest = max(float(gradient.abs().max()) for gradient in expected.values())
    assert largest > 0.01
    for name, gradient in expected.items():
        assert torch.equal(first["gradient"][name], second["gradient"][name])
        torch.testing.assert_close(first["gradient"][name], gradient, atol=1e-5 * largest, rtol=1e-5)


@pytest.mark.slow
def test_logged_numbers_are_those_of_all_frames_of_both_ranks(ranks):
    first, second = ranks[0]
    ended = 0
    for update in range(3):
        following = [rank["rollouts"][update]["next"] for rank in ranks[0]]
        reward, error, terminated, done = (
            torch.cat([part[key] for part in following]).float()
            for key in ("reward", "site_error", "terminated", "done")
        )
        for rank in (first, second):
            logged = rank["metrics"][update]
            assert logged["reward"] == pytest.approx(float(reward.mean()), rel=1e-5)
            assert logged["site_error_cm"] == pytest.approx(100 * float(error.mean()), rel=1e-5)
            assert logged["early_termination"] == pytest.approx(float(terminated.sum() / done.sum().clamp(min=1)))
        ended += int(done.sum())
    assert ended > 0


@pytest.mark.slow
def test_one_rank_writes_the_files_once(ranks):
    folder = ranks[1] / "run"
    assert {"last.ckpt", "policy.safetensors", "metrics.csv"} <= {path.name for path in folder.iterdir()}
    rows = (folder / "metrics.csv").read_text().splitlines()
    assert len(rows) == 1 + 3
    checkpoint = torch.load(folder / "last.ckpt", weights_only=True)
    assert checkpoint["musclewarp"]["frames"] == 3 * 2 * 32
