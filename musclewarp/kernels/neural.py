"""Between a command and a muscle: noise that grows with the command, and the time that nerves take."""

# pyright: reportGeneralTypeIssues=false, reportArgumentType=false, reportCallIssue=false, reportOperatorIssue=false
# pyright: reportIndexIssue=false, reportAssignmentType=false
# ruff: noqa: ANN202 (Warp infers what its functions return)
from __future__ import annotations

from typing import Any

import torch
import warp as wp

from musclewarp.errors import ConfigError
from musclewarp.kernels.launch import check_alike, launch, per_precision

# SplitMix64: Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators"
_GOLDEN = wp.constant(wp.uint64(0x9E3779B97F4A7C15))
_MIX1 = wp.constant(wp.uint64(0xBF58476D1CE4E5B9))
_MIX2 = wp.constant(wp.uint64(0x94D049BB133111EB))


@wp.func
def _mix(x: wp.uint64):
    y = (x ^ (x >> wp.uint64(30))) * _MIX1
    z = (y ^ (y >> wp.uint64(27))) * _MIX2
    return z ^ (z >> wp.uint64(31))


@wp.func
def _uniform(key: wp.uint64, stream: wp.uint64):
    return wp.float64(_mix(key + stream * _MIX1) >> wp.uint64(11)) * wp.float64(wp.static(2.0**-53))


@per_precision
@wp.kernel(enable_backward=False)
def _normal(
    world: wp.array[wp.int64],
    step: wp.array[wp.int64],
    seed: wp.int64,
    stream: wp.int64,
    numbers: wp.array2d[Any],
) -> None:
    i, j = wp.tid()
    key = _mix(_mix(wp.uint64(world[i]) * _GOLDEN + wp.uint64(seed)) + wp.uint64(step[i]) * _GOLDEN)
    first = wp.uint64(stream) + wp.uint64(2) * wp.uint64(j)
    # Box and Muller 1958; in double precision whatever the output's, so that both give the same number
    radius = wp.sqrt(wp.float64(-2.0) * wp.log(wp.float64(1.0) - _uniform(key, first)))
    turn = wp.float64(wp.static(2.0 * wp.pi)) * _uniform(key, first + wp.uint64(1))
    numbers[i, j] = numbers.dtype(radius * wp.cos(turn))


@torch.library.custom_op("musclewarp::keyed_normal", mutates_args=())
def keyed_normal(
    world: torch.Tensor, step: torch.Tensor, seed: int, columns: int, dtype: torch.dtype, stream: int = 1 << 32
) -> torch.Tensor:
    """Standard normal numbers `(N, columns)` that depend on (seed, world, step, column) alone.

    They are the same whatever the other worlds do, on every device and in both precisions up to rounding.

    Args:
        world: `(N,)` int64.
        step: `(N,)` int64, for instance the count of control steps.
        seed: of the run.
        columns: numbers for each world.
        dtype: float32 or float64.
        stream: the first of the `2 columns` streams of the hash that are used up; it tells uses apart.

    Raises:
        ConfigError: `world` and `step` are not int64 `(N,)` on one device, or `dtype` is another.
    """
    alike = world.dtype == step.dtype and world.shape == step.shape and world.device == step.device
    if not alike or world.dtype != torch.int64 or world.ndim != 1:
        raise ConfigError(
            f"keyed_normal: 'world' is {world.dtype} {tuple(world.shape)} on {world.device}, 'step' {step.dtype} "
            f"{tuple(step.shape)} on {step.device}; both are (N,) of int64 on one device"
        )
    numbers = torch.empty(len(world), columns, dtype=dtype, device=world.device)
    check_alike("keyed_normal", numbers)
    launch(_normal, [world, step, seed, stream], [numbers])
    return numbers


@keyed_normal.register_fake
def _(
    world: torch.Tensor, step: torch.Tensor, seed: int, columns: int, dtype: torch.dtype, stream: int = 1 << 32
) -> torch.Tensor:
    return torch.empty(world.shape[0], columns, dtype=dtype, device=world.device)


def signal_dependent_noise(excitation: torch.Tensor, normal: torch.Tensor, coefficient: float) -> torch.Tensor:
    """Excitations `(N, M)` with noise whose standard deviation is `coefficient` times the excitation, in [0, 1].

    u' = clip(u (1 + k n), 0, 1) with n ~ N(0, 1): Harris and Wolpert 1998, Nature 394:780. The clip takes some of the
    noise from excitations near 1. One fused product: a kernel would buy nothing.

    Args:
        excitation: `(N, M)` in [0, 1].
        normal: `(N, M)`, for instance of `keyed_normal`.
        coefficient: k, the coefficient of variation.
    """
    return torch.addcmul(excitation, excitation, normal, value=coefficient).clamp(0.0, 1.0)


def delay_buffer(steps: int, excitation: torch.Tensor) -> torch.Tensor:
    """A buffer `(steps, N, M)` for `delay`, as if `excitation (N, M)` had been commanded all the time before.

    Raises:
        ConfigError: `steps` is less than one; without a delay there is nothing to keep.
    """
    if steps < 1:
        raise ConfigError(f"a delay of {steps} control steps needs no buffer; leave it out, or give one step or more")
    return excitation.detach().expand(steps, *excitation.shape).clone()


def delay(buffer: torch.Tensor, step: int, excitation: torch.Tensor) -> torch.Tensor:
    """What was commanded `len(buffer)` control steps ago `(N, M)`, in exchange for the excitation commanded now.

    A ring: row `step % len(buffer)` is read, then overwritten. One copy out and one in: a kernel would buy nothing.
    No gradient passes.

    Args:
        buffer: `(D, N, M)`, of `delay_buffer`; changed.
        step: the count of control steps, by one more at every call.
        excitation: `(N, M)`.
    """
    row = buffer[step % len(buffer)]
    past = row.clone()
    row.copy_(excitation.detach())
    return past


def reset_delay(buffer: torch.Tensor, mask: torch.Tensor, excitation: torch.Tensor) -> None:
    """Start the worlds in `mask (N,)` anew, as if `excitation (N, M)` had been commanded before; the others stay."""
    buffer.copy_(torch.where(mask[:, None], excitation.detach(), buffer))
