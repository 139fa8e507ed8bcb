"""Every number of an evaluation, by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from musclewarp.evaluation.metrics import frame_errors, relative_site_error, summarize


@pytest.fixture
def by_hand(make_trial):
    """Three frames whose errors a person can add up; the second frame fails."""
    trial = make_trial(failed_at=1)
    arrays = {key: np.zeros_like(value) for key, value in trial.arrays.items()}
    arrays["site_pos"][:, 1] = [[0.3, 0, 0.4], [0, 0, 0], [0, 0, 1.0]]  # 0.5, 0 and 1 m from the reference
    arrays["site_pos"][:, 2] = [[0, 0, 0], [0, 0.2, 0], [0, 0, 0]]  # 0, 0.2 and 0 m
    arrays["recorded_site_pos"][:, 1] = [[0.3, 0, 0.4], [0, 0, 0], [0, 0, 0]]
    arrays["joint_pos"][:, 0] = [0.1, -0.3, 0.0]
    arrays["joint_vel"][:] = [[1, -1], [2, 0], [0, 0]]
    return dataclasses.replace(trial, arrays=arrays)


def test_errors_of_every_frame(by_hand):
    errors = frame_errors(by_hand)
    expected = {
        "relative_site_error_m": [0.25, 0.1, 0.5],
        "relative_site_error_to_recording_m": [0.0, 0.1, 0.5],
        "relative_site_mean_square_axis_m2": [0.25 / 6, 0.04 / 6, 1 / 6],
        "absolute_site_error_m": [0.5 / 3, 0.2 / 3, 1 / 3],
        "root_error_m": [0, 0, 0],
        "joint_error_rad": [0.05, 0.15, 0],
        "joint_mean_square_rad2": [0.005, 0.045, 0],
        "joint_velocity_error_rad_s": [1, 1, 0],
    }
    assert errors.keys() == expected.keys()
    for key, values in expected.items():
        np.testing.assert_allclose(errors[key], values, atol=1e-7, err_msg=key)


def test_a_summary_means_over_all_frames_and_over_those_before_the_failure(by_hand):
    summary = summarize([by_hand])
    assert summary["success"] == 0.0
    assert summary["frame_coverage"] == pytest.approx(1 / 3)
    assert summary["relative_site_error_m"] == pytest.approx((0.25 + 0.1 + 0.5) / 3)
    assert summary["relative_site_rmse_axis_m"] == pytest.approx(np.sqrt((0.25 + 0.04 + 1) / 18))
    assert summary["joint_rmse_rad"] == pytest.approx(np.sqrt(0.05 / 3))
    assert summary["survived"]["relative_site_error_m"] == pytest.approx(0.25)
    assert summary["survived"]["joint_error_rad"] == pytest.approx(0.05)


def test_a_trial_that_fails_at_once_has_survived_nothing(make_trial):
    summary = summarize([make_trial(failed_at=0)])
    assert summary["survived"] is None
    assert summary["frame_coverage"] == 0.0
    assert np.isfinite(summary["relative_site_error_m"])


def test_every_frame_counts_alike_however_long_its_clip(make_trial):
    long, short = make_trial(frames=9, seed=1), make_trial(failed_at=1, frames=3, seed=2)
    summary = summarize([long, short])
    frames = np.concatenate([relative_site_error(long), relative_site_error(short)])
    assert summary["relative_site_error_m"] == pytest.approx(frames.mean())
    assert summary["survived"]["relative_site_error_m"] == pytest.approx(frames[:10].mean())
    assert summary["success"] == 0.5
    assert summary["frame_coverage"] == pytest.approx(10 / 12)


def test_where_the_root_is_does_not_change_relative_errors(make_trial):
    trial = make_trial()
    walk = np.random.default_rng(5).normal(size=(3, 1, 3)).astype(np.float32)
    moved = dataclasses.replace(trial, arrays={**trial.arrays, "site_pos": trial["site_pos"] + walk})
    before, after = frame_errors(trial), frame_errors(moved)
    for key in ("relative_site_error_m", "relative_site_mean_square_axis_m2", "relative_site_error_to_recording_m"):
        np.testing.assert_allclose(before[key], after[key], atol=1e-6)
    assert not np.allclose(before["absolute_site_error_m"], after["absolute_site_error_m"])


def test_a_perfect_trial_has_no_error(make_trial):
    trial = make_trial()
    names = ("joint_pos", "joint_vel", "site_pos")
    perfect = {**trial.arrays, **{key: trial[f"reference_{key}"] for key in names}}
    perfect["recorded_site_pos"] = trial["reference_site_pos"]
    summary = summarize([dataclasses.replace(trial, arrays=perfect)])
    survived = summary.pop("survived")
    assert (summary.pop("success"), summary.pop("frame_coverage")) == (1.0, 1.0)
    assert summary.pop("survival_s") == pytest.approx(0.04)
    assert summary.pop("intervals") is None
    assert set(summary.values()) == set(survived.values()) == {0.0}


def test_early_termination_is_where_a_frame_passes_a_published_threshold(make_trial):
    trials = []
    for site, root in ((0.29, 0.0), (0.31, 0.0), (0.0, 0.49), (0.0, 0.51)):
        trial = make_trial()
        sites = trial["reference_site_pos"].copy()
        sites[1, 1:, 0] += site
        sites[1] += [0.0, root, 0.0]
        trials.append(dataclasses.replace(trial, arrays={**trial.arrays, "site_pos": sites}))
    assert [summarize([trial])["early_termination"] for trial in trials] == [0.0, 1.0, 0.0, 1.0]
    assert summarize(trials)["early_termination"] == 0.5


def test_survival_is_the_time_before_the_first_failure(make_trial):
    trials = [make_trial(failed_at=failed, frames=10) for failed in (0, 4, -1)]
    assert summarize(trials)["survival_s"] == pytest.approx(0.02 * (0 + 4 + 9) / 3)


def test_intervals_hold_the_truth_as_often_as_they_say(make_trial):
    """Trials that succeed with a known chance."""
    generator = np.random.default_rng(0)
    chance, held = 0.6, 0
    outcomes = {failed: make_trial(failed_at=failed) for failed in (-1, 1)}
    for _ in range(100):
        trials = [outcomes[-1 if generator.random() < chance else 1] for _ in range(30)]
        low, high = summarize(trials)["intervals"]["success"]
        held += low <= chance <= high
    assert 88 <= held <= 100


def test_intervals_surround_the_numbers_and_vanish_where_trials_are_alike(make_trial):
    summary = summarize([make_trial(seed=seed, frames=3 + seed) for seed in range(5)])
    for name, (low, high) in summary["intervals"].items():
        assert low <= summary[name] <= high, name
    alike = summarize([make_trial()] * 3)
    for name, (low, high) in alike["intervals"].items():
        assert low == pytest.approx(high) == pytest.approx(alike[name]), name


def test_a_simulation_that_broke_ended_early(make_trial):
    trial = make_trial()
    perfect = {**trial.arrays, "site_pos": trial["reference_site_pos"]}
    calm = dataclasses.replace(trial, arrays=perfect)
    assert summarize([calm])["early_termination"] == 0.0
    assert summarize([dataclasses.replace(calm, source={"broken": True})])["early_termination"] == 1.0
