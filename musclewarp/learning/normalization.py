"""Observation normalisation with statistics that change between updates only."""

from __future__ import annotations

import torch
from torch import nn

from musclewarp.learning.distributed import all_reduce_sum


class ObservationNormalizer(nn.Module):
    """Scales observations `(..., D)` to zero mean and unit variance, clipped to +-`clip`.

    `forward` never changes the statistics: call `update` between updates, so that the policy that collected a rollout
    and the one that learns from it see the same numbers. The statistics are buffers: they travel in checkpoints.
    """

    mean: torch.Tensor
    var: torch.Tensor
    count: torch.Tensor

    def __init__(self, size: int, clip: float = 10.0) -> None:
        super().__init__()
        self.clip = clip
        self.register_buffer("mean", torch.zeros(size, dtype=torch.float64))
        self.register_buffer("var", torch.ones(size, dtype=torch.float64))
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        """Normalised float32 observation of the same shape."""
        scale = (self.var + 1e-8).rsqrt()
        return ((observation - self.mean.float()) * scale.float()).clamp(-self.clip, self.clip)

    @torch.no_grad()
    def update(self, observation: torch.Tensor, anew: torch.Tensor | None = None) -> None:
        """Merge the statistics of a batch `(..., D)`, summed over all ranks (Chan et al. 1979, parallel variance).

        Columns of the mask `anew (D,)` forget those before.
        """
        batch = observation.reshape(-1, observation.shape[-1]).double()
        total = all_reduce_sum(torch.cat((torch.ones_like(batch[:1]) * len(batch), batch.sum(0, keepdim=True))))
        count, mean = total[0, 0], total[1] / total[0, 0]
        var = all_reduce_sum((batch - mean).square().sum(0)) / count
        weight = count / (self.count + count)
        if anew is not None:
            weight = torch.where(anew, 1.0, weight)
        delta = mean - self.mean
        self.var.copy_((1 - weight) * self.var + weight * var + weight * (1 - weight) * delta.square())
        self.mean.add_(weight * delta)
        self.count.add_(count)
