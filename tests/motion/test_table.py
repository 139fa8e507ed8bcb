"""Tables: names, units, and resampling that neither shifts, nor bends, nor aliases."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal

from musclewarp.errors import ConfigError, FileError
from musclewarp.motion.table import Table


def table(time, **signals):
    return Table("t.sto", time, tuple(signals), np.stack(list(signals.values()), 1), ("rad",) * len(signals))


def test_a_missing_column_names_its_neighbour():
    walk = table(np.arange(3.0), knee_angle_r=np.ones(3))
    with pytest.raises(FileError, match=r"no column 'knee_angel_r'; did you mean 'knee_angle_r'\?"):
        walk["knee_angel_r"]
    assert "knee_angle_r" in walk
    assert walk.unit("knee_angle_r") == "rad"


def test_columns_are_selected_renamed_and_negated_together_with_their_units():
    mixed = Table("t", np.arange(2.0), ("a", "b"), np.array([[1.0, 2.0], [3.0, 4.0]]), ("rad", "m"))
    other = mixed.select(["b", "a"]).rename({"b": "c"}).negate(["a"])
    assert other.columns == ("c", "a")
    assert other.units == ("m", "rad")
    assert other.values.tolist() == [[2.0, -1.0], [4.0, -3.0]]
    assert mixed.values.tolist() == [[1.0, 2.0], [3.0, 4.0]]


@pytest.mark.parametrize(
    ("time", "columns", "values", "units", "message"),
    [
        ([0.0, 1.0], ("a",), np.zeros((3, 1)), ("m",), "values"),
        ([0.0, 1.0], ("a", "a"), np.zeros((2, 2)), ("m", "m"), "same name"),
        ([0.0, 1.0], ("a",), np.zeros((2, 1)), ("deg",), "units"),
        ([1.0, 1.0], ("a",), np.zeros((2, 1)), ("m",), "do not increase"),
        ([0.0, np.nan], ("a",), np.zeros((2, 1)), ("m",), "do not increase"),
    ],
)
def test_inconsistent_tables_are_refused(time, columns, values, units, message):
    with pytest.raises(FileError, match=message):
        Table("t", np.array(time), columns, values, units)


def test_resampling_keeps_slow_signals_and_their_phase_to_the_ends():
    time = np.arange(0, 2.0, 1e-3)
    slow = np.sin(2 * np.pi * 2.0 * time)
    half = table(time, slow=slow).resample(0.02)
    assert half.time == pytest.approx(0.02 * np.arange(100))
    assert half["slow"] == pytest.approx(np.sin(2 * np.pi * 2.0 * half.time), abs=3e-3)


def test_resampling_does_not_alias():
    time = np.arange(0, 4.0, 1e-3)
    # 49 Hz would come out as 1 Hz at 50 Hz
    fast = table(time, fast=np.sin(2 * np.pi * 49.0 * time)).resample(0.02)
    assert np.abs(fast["fast"][10:-10]).max() < 1e-3


def test_resampling_upwards_interpolates_only():
    time = np.linspace(0, 1, 61)
    fine = table(time, x=time**3).resample(0.01)
    assert fine["x"] == pytest.approx(fine.time**3, abs=1e-9)


def test_resampling_equals_a_zero_phase_butterworth_filter():
    random = np.random.default_rng(0)
    time, noise = np.arange(0, 3.0, 1e-3), random.normal(size=3000)
    expected = scipy.signal.filtfilt(*scipy.signal.butter(4, 20.0, fs=1000.0), noise)
    assert table(time, x=noise).resample(0.02)["x"][20:-20] == pytest.approx(expected[::20][20:-20], abs=1e-3)


def test_resampling_refuses_gaps_and_moments():
    gap = table(np.arange(3.0), x=np.array([0.0, np.nan, 1.0]))
    with pytest.raises(FileError, match="column 'x' is missing at 1 s"):
        gap.resample(0.1)
    with pytest.raises(FileError, match="too short"):
        table(np.array([0.0, 0.01]), x=np.zeros(2)).resample(0.1)


@pytest.mark.parametrize("cutoff", [0.0, -6.0, np.nan])
def test_a_low_pass_needs_a_frequency(cutoff):
    with pytest.raises(ConfigError, match="choose a frequency above 0 Hz"):
        table(np.arange(0, 1, 0.01), a=np.zeros(100)).resample(0.02, cutoff)


def test_a_time_outside_is_refused():
    walk = table(np.arange(3.0), x=np.arange(3.0))
    assert walk.at(np.array([0.5, 2.0]))[:, 0].tolist() == [0.5, 2.0]
    with pytest.raises(FileError, match=r"-1 to 0 s asked for, it has 0 to 2 s"):
        walk.at(np.array([-1.0, 0.0]))
