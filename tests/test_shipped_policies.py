"""The policies in the repository are what their script makes, for the model that is installed."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from musclewarp.learning.policy import load_policy

SCRIPT = runpy.run_path(str(Path(__file__).resolve().parents[1] / "benchmarks" / "arm_solutions.py"))


@pytest.mark.parametrize(("name", "way"), SCRIPT["WAYS"].items())
def test_a_shipped_policy_is_what_the_script_makes_for_the_installed_model(arms, name, way):
    path = SCRIPT["SHIPPED"] / f"{name}.safetensors"
    policy = load_policy(path)
    assert policy.model_hash == arms.hash, "train them again: python benchmarks/arm_solutions.py --ship"
    assert (policy.env.rewards["activation_energy"].weight, policy.ppo.reflex) == way[1:]
    assert (policy.env.references, policy.env.dump_folder) == ("refs", "")  # no folder of the machine that made it
    assert path.stat().st_size < 600_000


def test_nothing_else_is_shipped():
    assert {path.stem for path in SCRIPT["SHIPPED"].iterdir()} == set(SCRIPT["WAYS"])
