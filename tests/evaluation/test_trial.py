"""Trial files: what comes back, and what is refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from musclewarp.errors import FileError
from musclewarp.evaluation.trial import Trial
from musclewarp.files import write_arrays


def test_a_saved_trial_comes_back_as_it_was(make_trial, tmp_path):
    trial = make_trial(failed_at=2)
    loaded = Trial.load(trial.save(tmp_path / "a.trial.safetensors"))
    fields = {field.name for field in dataclasses.fields(Trial)} - {"arrays"}
    assert all(getattr(loaded, name) == getattr(trial, name) for name in fields)
    assert loaded.arrays.keys() == trial.arrays.keys()
    for key, value in trial.arrays.items():
        assert loaded[key].dtype == value.dtype
        np.testing.assert_array_equal(loaded[key], value)


@pytest.mark.parametrize(("failed_at", "success", "survived"), [(-1, True, 3), (0, False, 0), (2, False, 2)])
def test_success_is_never_to_fail(failed_at, success, survived, make_trial):
    trial = make_trial(failed_at=failed_at)
    assert (trial.success, trial.survived) == (success, survived)


def test_time_starts_at_zero_and_counts_steps(make_trial):
    np.testing.assert_allclose(make_trial(frames=4).time, [0, 0.02, 0.04, 0.06])


def test_truncated_trials_are_refused(make_trial, tmp_path):
    whole = make_trial().save(tmp_path / "whole.safetensors").read_bytes()

    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.integers(0, len(whole) - 1))
    def check(length):
        path = tmp_path / "cut.safetensors"
        path.write_bytes(whole[:length])
        with pytest.raises(FileError, match="cut"):
            Trial.load(path)

    check()


HEADER = {"clip": "a", "controller": "b", "model": "c", "model_hash": "d", "dt": 0.02, "failed_at": -1, "source": {}}
HEADER |= {"muscles": [], "joints": [], "sites": [], "feet": []}


@pytest.mark.parametrize("change", [{"dt": None}, {"sites": 3}, {"failed_at": "never"}, {"source": None}, {"clip": 7}])
def test_a_forged_header_is_refused(change, tmp_path):
    path = write_arrays(tmp_path / "forged.safetensors", {"qpos": np.zeros((3, 4))}, HEADER | change, "trial", 1)
    with pytest.raises(FileError, match="forged"):
        Trial.load(path)


@pytest.mark.parametrize("missing", ["dt", "sites", "source"])
def test_an_incomplete_header_is_refused(missing, tmp_path):
    header = {key: value for key, value in HEADER.items() if key != missing}
    path = write_arrays(tmp_path / "part.safetensors", {"qpos": np.zeros((3, 4))}, header, "trial", 1)
    with pytest.raises(FileError, match=f"part.*{missing}"):
        Trial.load(path)


@pytest.mark.parametrize("arrays", [{}, {"qpos": np.zeros((3, 4)), "qvel": np.zeros((2, 4))}])
def test_arrays_that_do_not_belong_together_are_refused(arrays, tmp_path):
    path = write_arrays(tmp_path / "arrays.safetensors", {"x": np.zeros(3), **arrays}, HEADER, "trial", 1)
    with pytest.raises(FileError, match="arrays"):
        Trial.load(path)


def test_a_reference_is_no_trial(clips, tmp_path):
    with pytest.raises(FileError, match="holds a 'reference', expected a 'trial'"):
        Trial.load(clips[0].save(tmp_path / "a.safetensors"))
