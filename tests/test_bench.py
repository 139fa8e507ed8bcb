"""The benchmark of the framework's cost: its shares and ratios are ones, and its JSON is JSON."""

from __future__ import annotations

import json

import pytest

from musclewarp.bench import bench_env, print_bench
from musclewarp.errors import ConfigError


@pytest.fixture(scope="module")
def result():
    return bench_env("bimanual", worlds=4, seconds=1.0)


@pytest.mark.slow
def test_shares_of_training_add_up(result):
    training = result["training"]
    shares = [training[key] for key in ("physics_share", "network_share", "other_share")]
    assert all(0 < share < 1 for share in shares)
    assert sum(shares) == pytest.approx(1.0)
    assert training["frames_per_s"] > 0


@pytest.mark.slow
def test_ratios_compare_with_bare_stepping(result):
    assert 0 < result["env_over_bare"] < 2
    assert 0 < result["engine_over_bare"] < 2
    assert result["env_control_steps_per_s"] > 0
    steps, dt = result["substeps"], result["dt"]
    assert result["env_physics_steps_per_s"] == pytest.approx(steps * result["env_control_steps_per_s"])
    assert result["env_simulated_seconds_per_s"] == pytest.approx(dt * steps * result["env_control_steps_per_s"])
    assert result["worlds"] == 4
    assert result["quarantined"] == 0


@pytest.mark.slow
def test_json_goes_to_a_file_or_to_the_terminal(result, tmp_path, capsys):
    print_bench(result, tmp_path / "bench.json")
    assert json.loads((tmp_path / "bench.json").read_text()) == result
    print_bench(result, type(tmp_path)("-"))
    assert json.loads(capsys.readouterr().out) == result
    print_bench(result, None)
    assert "env_over_bare" in capsys.readouterr().out


def test_an_unknown_model_is_refused():
    with pytest.raises(ConfigError, match="bimanual, myofullbody"):
        bench_env("biped", 1, 1.0)
