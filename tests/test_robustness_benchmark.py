"""The benchmark of robustness: each condition is what it says, and a stopped run goes on."""

from __future__ import annotations

import copy
import importlib
import json
from pathlib import Path

import mujoco
import numpy as np
import pytest
import torch

from musclewarp.envs import EnvConfig, VariationConfig
from musclewarp.envs.variation import Variation
from musclewarp.learning import PPO, Policy, PPOConfig
from musclewarp.references import make_reference
from musclewarp.references.quality import lowest_foot_heights
from musclewarp.references.reference import SUFFIX

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def robustness(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("robustness")


@pytest.fixture
def files(arms, movement, tmp_path):
    """An untrained policy of two arms, and a folder with the one clip it follows."""
    config = EnvConfig(engine="native", observations=("joint_pos",), references=str(tmp_path / "refs"))
    module = PPO(config, PPOConfig(hidden=(8,)))
    torch.manual_seed(0)
    module.build(len(arms.joint_dofs), arms.mj_model.nu, {})
    policy = Policy(module.actor.eval(), config, module.config, module.sizes, arms.hash, 0)
    make_reference(arms, movement(arms, 30, 0.02), 0.02, "wave").save(tmp_path / "refs" / f"wave{SUFFIX}")
    return policy.save(tmp_path / "policy.safetensors"), tmp_path / "refs"


def run(robustness, monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["robustness.py", *map(str, arguments)])
    robustness.main()


def test_every_condition_is_measured_once_and_a_stopped_run_goes_on(robustness, files, monkeypatch, tmp_path, capsys):
    policy, refs = files
    path = tmp_path / "rows.jsonl"
    conditions = [name for name in robustness.CONDITIONS if "friction" not in name]  # arms touch no floor
    common = [policy, "--references", refs, "--episodes", "3", "--push-body", "humerus_r", "--json", path, "--only"]
    run(robustness, monkeypatch, *common, *conditions[:2])
    first = path.read_text()
    run(robustness, monkeypatch, *common, *conditions)
    assert path.read_text().startswith(first)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["condition"] for row in rows] == conditions
    for row in rows:
        low, high = row["intervals"]["survival_s"]
        assert 0.0 <= low <= row["survival_s"] <= high <= 0.6
    errors = [row["relative_site_error_m"] for row in rows]
    assert len(set(errors)) == len(errors), "a condition that changes nothing"
    shown = capsys.readouterr().out
    assert all(f"{name}: lasts" in shown for name in conditions)


def test_another_policy_is_another_experiment(robustness, files, monkeypatch, tmp_path):
    policy, refs = files
    path = tmp_path / "rows.jsonl"
    for episodes in ("2", "3", "2"):
        run(
            robustness,
            monkeypatch,
            policy,
            "--references",
            refs,
            "--episodes",
            episodes,
            "--json",
            path,
            "--only",
            "none",
        )
    assert [json.loads(line)["episodes"] for line in path.read_text().splitlines()] == [2, 3]


def test_friction_is_that_of_the_feet_on_the_floor(robustness, body):
    condition = robustness.CONDITIONS["friction x 0.5"]
    variation = Variation(VariationConfig(friction=(condition.friction,) * 2), body, 1, torch.device("cpu"))
    variation.draw(torch.ones(1, dtype=torch.bool), 0, torch.zeros(1, dtype=torch.int64))
    m = copy.copy(body.stepped)
    fields = {name: torch.tensor(getattr(m, name))[None] for name in variation.fields}
    variation.write(fields)
    for name, value in fields.items():
        getattr(m, name)[:] = value[0]
    data = mujoco.MjData(m)
    data.qpos[2] -= lowest_foot_heights(body, data.qpos[None])[0] + 0.001
    mujoco.mj_forward(m, data)
    touching = np.any(data.contact.geom == m.geom("floor").id, axis=1)
    assert touching.any()
    np.testing.assert_allclose(data.contact.friction[touching, :2], 0.5)
