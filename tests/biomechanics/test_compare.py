"""Curves of known correlation, lag, error and peak come back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr, spearmanr

from musclewarp.biomechanics.compare import (
    best_lag,
    compare_curves,
    comparison_table,
    peak_time,
    pearson,
    representational_similarity,
    rmse,
    similarity_matrix,
)
from musclewarp.errors import SignalError

CYCLE = np.linspace(0.0, 1.0, 101)  # 0 to 100 %


def wave(phase=0.0, at=CYCLE):
    """A cycle with two bursts, closed, turned by `phase` of a cycle."""
    x = 2 * np.pi * (at - phase)
    return np.exp(3 * np.cos(x)) / 20 + 0.3 * np.exp(4 * np.cos(x - 2.0)) / 50


@pytest.mark.parametrize("r", [-0.9, -0.3, 0.0, 0.5, 0.99])
def test_a_known_correlation_comes_back(r):
    a, b = np.random.default_rng(0).normal(size=(2, 200))
    a -= a.mean()
    b -= b.mean()
    b -= (a @ b) / (a @ a) * a  # orthogonal
    mixed = r * a / np.linalg.norm(a) + np.sqrt(1 - r**2) * b / np.linalg.norm(b)
    assert pearson(a, mixed) == pytest.approx(r, abs=1e-12)


@given(st.integers(0, 2**31), st.floats(0.01, 100), st.floats(-100, 100))
@settings(max_examples=30, deadline=None)
def test_correlation_is_scipys_and_blind_to_level_and_gain(seed, gain, offset):
    a, b = np.random.default_rng(seed).normal(size=(2, 50))
    assert pearson(a, b) == pytest.approx(pearsonr(a, b).statistic, abs=1e-12)
    assert pearson(gain * a + offset, b) == pytest.approx(pearson(a, b), abs=1e-9)
    assert pearson(a, b) == pearson(b, a)


@given(st.floats(-0.45, 0.45))
@settings(max_examples=30, deadline=None)
def test_a_known_cyclic_lag_comes_back_between_samples(lag):
    found = best_lag(wave(0.2 + lag), wave(0.2), dt=0.012, cyclic=True)
    assert found.seconds == pytest.approx(1.2 * lag, abs=0.1 * 0.012)  # a tenth of a sample
    assert found.r > 0.999
    coarse = best_lag(wave(0.2 + lag), wave(0.2), dt=0.012, cyclic=True, subsample=False)
    assert coarse.seconds == pytest.approx(1.2 * lag, abs=0.51 * 0.012)


def test_the_doubled_end_of_a_cycle_does_not_shift_the_lag():
    """With the last point kept, turning by 25 of 100 points would be 25 of 101."""
    curve = wave(0.1)
    turned = np.append(np.roll(curve[:-1], 25), np.roll(curve[:-1], 25)[0])
    found = best_lag(turned, curve, dt=0.01, cyclic=True, subsample=False)
    assert found.seconds == pytest.approx(0.25)
    assert found.r == pytest.approx(1.0, abs=1e-12)


@given(st.integers(-40, 40), st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_a_known_plain_lag_comes_back(lag, seed):
    noise = np.cumsum(np.random.default_rng(seed).normal(size=400))
    a, b = noise[100 - lag : 300 - lag], noise[100:300]
    found = best_lag(a, b, dt=0.01, cyclic=False, subsample=False)
    assert found.seconds == pytest.approx(0.01 * lag)
    assert found.r == pytest.approx(1.0, abs=1e-9)


def test_a_plain_lag_is_the_best_of_pearsons_over_the_overlap():
    a, b = np.random.default_rng(1).normal(size=(2, 60)) + 100.0

    def by_scipy(lag):
        return pearsonr(a[max(0, lag) : 60 + min(0, lag)], b[max(0, -lag) : 60 - max(0, lag)]).statistic

    best = best_lag(a, b, 1.0, cyclic=False, max_lag=10, subsample=False)
    assert best.seconds == max(range(-10, 11), key=by_scipy)
    assert best.r == pytest.approx(by_scipy(int(best.seconds)), abs=1e-12)


@given(st.integers(0, 2**31), st.booleans())
@settings(max_examples=30, deadline=None)
def test_the_lag_changes_sign_with_the_order_and_is_no_worse_than_none(seed, cyclic):
    a, b = np.random.default_rng(seed).normal(size=(2, 80))
    if cyclic:
        a[-1], b[-1] = a[0], b[0]
    there, back = (best_lag(x, y, 1.0, cyclic, max_lag=9) for x, y in ((a, b), (b, a)))
    assert there.seconds == pytest.approx(-back.seconds, nan_ok=True)
    assert there.r == pytest.approx(back.r, nan_ok=True)
    assume(np.isfinite(there.r))
    aligned = pearson(a[:-1], b[:-1]) if cyclic else pearson(a, b)
    assert there.r >= aligned - 1e-12


@pytest.mark.parametrize("cyclic", [True, False])
def test_a_lag_beyond_what_was_asked_is_none_and_not_the_bound(cyclic):
    assert np.isnan(best_lag(wave(0.08), wave(0.0), dt=0.01, cyclic=cyclic, max_lag=0.05)).all()
    found = best_lag(wave(0.05), wave(0.0), dt=0.01, cyclic=cyclic, max_lag=0.05, subsample=False)
    assert found.seconds == pytest.approx(0.05)  # a peak at the bound is one


def test_rmse_by_hand():
    assert rmse([1.0, 2.0, 3.0], [1.0, 4.0, 1.0]) == pytest.approx(np.sqrt(8 / 3))


@given(st.floats(0.0, 1.0))
@settings(max_examples=30, deadline=None)
def test_a_known_peak_is_timed_between_samples(at):
    assume(abs(at - 1.0) > 1e-3)
    bump = np.exp(5 * np.cos(2 * np.pi * (CYCLE - at)))
    found = peak_time(bump, dt=0.01, cyclic=True)
    assert (found - at + 0.5) % 1.0 - 0.5 == pytest.approx(0.0, abs=1e-4)
    assert peak_time([3.0, 1.0, 0.0], 0.1, cyclic=False) == 0.0


def test_every_number_of_a_comparison_is_right():
    """1.2 s a cycle; the simulated curve is twice as high and 5 % late, across the end of the cycle."""
    measured = np.stack((wave(0.98), np.exp(5 * np.cos(2 * np.pi * (CYCLE - 0.98)))), axis=1)
    simulated = 2 * np.stack((wave(0.03), np.exp(5 * np.cos(2 * np.pi * (CYCLE - 0.03)))), axis=1)
    table = comparison_table(
        compare_curves(simulated, measured, ["two bursts", "one"], 1.2, of_maximum=True), {"one": 0.9}
    )
    assert list(table.columns) == ["r", "lag_s", "r_at_lag", "rmse", "peak_lag_s", "ceiling_r"]
    np.testing.assert_allclose(table["lag_s"], 0.06, atol=1e-3)
    np.testing.assert_allclose(table["peak_lag_s"], 0.06, atol=1e-3)
    np.testing.assert_allclose(table["r_at_lag"], 1.0, atol=1e-3)
    assert table.loc["one", "r"] == pytest.approx(pearsonr(simulated[:, 1], measured[:, 1]).statistic)
    of_maximum = measured[:, 1] / measured[:, 1].max() - simulated[:, 1] / simulated[:, 1].max()
    assert table.loc["one", "rmse"] == pytest.approx(np.sqrt(np.mean(of_maximum**2)))
    assert table.loc["one", "ceiling_r"] == 0.9
    assert np.isnan(table.loc["two bursts", "ceiling_r"])
    level = compare_curves(simulated, measured, ["two bursts", "one"], 1.2)
    assert level[1].rmse == pytest.approx(rmse(simulated[:, 1], measured[:, 1]))


@pytest.mark.parametrize("cyclic", [True, False])
@pytest.mark.parametrize("level", [0.0, 0.1])
def test_a_silent_muscle_correlates_with_nothing(cyclic, level):
    """0.1 has no exact mean in binary; its rounding must not correlate."""
    silent = np.full((101, 1), level)
    (found,) = compare_curves(silent, wave()[:, None], ["soleus"], 1.0, cyclic, of_maximum=True)
    assert np.isnan([found.r, found.lag_s, found.r_at_lag, found.peak_lag_s]).all()
    assert np.isfinite(found.rmse)


def test_curves_that_do_not_fit_are_refused():
    with pytest.raises(SignalError, match="101 and 100 points"):
        pearson(CYCLE, CYCLE[1:])
    with pytest.raises(SignalError, match="must both be"):
        compare_curves(np.zeros((101, 2)), np.zeros((101, 2)), ["soleus"], 1.0)
    measured = np.zeros((101, 1))
    measured[3] = np.nan
    with pytest.raises(SignalError, match=r"measured curves is not finite at index \[3, 0\]"):
        compare_curves(np.zeros((101, 1)), measured, ["soleus"], 1.0)


def test_similarity_of_muscles_is_their_correlation():
    signals = np.random.default_rng(0).normal(size=(300, 5))
    found = similarity_matrix(signals)
    for i in range(5):
        for j in range(5):
            assert found[i, j] == pytest.approx(pearsonr(signals[:, i], signals[:, j]).statistic)


@given(st.integers(0, 2**31))
@settings(max_examples=20, deadline=None)
def test_coordination_is_compared_by_its_pattern_alone(seed):
    """Levels, gains, and an order of time common to all muscles do not matter; the order of muscles does."""
    rng = np.random.default_rng(seed)
    signals = rng.normal(size=(200, 6)) @ rng.normal(size=(6, 6))
    shuffled = rng.permutation(signals) * rng.uniform(0.5, 2, 6) + rng.normal(size=6)
    assert representational_similarity(signals, shuffled) == pytest.approx(1.0)
    other = rng.normal(size=(90, 6)) @ rng.normal(size=(6, 6))
    upper = np.triu_indices(6, 1)
    expected = spearmanr(np.corrcoef(signals.T)[upper], np.corrcoef(other.T)[upper]).statistic
    assert representational_similarity(signals, other) == pytest.approx(expected)


def test_patterns_that_do_not_exist_are_refused():
    signals = np.random.default_rng(0).normal(size=(50, 4))
    with pytest.raises(SignalError, match="2 muscles"):
        similarity_matrix(signals[:, :2])
    with pytest.raises(SignalError, match=r"columns \[1, 2\]"):
        similarity_matrix(signals * [1, 0, 0, 1])
    with pytest.raises(SignalError, match="4 and 3 muscles"):
        representational_similarity(signals, signals[:, :3])
