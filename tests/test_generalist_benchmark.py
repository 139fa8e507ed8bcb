"""The benchmark of one policy for many clips: each clip of both parts beside the quality of its reference."""

from __future__ import annotations

import dataclasses
import importlib
import json
from pathlib import Path

import pytest
import torch

from musclewarp.envs import EnvConfig
from musclewarp.learning import PPO, Policy, PPOConfig
from musclewarp.references import make_reference
from musclewarp.references.reference import SUFFIX
from musclewarp.references.split import make_split, save_split

QUALITIES = {"a1": {"missing_moment_nm": 2.0, "impossible_frames": 0.25}, "a2": {"missing_moment_nm": 0.0}, "b1": {}}


@pytest.fixture
def generalist(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[1] / "benchmarks")
    return importlib.import_module("generalist")


def test_every_clip_stands_beside_its_reference_in_its_part(generalist, arms, movement, monkeypatch, tmp_path, capsys):
    refs, frames = tmp_path / "refs", {"a1": 20, "a2": 30, "b1": 10}
    for seed, (name, quality) in enumerate(QUALITIES.items()):
        reference = make_reference(arms, movement(arms, frames[name], 0.02, seed), 0.02, name)
        dataclasses.replace(reference, quality=quality, source={"sha256": name}).save(refs / f"{name}{SUFFIX}")
    save_split(refs / "split.yaml", make_split({"a1": "a", "b1": "b", "a2": "a"}, ["b"]))
    config = EnvConfig(engine="native", observations=("joint_pos",))
    module = PPO(config, PPOConfig(hidden=(8,)))
    torch.manual_seed(0)
    module.build(len(arms.joint_dofs), arms.mj_model.nu, {})
    policy = Policy(module.actor.eval(), config, module.config, module.sizes, arms.hash, 0)
    policy.save(tmp_path / "policy.safetensors")
    arguments = [tmp_path / "policy.safetensors", refs / "split.yaml", "--json", tmp_path / "out.json"]
    monkeypatch.setattr("sys.argv", ["generalist.py", *map(str, arguments)])
    generalist.main()
    out = json.loads((tmp_path / "out.json").read_text())
    assert [(row["clip"], row["part"], row["subject"]) for row in out["clips"]] == [
        ("a1", "train", "a"), ("a2", "train", "a"), ("b1", "test", "b")
    ]  # fmt: skip
    for row in out["clips"]:
        assert row["seconds"] == pytest.approx(0.02 * (frames[row["clip"]] - 1))
        assert row["missing_moment_nm"] == QUALITIES[row["clip"]].get("missing_moment_nm")
        assert bool(row["failed"]) == (row["success"] == 0)
    for part, rows in (("train", out["clips"][:2]), ("test", out["clips"][2:])):
        assert out["parts"][part]["early_termination"] == sum(row["early_termination"] for row in rows) / len(rows)
    shown = capsys.readouterr().out
    assert "train: 2 clips of 1 subjects" in shown
    assert "test: 1 clips of 1 subjects" in shown
