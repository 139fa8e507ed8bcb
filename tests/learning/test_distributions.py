"""Densities of excitations against their definitions and against scipy's."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch

from musclewarp.learning.distributions import BetaExcitation, LogitNormal

CASES = [(-2.0, 0.6), (0.0, 0.4), (1.5, 1.2)]


@pytest.mark.parametrize(("loc", "scale"), CASES)
def test_density_is_the_logit_normals(loc, scale):
    excitation = np.linspace(0.01, 0.99, 99)
    found = LogitNormal(torch.tensor([loc]), torch.tensor([scale])).log_prob(torch.tensor(excitation)[:, None])
    normal = scipy.stats.norm.logpdf(scipy.special.logit(excitation), loc, scale)
    np.testing.assert_allclose(found, normal - np.log(excitation * (1 - excitation)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("loc", "scale"), CASES)
def test_density_integrates_to_one(loc, scale):
    excitation = torch.linspace(1e-6, 1 - 1e-6, 200_001, dtype=torch.float64)
    density = LogitNormal(torch.tensor([loc]), torch.tensor([scale])).log_prob(excitation[:, None]).exp()
    assert float(torch.trapezoid(density, excitation)) == pytest.approx(1.0, abs=1e-4)


def test_muscles_are_independent():
    loc, scale = torch.tensor([-2.0, 1.0]), torch.tensor([0.6, 0.4])
    excitation = torch.tensor([0.1, 0.7])
    each = [LogitNormal(loc[i : i + 1], scale[i : i + 1]).log_prob(excitation[i : i + 1]) for i in range(2)]
    torch.testing.assert_close(LogitNormal(loc, scale).log_prob(excitation), sum(each))


def test_the_deterministic_excitation_is_the_median():
    torch.manual_seed(0)
    distribution = LogitNormal(torch.tensor([-1.0, 0.5]), torch.tensor([0.8, 0.3]))
    below = (distribution.sample((20_000,)) < distribution.deterministic_sample).float().mean(0)
    torch.testing.assert_close(below, torch.tensor([0.5, 0.5]), atol=0.02, rtol=0)


def correlation():
    """Of three muscles."""
    return torch.tensor([[1.0, 0.6, -0.3], [0.6, 1.0, 0.1], [-0.3, 0.1, 1.0]], dtype=torch.float64)


def test_a_correlated_density_is_that_of_a_multivariate_gaussians_logits():
    generator = np.random.default_rng(0)
    loc, scale = torch.tensor(generator.normal(size=(20, 3))), torch.tensor(generator.uniform(0.2, 1.0, 3))
    excitation = torch.tensor(generator.uniform(0.05, 0.95, (20, 3)))
    found = LogitNormal(loc, scale.expand(20, 3), torch.linalg.cholesky(correlation())).log_prob(excitation)
    covariance = np.diag(scale) @ correlation().numpy() @ np.diag(scale)
    for row in range(20):
        logits = scipy.stats.multivariate_normal(loc[row].numpy(), covariance).logpdf(
            scipy.special.logit(excitation[row])
        )
        jacobian = np.log(excitation[row] * (1 - excitation[row])).sum()
        assert float(found[row]) == pytest.approx(float(logits - jacobian), abs=1e-9)


def test_correlated_samples_are_as_correlated_and_as_wide_as_they_should_be():
    torch.manual_seed(0)
    loc, scale = torch.zeros(3, dtype=torch.float64), torch.tensor([0.2, 0.5, 1.0], dtype=torch.float64)
    logits = torch.logit(LogitNormal(loc, scale, torch.linalg.cholesky(correlation())).sample((40_000,)))
    torch.testing.assert_close(logits.std(0), scale, rtol=0.03, atol=0.0)
    torch.testing.assert_close(torch.corrcoef(logits.T), correlation(), rtol=0.0, atol=0.02)


def test_no_correlation_is_independence():
    loc, scale, excitation = torch.randn(5, 3), torch.rand(5, 3) + 0.1, torch.rand(5, 3) * 0.9 + 0.05
    alone = LogitNormal(loc, scale, torch.eye(3))
    torch.testing.assert_close(alone.log_prob(excitation), LogitNormal(loc, scale).log_prob(excitation))
    torch.testing.assert_close(alone.entropy(), LogitNormal(loc, scale).entropy())


@pytest.mark.parametrize(("loc", "scale"), [(-3.0, 0.3), (0.0, 0.5), (2.0, 0.3)])
def test_a_beta_excitation_has_the_mean_and_the_width_it_was_given(loc, scale):
    torch.manual_seed(0)
    distribution = BetaExcitation(torch.tensor([loc]), torch.tensor([scale]))
    samples = distribution.sample((100_000,))
    assert float(samples.mean()) == pytest.approx(scipy.special.expit(loc), rel=0.02)
    assert float(torch.logit(samples).std()) == pytest.approx(scale, rel=0.15)
    assert float(distribution.deterministic_sample) == pytest.approx(scipy.special.expit(loc), rel=1e-6)


@pytest.mark.parametrize(("loc", "scale"), [(-3.0, 0.3), (0.0, 0.5), (2.0, 0.9)])
def test_a_beta_density_is_scipys(loc, scale):
    excitation, mean = np.linspace(0.01, 0.99, 99), scipy.special.expit(loc)
    found = BetaExcitation(torch.tensor([loc], dtype=torch.float64), torch.tensor([scale], dtype=torch.float64))
    expected = scipy.stats.beta.logpdf(excitation, 1 / (scale**2 * (1 - mean)), 1 / (scale**2 * mean))
    np.testing.assert_allclose(found.log_prob(torch.tensor(excitation)[:, None]), expected, rtol=1e-6)


def test_no_excitation_has_an_infinite_density():
    ends = torch.tensor([[0.0, 1.0]])
    for kind in (LogitNormal, BetaExcitation):
        drawn = kind(torch.full((1, 2), 14.0), torch.full((1, 2), 0.5))
        assert drawn.log_prob(drawn.sample()).isfinite().all()
    assert BetaExcitation(torch.zeros(1, 2), torch.full((1, 2), 0.5)).log_prob(ends).isfinite().all()
