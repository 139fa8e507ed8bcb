"""Experiments by name, and what is told when one is not there or is broken."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from musclewarp.biomechanics.experiments import EXPERIMENTS, load_experiment, over_cycle
from musclewarp.biomechanics.experiments.experiment import Experiment, ground_forces
from musclewarp.errors import ConfigError, FileError
from musclewarp.motion.table import Table


def test_a_misspelt_experiment_is_guessed():
    with pytest.raises(ConfigError, match="no experiment 'rajagopal_walk'; did you mean 'rajagopal2016_walk'"):
        load_experiment("rajagopal_walk")
    with pytest.raises(ConfigError, match="choose one of rajagopal2016_walk"):
        load_experiment("?")


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_missing_data_tell_where_they_belong(name, tmp_path, monkeypatch):
    monkeypatch.setenv("MUSCLEWARP_DATA", str(tmp_path))
    with pytest.raises(FileError, match=rf"experimental/{name}: no such folder; set MUSCLEWARP_DATA"):
        load_experiment(name)


def test_an_unknown_selection_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="'hamner_run' takes no 'subject'; it takes nothing"):
        load_experiment("hamner_run", tmp_path, subject=3)
    with pytest.raises(ConfigError, match="it takes subject, task, trial, step"):
        load_experiment("gait120", tmp_path, person=3)


@pytest.mark.parametrize("name", ["rajagopal2016_walk", "santuz_walk_emg", "hamner_run", "bmclab_run2018"])
def test_a_truncated_file_of_an_experiment_is_one_clear_error(name, data_root, tmp_path):
    folder = tmp_path / "experimental" / name
    shutil.copytree(data_root / "experimental" / name, folder)
    for file in load_experiment(name, data_root).files:
        path = folder / file
        whole = path.read_bytes()
        path.chmod(0o644)
        # cut within a row, but not within its last number, which would only be another number
        path.write_bytes(whole[: whole.rindex(b"\n", 0, len(whole) // 2) + 3])
        with pytest.raises(FileError, match=path.name):
            load_experiment(name, tmp_path)
        path.unlink()
        with pytest.raises(FileError, match=rf"{path.name}: no such file"):
            load_experiment(name, tmp_path)
        path.write_bytes(whole)


def test_an_experiment_without_angles_has_no_reference(body):
    with pytest.raises(FileError, match="experiment 'emg only' has no kinematics"):
        Experiment("emg only", "walking", "free", "nobody").reference(body)


def plates(vertical, point):
    columns = [f"{what}{axis}" for what in ("F_v", "F_p", "T_") for axis in "xyz"]
    values = np.zeros((len(vertical), 9))
    values[:, 1], values[:, 3:6] = vertical, point
    both = np.concatenate([values, values], axis=1)
    names = [f"{side}{column}" for side in "rl" for column in columns]
    return Table("g.mot", np.arange(len(vertical)) * 0.1, tuple(names), both, ("",) * 18)


def test_no_point_below_twenty_newtons_and_events_between_samples():
    ground = ground_forces(plates([0, 19.9, 20.1, 40.0], [[9, 9, 9.0]] * 4), "*F_v", "*F_p", "*T_", "rl")
    assert np.isnan(ground["left"].point).any(axis=1).tolist() == [True, True, False, False]


def test_a_missing_point_under_load_is_refused():
    with pytest.raises(FileError, match="under load, is missing"):
        ground_forces(plates([0, 500], [[np.nan] * 3] * 2), "*F_v", "*F_p", "*T_", "rl")


def test_a_cycle_is_pieced_together_by_phase():
    time = np.linspace(0.4, 1.6, 601)
    table = Table("t", time, ("a", "x"), np.stack([np.sin(2 * np.pi * time), time], 1), ("rad", "m"))
    cycle = over_cycle(table, 0.0, 1.0, points=51)  # the first 40 % of it come from the next cycle
    assert cycle["a"] == pytest.approx(np.sin(2 * np.pi * np.linspace(0, 1, 51)), abs=1e-4)
    assert cycle.columns == ("a",)
    with pytest.raises(FileError, match="of the cycle from 0 s was not recorded"):
        over_cycle(table, 0.0, 5.0)
