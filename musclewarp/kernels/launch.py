"""Warp kernels on torch tensors: their memory, their device, torch's current stream."""

from __future__ import annotations

import typing
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import warp as wp

from musclewarp.errors import ConfigError

# Warp would announce every module it loads on the output where our commands print tables and JSON.
wp.config.log_level = max(wp.config.log_level, wp.LOG_WARNING)

_SCALARS = {torch.float32: wp.float32, torch.float64: wp.float64}
Kernels = Mapping[torch.dtype, wp.Kernel]


def per_precision(kernel: wp.Kernel) -> Kernels:
    """The float32 and the float64 form of a kernel that is generic (`Any`) in one floating-point type."""

    def concrete(hint: Any, scalar: type) -> Any:
        if getattr(hint, "dtype", None) is Any:
            return wp.array(dtype=scalar, ndim=hint.ndim)
        return scalar if hint is Any else hint

    hints = typing.get_type_hints(kernel.func)
    hints.pop("return", None)
    return {
        dtype: wp.overload(kernel, [concrete(hint, scalar) for hint in hints.values()])
        for dtype, scalar in _SCALARS.items()
    }


def launch(kernels: Kernels, inputs: Sequence[Any], outputs: Sequence[torch.Tensor]) -> None:
    """Run one thread per element of the first output, in its precision and on its device.

    `inputs` are tensors (any strides: what is expanded stays so) and numbers, in the kernel's order.
    """
    stream, device = _queue(outputs[0])
    wp.launch(
        kernels[outputs[0].dtype],
        dim=tuple(outputs[0].shape),
        inputs=[_view(value) for value in inputs],
        outputs=[_view(value) for value in outputs],
        device=device,
        stream=stream,
        record_tape=False,
    )


def launch_adjoint(
    kernels: Kernels,
    inputs: Sequence[Any],
    outputs: Sequence[torch.Tensor],
    input_gradients: Sequence[Any],
    output_gradients: Sequence[torch.Tensor],
) -> None:
    """Add to `input_gradients` what `output_gradients` are worth there.

    Of `outputs` only the shape matters. Where `input_gradients` is None, or 0 for a number, nothing is added.
    """
    stream, device = _queue(outputs[0])
    wp.launch(
        kernels[outputs[0].dtype],
        dim=tuple(outputs[0].shape),
        inputs=[_view(value) for value in inputs],
        outputs=[_view(value) for value in outputs],
        adj_inputs=[_view(value) for value in input_gradients],
        adj_outputs=[_view(value) for value in output_gradients],
        device=device,
        stream=stream,
        adjoint=True,
        record_tape=False,
    )


def check_alike(op: str, first: torch.Tensor, **others: torch.Tensor) -> None:
    """Refuse what a kernel would misread.

    Raises:
        ConfigError: `first` is not float32 or float64 on CPU or CUDA, or one of `others` has another type or device.
    """
    if first.dtype not in _SCALARS or first.device.type not in ("cpu", "cuda"):
        raise ConfigError(f"{op} computes in float32 or float64 on CPU or CUDA, not in {first.dtype} on {first.device}")
    for name, other in others.items():
        if other.dtype != first.dtype or other.device != first.device:
            raise ConfigError(
                f"{op}: '{name}' is {other.dtype} on {other.device}, the first argument {first.dtype} on "
                f"{first.device}; bring them to one type and device with .to()"
            )


def expand(op: str, name: str, value: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """`value` broadcast to `shape`, without a copy.

    Raises:
        ConfigError: the shapes do not fit.
    """
    try:
        return value.expand(*shape)
    except RuntimeError as error:
        raise ConfigError(f"{op}: '{name}' has shape {tuple(value.shape)}, which is not {tuple(shape)}") from error


def _queue(tensor: torch.Tensor) -> tuple[wp.Stream | None, Any]:
    wp.init()
    stream = wp.stream_from_torch(torch.cuda.current_stream(tensor.device)) if tensor.is_cuda else None
    return stream, wp.device_from_torch(tensor.device)


def _view(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return wp.from_torch(value, requires_grad=False, return_ctype=True)  # faster than a `wp.array`
    return value
