"""Ceilings, intervals and tests of samples that are known."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, wilcoxon

from musclewarp.biomechanics.compare import pearson, rmse
from musclewarp.biomechanics.statistics import bootstrap_interval, holm, leave_one_out, paired_tests, pairwise
from musclewarp.errors import SignalError


def test_each_subject_meets_the_mean_of_the_others():
    subjects = np.array([[0.0, 0.0], [3.0, 3.0], [6.0, 9.0]])
    by_hand = np.sqrt([(4.5**2 + 6**2) / 2, (0**2 + 1.5**2) / 2, (4.5**2 + 7.5**2) / 2])
    np.testing.assert_allclose(leave_one_out(subjects, rmse), by_hand)


def test_the_ceiling_of_a_common_signal_under_noise_is_its_closed_form():
    """Signal variance 1, noise variance v, n others: r = 1 / sqrt((1 + v) (1 + v / n))."""
    rng = np.random.default_rng(0)
    v, subjects = 0.5, 15
    common = rng.normal(size=20000)
    recorded = common + np.sqrt(v) * rng.normal(size=(subjects, 20000))
    found = leave_one_out(recorded, pearson)
    np.testing.assert_allclose(found, 1 / np.sqrt((1 + v) * (1 + v / (subjects - 1))), atol=0.01)


def test_alike_subjects_reach_one():
    curve = np.random.default_rng(0).normal(size=100)
    np.testing.assert_allclose(leave_one_out(np.stack([curve] * 4), pearson), 1.0)
    with pytest.raises(SignalError, match="at least two"):
        leave_one_out(curve[None], pearson)


def test_intervals_hold_the_mean_as_often_as_they_say():
    rng = np.random.default_rng(0)
    held = 0
    for seed in range(200):
        found = bootstrap_interval(rng.exponential(size=40), level=0.9, resamples=500, seed=seed)
        assert found.low <= found.mean <= found.high
        held += found.low <= 1.0 <= found.high
    low, high = binom.interval(0.999, 200, 0.87)  # a bootstrap of 40 skewed values holds slightly less than it says
    assert low <= held <= high


def test_intervals_come_again_with_their_seed():
    values = np.random.default_rng(0).normal(size=12)
    assert bootstrap_interval(values, seed=3) == bootstrap_interval(values, seed=3)
    assert bootstrap_interval(values, seed=3) != bootstrap_interval(values, seed=4)
    constant = bootstrap_interval(np.full(5, 0.1))
    assert constant.low == constant.high == pytest.approx(0.1)


def test_holm_by_hand():
    """0.01 x 4, 0.02 x 3, 0.03 x 2 (raised to its predecessor's 0.06), 0.5 x 1."""
    np.testing.assert_allclose(holm([0.5, 0.01, 0.03, 0.02]), [0.5, 0.04, 0.06, 0.06])
    np.testing.assert_allclose(holm([0.7, 0.9]), [1.0, 1.0])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
@settings(max_examples=50, deadline=None)
def test_holm_lies_between_no_correction_and_bonferroni_and_keeps_the_order(p):
    corrected = holm(p)
    assert (corrected >= p).all()
    assert (corrected <= np.minimum(1.0, len(p) * np.array(p))).all()
    assert (np.diff(corrected[np.argsort(p, kind="stable")]) >= 0).all()


def test_paired_tests_find_the_column_that_differs():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 15, 3))
    first[:, 1] += 3.0
    tests = paired_tests(first, second, ["hip", "knee", "ankle"])
    assert [test.p_holm < 0.05 for test in tests] == [False, True, False]
    for k, test in enumerate(tests):
        assert test.p == pytest.approx(wilcoxon(first[:, k], second[:, k]).pvalue)
        assert test.median_difference == pytest.approx(np.median(first[:, k] - second[:, k]))
    assert [test.p_holm for test in tests] == pytest.approx(list(holm([test.p for test in tests])))
    assert list(pd.DataFrame(list(tests))["name"]) == ["hip", "knee", "ankle"]


def test_the_effect_is_the_share_of_ranks_for_less_the_share_against():
    """Differences 1, 2, 3, -4 have the ranks 1, 2, 3, 4: (6 - 4) / 10."""
    (test,) = paired_tests(np.array([[1.0], [2.0], [3.0], [-4.0]]), np.zeros((4, 1)), ["hip"])
    assert test.effect == pytest.approx(0.2)
    (all_larger,) = paired_tests(np.ones((6, 1)), np.zeros((6, 1)), ["hip"])
    assert all_larger.effect == 1.0
    assert all_larger.p == pytest.approx(2 * 0.5**6)


def test_missing_pairs_are_left_out_and_equal_ones_prove_nothing():
    first = np.array([[1.0, 2.0], [2.0, 2.0], [np.nan, 2.0], [3.5, 2.0]])
    gap, equal = paired_tests(first, np.full((4, 2), 2.0), ["gap", "equal"])
    assert (gap.pairs, equal.pairs) == (3, 4)
    assert (equal.p, equal.effect, equal.p_holm) == (1.0, 0.0, 1.0)
    with pytest.raises(SignalError, match="'none' has no pair"):
        paired_tests(np.full((4, 1), np.nan), np.zeros((4, 1)), ["none"])
    with pytest.raises(SignalError, match="must both be"):
        paired_tests(np.zeros((4, 1)), np.zeros((5, 1)), ["hip"])


def test_pairs_are_less_alike_than_one_person_and_a_mean():
    random = np.random.default_rng(0)
    people = np.sin(np.linspace(0.0, 2 * np.pi, 101)) + random.normal(size=(12, 101))
    pairs = pairwise(people)
    np.testing.assert_allclose(pairs, [pearson(one, other) for one, other in combinations(people, 2)], atol=1e-14)
    assert pairs.mean() == pytest.approx(0.5 / 1.5, abs=0.05)  # variances of the signal and of all
    assert pairs.mean() < leave_one_out(people, pearson).mean() - 0.1


def test_one_who_does_nothing_is_like_nobody(recwarn):
    curve = np.sin(np.linspace(0.0, 2 * np.pi, 101))
    np.testing.assert_array_equal(np.isnan(pairwise([curve, np.ones(101), -curve])), [True, False, True])
    with pytest.raises(SignalError, match="at least two samples"):
        pairwise(curve[None])
    assert not recwarn
