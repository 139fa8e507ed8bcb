"""Random numbers keyed by (seed, world, draw): the same whatever the other worlds do, and without a generator's state.

SplitMix64 (Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators") as a hash of the key, in torch's
wrapping 64-bit integers, so that it runs on the device.
"""

from __future__ import annotations

import torch

_GOLDEN = -7046029254386353131  # 0x9e3779b97f4a7c15 as int64
_MIX1 = -4658895280553007687  # 0xbf58476d1ce4e5b9
_MIX2 = -7723592293110705685  # 0x94d049bb133111eb


def _shift(x: torch.Tensor, bits: int) -> torch.Tensor:
    """Logical right shift of int64."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _mix(x: torch.Tensor) -> torch.Tensor:
    x = (x ^ _shift(x, 30)) * _MIX1
    x = (x ^ _shift(x, 27)) * _MIX2
    return x ^ _shift(x, 31)


def uniform(seed: int, world: torch.Tensor, draw: torch.Tensor, stream: int | torch.Tensor) -> torch.Tensor:
    """Float64 numbers in [0, 1), one for each (`world`, `draw`) of int64 tensors `(N,)`; `stream` tells uses apart.

    All three may be tensors of shapes that broadcast.
    """
    key = _mix(world * _GOLDEN + seed)
    key = _mix(key + draw * _GOLDEN)
    key = _mix(key + stream * _MIX1)
    return _shift(key, 11).double() * 2.0**-53
