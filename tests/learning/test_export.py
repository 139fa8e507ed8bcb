"""Exported policies act as the policy does, without musclewarp, and say what their numbers are."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from tensordict import TensorDict
from torchrl.envs.utils import ExplorationType, set_exploration_type

from musclewarp.cli import main
from musclewarp.errors import ConfigError, FileError
from musclewarp.learning import export
from musclewarp.learning.callbacks import Checkpoints
from musclewarp.learning.export import SUFFIXES, TOLERANCE, export_policy, make_card
from musclewarp.learning.policy import load_policy


@pytest.fixture
def quick_model(arms, quick_model, monkeypatch):
    monkeypatch.setattr(export, "load_model", lambda name, fingers, physics: arms)


@pytest.fixture
def checkpoint(fit, tmp_path):
    """The last checkpoint of a short training."""
    fit(Checkpoints(tmp_path / "run"))
    return tmp_path / "run" / "last.ckpt"


@pytest.fixture
def observed(checkpoint, make_env):
    """Observations of the environment in many states, and the policy's actions there."""
    policy, env = load_policy(checkpoint), make_env(num_worlds=40)
    observation = env.rollout(5)["observation"].flatten(0, 1)
    with torch.no_grad(), set_exploration_type(ExplorationType.DETERMINISTIC):
        action = policy.actor(TensorDict({"observation": observation}, batch_size=len(observation)))["action"]
    return observation, action


def test_onnx_acts_as_the_policy_on_any_batch(checkpoint, observed, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    observation, action = observed
    assert 0 <= export_policy(checkpoint, "onnx", tmp_path / "policy.onnx") <= TOLERANCE
    session = onnxruntime.InferenceSession(str(tmp_path / "policy.onnx"))
    assert [node.name for node in (*session.get_inputs(), *session.get_outputs())] == ["observation", "action"]
    assert session.get_inputs()[0].shape[1:] == [observation.shape[1]]
    for batch in (1, 2, 200):
        (found,) = session.run(None, {"observation": observation[:batch].numpy()})
        np.testing.assert_allclose(found, action[:batch].numpy(), atol=TOLERANCE, rtol=0)
    assert not list(tmp_path.glob("*.data")), "one file"


def test_onnx_says_what_its_numbers_are(checkpoint, arms, config, env_config, tmp_path):
    onnx = pytest.importorskip("onnx")
    export_policy(checkpoint, "onnx", tmp_path / "policy.onnx")
    properties = {entry.key: entry.value for entry in onnx.load(tmp_path / "policy.onnx").metadata_props}
    card = json.loads(properties["musclewarp"])
    assert (card["model"], card["model_hash"], card["control_dt"]) == ("bimanual", arms.hash, 0.02)
    assert [term["name"] for term in card["observation"]] == list(env_config.observations)
    sizes = {term["name"]: term["size"] for term in card["observation"]}
    assert sizes["activation"] == len(card["muscles"]) == arms.mj_model.nu
    assert sizes["joint_pos"] == len(arms.joint_dofs)
    assert sum(sizes.values()) == load_policy(checkpoint).sizes["observations"]
    assert card["action"] == {"kind": "excitations", "names": list(arms.muscles.index)}
    assert card["frames"] == config.total_frames
    assert [reference["name"] for reference in card["references"]] == ["wave"]


def test_a_torch_program_loads_without_musclewarp_and_acts_as_the_policy(checkpoint, observed, tmp_path):
    observation, action = observed
    assert 0 <= export_policy(checkpoint, "torch", tmp_path / "policy.pt2") <= TOLERANCE
    torch.save((observation, action), tmp_path / "observed.pt")
    code = """
import json, sys, torch
for name in ("musclewarp", "torchrl", "tensordict", "mujoco"):
    sys.modules[name] = None
card = {"musclewarp.json": ""}
policy = torch.export.load("policy.pt2", extra_files=card).module()
observation, action = torch.load("observed.pt")
print(max(float((policy(observation[:n]) - action[:n]).abs().max()) for n in (1, 2, 200)))
print(json.loads(card["musclewarp.json"])["model"])
"""
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHONPATH", "COVERAGE_"))}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=240, check=True
    )
    difference, model = done.stdout.split()
    assert float(difference) <= TOLERANCE
    assert model == "bimanual"


def test_a_safetensors_policy_has_its_card_beside_it(checkpoint, observed, tmp_path, env_config):
    (checkpoint.parent / "evaluation.json").write_text(json.dumps({"policy": {"success": 0.5}, "clips": []}))
    out = tmp_path / "shared" / "waving.safetensors"
    assert export_policy(checkpoint, "safetensors", out) is None
    card = json.loads(out.with_suffix(".json").read_text())
    assert card["figures"] == {"success": 0.5}
    assert card["env"]["observations"] == list(env_config.observations)
    first, second = load_policy(checkpoint), load_policy(out)
    assert all(torch.equal(a, b) for a, b in zip(first.actor.parameters(), second.actor.parameters(), strict=True))
    assert second.clips == ("wave",)
    assert export_policy(out, "safetensors", tmp_path / "again.safetensors") is None


def test_figures_of_an_older_policy_are_left_out(checkpoint, tmp_path):
    evaluation = checkpoint.parent / "evaluation.json"
    evaluation.write_text(json.dumps({"policy": {"success": 0.5}}))
    os.utime(evaluation, (0, 0))
    assert make_card(load_policy(checkpoint), checkpoint)["figures"] is None


def test_references_that_are_gone_keep_their_names(checkpoint, monkeypatch, tmp_path):
    def gone(paths):
        raise FileError("no such folder")

    monkeypatch.setattr(export, "find_references", gone)
    with pytest.warns(UserWarning, match="not there any more"):
        assert make_card(load_policy(checkpoint), checkpoint)["references"] == [{"name": "wave"}]


def test_an_export_that_would_act_otherwise_is_not_written(checkpoint, tmp_path, monkeypatch):
    plain = export.DeterministicPolicy.forward
    monkeypatch.setattr(
        export.DeterministicPolicy, "forward", lambda self, observation: plain(self, observation) + 1e-3
    )
    (tmp_path / "policy.pt2").write_text("an older one")
    with pytest.raises(FileError, match=r"policy\.pt2: not written, its actions would differ .* by 1\.0e-03"):
        export_policy(checkpoint, "torch", tmp_path / "policy.pt2")
    assert (tmp_path / "policy.pt2").read_text() == "an older one"


def test_a_policy_of_another_version_of_its_model_is_refused(checkpoint, monkeypatch, arms, tmp_path):
    monkeypatch.setitem(vars(arms), "hash", "0" * 64)
    with pytest.raises(FileError, match=r"last\.ckpt: learned on another version of 'bimanual'"):
        export_policy(checkpoint, "torch", tmp_path / "policy.pt2")


@pytest.mark.parametrize(("kind", "name"), [("onnx", "a.pt2"), ("torch", "a.pt"), ("safetensors", "a.ckpt")])
def test_the_suffix_must_be_the_formats(kind, name, tmp_path):
    with pytest.raises(ConfigError, match=rf"ends in \{SUFFIXES[kind]}"):
        export_policy("any.ckpt", kind, tmp_path / name)


def test_without_onnx_the_remedy_is_named(monkeypatch, tmp_path):
    find = importlib.util.find_spec
    monkeypatch.setattr(export.importlib.util, "find_spec", lambda name: None if "onnx" in name else find(name))
    with pytest.raises(ConfigError, match=r"needs onnx, onnxruntime, onnxscript: pip install 'musclewarp\[onnx\]'"):
        export_policy("any.ckpt", "onnx", tmp_path / "a.onnx")


def test_the_command_says_how_far_the_file_is_from_the_policy(checkpoint, tmp_path, capsys):
    out = tmp_path / "policy.pt2"
    assert main(["export", str(checkpoint), "--format", "torch", "--out", str(out)]) == 0
    assert f"wrote {out}; its actions differ from the policy's by " in capsys.readouterr().out
    assert main(["export", str(tmp_path / "no.ckpt"), "--format", "torch", "--out", str(out)]) == 2
    assert "no.ckpt: no such file" in capsys.readouterr().err
