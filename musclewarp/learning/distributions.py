"""Distributions of actions: Gaussian for joint targets, squashed Gaussian or Beta for excitations in (0, 1).

All take the same numbers, `loc` and `scale (..., A)`: mean and standard deviation, of excitations their logits'.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.distributions import (
    Beta,
    Distribution,
    Independent,
    Normal,
    SigmoidTransform,
    TransformedDistribution,
    constraints,
)

_SMALLEST = 1e-6  # excitations stay as far from 0 and 1, where a density is zero or infinite in float32


class CorrelatedNormal(Distribution):
    """Gaussians `(..., M)` whose M components are correlated alike everywhere: x = loc + scale * (mixing @ noise).

    Args:
        loc, scale: `(..., M)`, mean and standard deviation of each component.
        mixing: `(M, M)`, Cholesky factor of the correlation matrix.
    """

    # torch declares as properties what its own distributions have as attributes
    arg_constraints = {}  # noqa: RUF012  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]
    support = constraints.real_vector  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]
    has_rsample = True

    def __init__(self, loc: torch.Tensor, scale: torch.Tensor, mixing: torch.Tensor) -> None:
        self.loc, self.scale, self.mixing = loc, scale, mixing
        super().__init__(loc.shape[:-1], loc.shape[-1:], validate_args=False)

    @property
    def deterministic_sample(self) -> torch.Tensor:
        """The mean."""
        return self.loc

    def rsample(self, sample_shape: Any = ()) -> torch.Tensor:
        """A sample that gradients flow through."""
        noise = torch.randn(
            self._extended_shape(torch.Size(sample_shape)), dtype=self.loc.dtype, device=self.loc.device
        )
        return self.loc + self.scale * (noise @ self.mixing.T)

    def log_prob(self, value: torch.Tensor) -> torch.Tensor:
        """Log density `(...)`."""
        scaled = (value - self.loc) / self.scale
        noise = torch.linalg.solve_triangular(self.mixing, scaled.reshape(-1, scaled.shape[-1]).T, upper=False)
        squares = noise.square().sum(0).view(scaled.shape[:-1])
        return -0.5 * (squares + scaled.shape[-1] * math.log(2 * math.pi)) - self._log_volume()

    def entropy(self) -> torch.Tensor:
        """Entropy `(...)`."""
        return self._log_volume() + 0.5 * self.loc.shape[-1] * (1 + math.log(2 * math.pi))

    def _log_volume(self) -> torch.Tensor:
        return self.scale.log().sum(-1) + self.mixing.diagonal().log().sum()


class Gaussian(Independent[Normal]):
    """Independent Gaussians, whose deterministic sample TorchRL finds."""

    def __init__(self, loc: torch.Tensor, scale: torch.Tensor) -> None:
        super().__init__(Normal(loc, scale, validate_args=False), 1, validate_args=False)

    @property
    def deterministic_sample(self) -> torch.Tensor:
        """The mean."""
        return self.mean


def gaussian(loc: torch.Tensor, scale: torch.Tensor, mixing: torch.Tensor | None = None) -> Distribution:
    """Gaussians `(..., A)`, independent, or correlated if `mixing (A, A)`, a Cholesky factor, is given."""
    return Gaussian(loc, scale) if mixing is None else CorrelatedNormal(loc, scale, mixing)


class LogitNormal(TransformedDistribution):
    """A Gaussian squashed by a sigmoid, with its exact density.

    Args:
        loc, scale: `(..., M)`, mean and standard deviation of the excitations' logits.
        mixing: `(M, M)`, Cholesky factor of the logits' correlation matrix; default: they are independent.
    """

    arg_constraints = {}  # noqa: RUF012 (torch's own declaration; validation is the base's)

    def __init__(self, loc: torch.Tensor, scale: torch.Tensor, mixing: torch.Tensor | None = None) -> None:
        self.loc, self.scale = loc, scale
        super().__init__(gaussian(loc, scale, mixing), SigmoidTransform(), validate_args=False)

    @property
    def mode(self) -> torch.Tensor:
        """The median, which is the sigmoid of the mean logit (torch's and TorchRL's name for the deterministic one)."""
        return torch.sigmoid(self.loc)

    @property
    def deterministic_sample(self) -> torch.Tensor:
        """The same, under the name that TorchRL looks for first."""
        return self.mode

    def entropy(self) -> torch.Tensor:
        """Entropy `(...)` of the logits, which changes with `scale` as that of the excitations does."""
        return self.base_dist.entropy()


class BetaExcitation(Independent[Beta]):
    """Beta distributions with mean m = sigmoid(loc), each about as wide as a logit-normal of the same `scale`.

        alpha = 1 / (scale^2 (1 - m)),   beta = 1 / (scale^2 m)

    To first order var(logit x) = var(x) / (m (1 - m))^2, and var(x) = m (1 - m) / (alpha + beta + 1). With `scale`
    below 1 both are above 1: one peak, and no density at 0 and 1 (after Chou et al. 2017, PMLR 70:834).

    Args:
        loc, scale: `(..., M)`, logit of the mean, and standard deviation of the logit.
    """

    def __init__(self, loc: torch.Tensor, scale: torch.Tensor) -> None:
        self.loc, self.scale = loc, scale
        precision = scale.square().reciprocal()
        beta = Beta(precision / torch.sigmoid(-loc), precision / torch.sigmoid(loc), validate_args=False)
        super().__init__(beta, 1, validate_args=False)

    @property
    def deterministic_sample(self) -> torch.Tensor:
        """The mean, under the name that TorchRL looks for first."""
        return torch.sigmoid(self.loc)

    def rsample(self, sample_shape: Any = ()) -> torch.Tensor:
        """A sample that gradients flow through."""
        return super().rsample(torch.Size(sample_shape)).clamp(_SMALLEST, 1 - _SMALLEST)

    def sample(self, sample_shape: Any = ()) -> torch.Tensor:
        """A sample."""
        return super().sample(torch.Size(sample_shape)).clamp(_SMALLEST, 1 - _SMALLEST)

    def log_prob(self, value: torch.Tensor) -> torch.Tensor:
        """Log density `(...)`."""
        return super().log_prob(value.clamp(_SMALLEST, 1 - _SMALLEST))
