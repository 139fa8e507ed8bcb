"""The few collective operations that a learner needs; without a process group they do nothing."""

from __future__ import annotations

import torch
import torch.distributed as dist


def world_size() -> int:
    """Number of ranks."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def all_reduce_sum(value: torch.Tensor) -> torch.Tensor:
    """The sum of `value` over all ranks, on every rank."""
    if world_size() > 1:
        value = value.clone()
        dist.all_reduce(value)
    return value


def all_reduce_mean(value: torch.Tensor) -> torch.Tensor:
    """The mean of `value` over all ranks, on every rank."""
    return all_reduce_sum(value) / world_size()


def all_reduce_max(value: torch.Tensor) -> torch.Tensor:
    """The largest `value` of all ranks, on every rank."""
    if world_size() > 1:
        value = value.clone()
        dist.all_reduce(value, dist.ReduceOp.MAX)
    return value
