"""`import musclewarp`: every public name is there, and costs nothing before it is used."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import musclewarp


@pytest.mark.parametrize("name", musclewarp.__all__)
def test_every_public_name_resolves(name):
    assert getattr(musclewarp, name).__name__ == name


def test_public_names_are_sorted_and_single():
    assert len(set(musclewarp.__all__)) == len(musclewarp.__all__)
    assert set(musclewarp.__all__) == set(musclewarp._HOMES)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'musclewarp' has no attribute 'Robot'"):
        musclewarp.Robot  # noqa: B018


def test_import_brings_no_torch_and_no_simulator():
    code = "import musclewarp, sys; print({'torch', 'mujoco', 'warp', 'lightning'} & set(sys.modules))"
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(root)},
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "set()"


def test_a_public_name_means_the_same_the_second_time():
    for name in musclewarp.__all__:
        assert getattr(musclewarp, name) is getattr(musclewarp, name)
