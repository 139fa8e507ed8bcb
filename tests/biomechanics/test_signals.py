"""Filters against closed form and scipy, runs against a plain loop."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import butter, filtfilt

from musclewarp.biomechanics.signals import checked, debounced, runs, vertex, zero_phase
from musclewarp.errors import SignalError

masks = st.lists(st.booleans(), min_size=1, max_size=40).map(np.array)


@pytest.mark.parametrize("frequency", [1.0, 4.0, 6.0, 9.0, 20.0])
@pytest.mark.parametrize("order", [2, 4])
def test_a_low_pass_has_the_squared_butterworth_gain_and_no_delay(frequency, order):
    time = np.arange(0, 20, 1e-3)
    wave = np.sin(2 * np.pi * frequency * time)
    filtered = zero_phase(wave, 1000, order, high=6.0)[5000:-5000]
    gain = 1 / (1 + (np.tan(np.pi * frequency / 1000) / np.tan(np.pi * 6 / 1000)) ** (2 * order))
    np.testing.assert_allclose(filtered, gain * wave[5000:-5000], atol=1e-6)


def test_a_band_pass_is_scipys_filtfilt():
    noise = np.random.default_rng(0).normal(size=(3000, 2))
    b, a = butter(2, [20, 450], "bandpass", fs=2000)
    ours = zero_phase(noise, 2000, 2, 20, 450)
    np.testing.assert_allclose(ours[500:-500], filtfilt(b, a, noise, axis=0)[500:-500], atol=1e-9)


@pytest.mark.parametrize("edges", [{}, {"low": 0.0}, {"high": 50.0}, {"low": 30.0, "high": 20.0}])
def test_impossible_cutoffs_are_refused(edges):
    with pytest.raises(SignalError, match="cut-offs"):
        zero_phase(np.zeros(500), 100, 2, **edges)


def test_a_record_shorter_than_the_filter_is_refused():
    with pytest.raises(SignalError, match="10 samples are too few"):
        zero_phase(np.zeros(10), 100, 4, high=6.0)


def test_a_missing_sample_is_named():
    with pytest.raises(SignalError, match=r"the force is not finite at index \[3, 1\]"):
        checked([[0, 0], [0, 0], [0, 0], [0, np.nan]], "the force")
    with pytest.raises(SignalError, match="shape"):
        checked([[1.0, 2.0], [1.0, 2.0]], "the force", ndim=1)


@given(masks)
@settings(deadline=None)
def test_runs_rebuild_the_mask(mask):
    rebuilt = np.zeros_like(mask)
    for first, end in runs(mask):
        assert mask[first:end].all()
        rebuilt[first:end] = True
    np.testing.assert_array_equal(rebuilt, mask)


@given(masks, st.integers(1, 6), st.integers(1, 6))
@settings(max_examples=50, deadline=None)
def test_after_debouncing_only_the_ends_are_short(mask, gap, run):
    result = debounced(mask, gap, run)
    inner = [end - first for first, end in runs(result) if first > 0 and end < len(mask)]
    assert all(length >= run for length in inner)
    np.testing.assert_array_equal(debounced(mask, 0, 0), mask)


def test_debouncing_closes_gaps_before_it_drops_runs():
    mask = np.array([int(c) for c in "000110111000100000110"], bool)
    np.testing.assert_array_equal(debounced(mask, 2, 4), [int(c) for c in "000111111000000000000"])
    cut_short = np.array([int(c) for c in "11000001"], bool)
    np.testing.assert_array_equal(debounced(cut_short, 3, 4), cut_short)


@given(st.floats(-0.49, 0.49), st.floats(0.1, 9.0), st.floats(-5, 5))
@settings(deadline=None)
def test_the_vertex_of_a_parabola_is_found(offset, curvature, height):
    offset_found, height_found = vertex(*(height - curvature * (x - offset) ** 2 for x in (-1, 0, 1)))
    assert offset_found == pytest.approx(offset, abs=1e-9)
    assert height_found == pytest.approx(height, abs=1e-9)


def test_three_samples_without_an_extremum_have_no_vertex():
    assert vertex(1.0, 2.0, 3.0) == vertex(2.0, 2.0, 2.0) == vertex(float("nan"), 2.0, 1.0) == (0.0, 2.0)
