"""Observation statistics: those of all that was seen, and changed by `update` alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from musclewarp.learning.normalization import ObservationNormalizer


@pytest.fixture
def batches():
    """Batches of unlike sizes, shapes and offsets."""
    random = np.random.default_rng(0)
    kinds = [(3, 2, (4, 7, 3)), (-50, 0.1, (1, 3)), (0, 9, (64, 3))]
    return [random.normal(mean, scale, shape) for mean, scale, shape in kinds]


def test_merged_statistics_are_those_of_everything_that_was_seen(batches):
    normalizer = ObservationNormalizer(3)
    for batch in batches:
        normalizer.update(torch.from_numpy(batch))
    everything = np.concatenate([batch.reshape(-1, 3) for batch in batches])
    np.testing.assert_allclose(normalizer.mean, everything.mean(0), rtol=1e-12)
    np.testing.assert_allclose(normalizer.var, everything.var(0), rtol=1e-12)
    assert normalizer.count == len(everything)


def test_small_differences_of_large_numbers_keep_their_variance():
    normalizer = ObservationNormalizer(1)
    values = 1e5 + np.random.default_rng(0).normal(scale=1e-2, size=(5, 1000, 1))
    for batch in values:
        normalizer.update(torch.from_numpy(batch))
    np.testing.assert_allclose(normalizer.var, values.var(), rtol=1e-6)


def test_normalised_observations_have_zero_mean_and_unit_variance(batches):
    normalizer = ObservationNormalizer(3)
    normalizer.update(torch.from_numpy(batches[0]))
    scaled = normalizer(torch.from_numpy(batches[0]).float()).reshape(-1, 3)
    assert scaled.dtype == torch.float32
    torch.testing.assert_close(scaled.mean(0), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(scaled.var(0, correction=0), torch.ones(3), atol=1e-4, rtol=0)


def test_outliers_are_clipped():
    assert ObservationNormalizer(1, clip=5.0)(torch.tensor([[1e9], [-1e9]])).tolist() == [[5.0], [-5.0]]


@pytest.mark.parametrize("training", [True, False])
def test_forward_never_changes_the_statistics(training, batches):
    normalizer = ObservationNormalizer(3).train(training)
    normalizer.update(torch.from_numpy(batches[0]))
    before = {key: value.clone() for key, value in normalizer.state_dict().items()}
    normalizer(torch.full((8, 3), 1e6))
    assert all(torch.equal(before[key], value) for key, value in normalizer.state_dict().items())


def test_statistics_are_saved_with_the_weights():
    assert set(ObservationNormalizer(3).state_dict()) == {"mean", "var", "count"}
