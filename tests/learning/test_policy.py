"""Policies as files: the same actions after a round trip, and a sentence for whatever is not a policy."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from tensordict import TensorDict
from torchrl.envs.utils import ExplorationType, set_exploration_type

from musclewarp.envs import EnvConfig
from musclewarp.errors import FileError, MusclewarpError
from musclewarp.files import HEADER_KEY, write_arrays
from musclewarp.learning.callbacks import Checkpoints
from musclewarp.learning.policy import Policy, load_policy, parse_config

FUZZ = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def policy(ready):
    module = ready()
    module.normalizer.update(torch.randn(100, module.sizes["observations"]) * 3 + 1)
    return Policy(module.actor, module.env_config, module.config, module.sizes, module.env.model.hash, 1234)


@pytest.fixture
def files(fit, tmp_path):
    """What training writes: a checkpoint and a policy."""
    fit(Checkpoints(tmp_path))
    return {path.suffix: path for path in tmp_path.iterdir()}


def act(policy, observation):
    with torch.no_grad(), set_exploration_type(ExplorationType.DETERMINISTIC):
        return policy.actor(TensorDict({"observation": observation}, batch_size=len(observation)))["action"]


def rewrite(path, change):
    """Change the JSON header of a policy file."""
    arrays = load_file(path)
    with safe_open(path, framework="numpy") as file:
        header = json.loads(file.metadata()[HEADER_KEY])
    change(header)
    save_file(arrays, path, metadata={HEADER_KEY: json.dumps(header)})


def test_a_saved_policy_acts_as_before(policy, tmp_path):
    observation = torch.randn(6, policy.sizes["observations"])
    loaded = load_policy(policy.save(tmp_path / "a.safetensors"))
    assert torch.equal(act(policy, observation), act(loaded, observation))
    assert (loaded.env, loaded.ppo, loaded.model_hash, loaded.frames) == (
        policy.env,
        policy.ppo,
        policy.model_hash,
        1234,
    )


def test_checkpoint_and_policy_act_alike(files):
    first, second = load_policy(files[".ckpt"]), load_policy(files[".safetensors"])
    observation = torch.randn(6, first.sizes["observations"])
    assert torch.equal(act(first, observation), act(second, observation))
    assert first.frames == second.frames == 160


def test_acting_changes_no_statistics(policy):
    before = {key: value.clone() for key, value in policy.actor.state_dict().items()}
    act(policy, 1e3 * torch.randn(50, policy.sizes["observations"]))
    assert all(torch.equal(before[key], value) for key, value in policy.actor.state_dict().items())


def test_the_untrained_policy_has_other_weights_and_the_same_statistics(policy):
    state = torch.get_rng_state()
    untrained, again = policy.untrained(seed=5), policy.untrained(seed=5)
    assert torch.equal(state, torch.get_rng_state())
    trained, fresh, twin = (p.actor.state_dict() for p in (policy, untrained, again))
    assert all(torch.equal(fresh[key], twin[key]) for key in fresh)
    equal = {key for key in trained if torch.equal(trained[key], fresh[key])}
    assert {key for key in trained if "normalizer" in key} <= equal
    assert not {key for key in trained if key.endswith(("network.0.weight", "network.3.weight"))} & equal
    assert untrained.frames == 0


@pytest.mark.parametrize("suffix", [".ckpt", ".safetensors"])
def test_truncated_files_are_refused(suffix, files):
    whole = files[suffix].read_bytes()
    cut = files[suffix].with_name(f"cut{suffix}")

    @FUZZ
    @given(st.integers(0, len(whole) - 1))
    def check(length):
        cut.write_bytes(whole[:length])
        with pytest.raises(FileError, match=f"cut{suffix}"):
            load_policy(cut)

    check()


@FUZZ
@given(data=st.binary(max_size=300), suffix=st.sampled_from([".ckpt", ".safetensors", ".bin"]))
def test_random_bytes_are_refused(data, suffix, tmp_path):
    path = tmp_path / f"noise{suffix}"
    path.write_bytes(data)
    with pytest.raises(FileError, match="noise"):
        load_policy(path)


@pytest.mark.parametrize("suffix", [".ckpt", ".safetensors"])
def test_damaged_files_are_refused_or_read_but_never_crash(suffix, files):
    whole = bytearray(files[suffix].read_bytes())
    path = files[suffix].with_name(f"damaged{suffix}")

    @FUZZ
    @given(st.lists(st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 255)), min_size=1, max_size=20))
    def check(changes):
        data = bytearray(whole)
        for place, byte in changes:
            data[place] = byte
        path.write_bytes(data)
        try:
            load_policy(path)
        except MusclewarpError as error:
            assert f"damaged{suffix}" in str(error)  # noqa: PT017

    check()


@pytest.mark.parametrize(
    "change",
    [
        lambda header: header.pop("env"),
        lambda header: header.pop("model_hash"),
        lambda header: header["ppo"].update(gamma=7),
        lambda header: header["ppo"].update(gamma="much"),
        lambda header: header["ppo"].update(hidden=[8]),
        lambda header: header["env"].update(model="robot"),
        lambda header: header["env"].update(teeth=32),
        lambda header: header["sizes"].update(observations=3),
        lambda header: header["sizes"].update(observations="3"),
        lambda header: header["sizes"].update(muscles=-1),
        lambda header: header.update(sizes=None),
        lambda header: header.update(sizes={}),
        lambda header: header.update(ppo=[1, 2]),
        lambda header: header.update(frames="many"),
        lambda header: header.update(frames=None),
    ],
)
def test_a_forged_header_is_refused_with_the_files_name(change, policy, tmp_path):
    path = policy.save(tmp_path / "forged.safetensors")
    rewrite(path, change)
    with pytest.raises(FileError, match="forged"):
        load_policy(path)


FOREIGN = [
    [1, 2],
    torch.ones(3),
    {"state_dict": {}},
    {"musclewarp": {}},
    {"musclewarp": 3, "state_dict": {}},
    {"musclewarp": {}, "state_dict": 4},
    {"musclewarp": {}, "state_dict": {}},
]


@pytest.mark.parametrize("content", FOREIGN)
def test_other_programs_checkpoints_are_refused(content, tmp_path):
    torch.save(content, tmp_path / "foreign.ckpt")
    with pytest.raises(FileError, match="foreign"):
        load_policy(tmp_path / "foreign.ckpt")


def test_other_safetensors_are_refused(tmp_path):
    save_file({"x": np.ones(3)}, tmp_path / "plain.safetensors")
    write_arrays(tmp_path / "other.safetensors", {"x": np.ones(3)}, {}, "reference", 1)
    for name, reason in (("plain", "not written by musclewarp"), ("other", "holds a 'reference'")):
        with pytest.raises(FileError, match=rf"{name}\.safetensors.*{reason}"):
            load_policy(tmp_path / f"{name}.safetensors")


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    for path in (tmp_path / "no.ckpt", tmp_path):
        with pytest.raises(FileError, match="no such file"):
            load_policy(path)


def test_configs_survive_a_round_trip_through_json(env_config):
    assert parse_config(EnvConfig, json.loads(json.dumps(asdict(env_config)))) == env_config
