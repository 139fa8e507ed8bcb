"""The benchmark of the framework's cost: its shares and ratios are ones, and its JSON is a list of rows."""

from __future__ import annotations

import json

import pytest

from musclewarp.bench import BenchCase, bench, bench_rows, print_rows
from musclewarp.cli import main
from musclewarp.errors import ConfigError


@pytest.fixture(scope="module")
def row():
    return bench(BenchCase("env", worlds=4, seconds=1.0, training=True))


@pytest.mark.slow
def test_shares_of_training_add_up(row):
    training = row["training"]
    shares = [training[key] for key in ("physics_share", "network_share", "other_share")]
    assert all(0 < share < 1 for share in shares)
    assert sum(shares) == pytest.approx(1.0)
    assert training["frames_per_s"] > 0


@pytest.mark.slow
def test_a_row_says_what_was_compared(row):
    assert (row["case"], row["model"], row["engine"], row["device"]) == ("env", "bimanual", "native", "cpu")
    assert (row["worlds"], row["muscles"], row["quarantined"], row["faults"]) == (4, 64, 0, {})
    assert 0 < row["ratio"] < 2
    assert 0 < row["env_over_engine"] < 1.5
    assert row["steps_per_s"] > 0
    assert row["bare_steps_per_s"] > 0
    assert row["physics_steps_per_s"] == pytest.approx(row["substeps"] * row["steps_per_s"])
    assert row["simulated_seconds_per_s"] == pytest.approx(row["dt"] * row["substeps"] * row["steps_per_s"])


@pytest.mark.slow
def test_the_warp_engine_is_compared_with_plain_mujoco_warp():
    (row,) = bench_rows("engine", ["bimanual"], [2], 0.005, 1, engine="warp", seconds=0.1)
    assert (row["engine"], row["worlds"]) == ("warp", 2)
    assert 0 < row["ratio"] < 20


@pytest.mark.slow
def test_json_goes_to_a_file_or_to_the_terminal(row, tmp_path, capsys):
    print_rows([row], tmp_path / "new" / "bench.json")
    assert json.loads((tmp_path / "new" / "bench.json").read_text()) == [row]
    print_rows([row], type(tmp_path)("-"))
    assert json.loads(capsys.readouterr().out) == [row]
    print_rows([row], None)
    out = capsys.readouterr().out
    assert f"{row['ratio']:.2f}" in out
    assert "training:" in out


@pytest.mark.slow
def test_the_command_makes_a_row_for_each_number_of_worlds(tmp_path):
    path = tmp_path / "rows.json"
    assert main(["bench", "engine", "--worlds", "1", "2", "--seconds", "0.1", "--json", str(path)]) == 0
    rows = json.loads(path.read_text())
    assert [(row["case"], row["worlds"]) for row in rows] == [("engine", 1), ("engine", 2)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "biped"}, "bimanual, myofullbody"),
        ({"kind": "coffee"}, "no benchmark of 'coffee'; choose one of engine, env"),
    ],
)
def test_what_cannot_be_measured_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        BenchCase(**{"kind": "env", **options})
