"""The history of a run is one file, whoever wrote its parts."""

from __future__ import annotations

import csv

from hypothesis import given, settings
from hypothesis import strategies as st

from musclewarp.learning.metrics_log import MetricsLog


def read(folder):
    with open(folder / "metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


def write(folder, first, last, **metrics):
    log = MetricsLog(folder)
    for step in range(first, last + 1):
        log.log_metrics(metrics, step)


def test_each_row_is_in_the_file_at_once(tmp_path):
    log = MetricsLog(tmp_path / "new")
    for step in (1, 2, 3):
        log.log_metrics({"reward": step / 4}, step)
        assert read(tmp_path / "new")[-1] == {"step": str(step), "reward": str(step / 4)}
    assert len(read(tmp_path / "new")) == 3


def test_opening_a_log_touches_nothing(tmp_path):
    write(tmp_path, 1, 3, reward=1.0)
    before = (tmp_path / "metrics.csv").read_bytes()
    log = MetricsLog(tmp_path)
    log.save()
    log.finalize("failed")
    assert (tmp_path / "metrics.csv").read_bytes() == before


@settings(max_examples=30, deadline=None)
@given(made=st.integers(1, 8), resumed=st.integers(1, 9))
def test_rows_after_the_checkpoint_are_replaced_and_those_before_it_kept(made, resumed, tmp_path_factory):
    folder = tmp_path_factory.mktemp("log")
    write(folder, 1, made, reward=0.25)
    write(folder, resumed, resumed + 1, reward=0.5)
    kept = range(1, min(made, resumed - 1) + 1)
    expected = [(step, 0.25) for step in kept] + [(resumed, 0.5), (resumed + 1, 0.5)]
    assert [(int(row["step"]), float(row["reward"])) for row in read(folder)] == expected


def test_a_new_column_is_empty_in_the_rows_before_it(tmp_path):
    write(tmp_path, 1, 2, reward=1.0)
    write(tmp_path, 3, 3, kl=0.5)
    first, _, last = read(tmp_path)
    assert first == {"step": "1", "reward": "1.0", "kl": ""}
    assert last == {"step": "3", "reward": "", "kl": "0.5"}


def test_a_row_that_was_cut_off_is_no_obstacle(tmp_path):
    (tmp_path / "metrics.csv").write_text("kl,reward,step\n0.1,1.0,1\n0.2,2.0,2\n0.3")
    write(tmp_path, 3, 3, kl=0.5, reward=3.0)
    assert [row["step"] for row in read(tmp_path)] == ["1", "2", "3"]
