"""The examples run as a user runs them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples" / "torchrl_ppo.py"


@pytest.mark.slow
def test_torchrls_collector_and_ppo_train_on_the_environment_unchanged(tmp_path):
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST_", "COVERAGE_"))}
    done = subprocess.run(
        [sys.executable, str(EXAMPLE), "--frames", "256", "--worlds", "4"],
        env=environ | {"PYTHONPATH": str(ROOT)}, cwd=tmp_path,
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    rewards = re.findall(r"^ *(\d+)  reward (-?\d+\.\d+)$", done.stdout, flags=re.MULTILINE)
    assert [int(number) for number, _ in rewards] == [0, 1]  # 256 frames are two rollouts of 4 worlds by 32 steps
    assert all(abs(float(reward)) <= 1.0 for _, reward in rewards)
    assert not list(tmp_path.iterdir())


def test_the_example_is_short():
    lines = [line for line in EXAMPLE.read_text().splitlines() if line.strip()]
    assert len(lines) <= 50
