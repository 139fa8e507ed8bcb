"""Excitation to activation: the first-order dynamics of MuJoCo's muscle, by Euler's step and by the exact one."""

# pyright: reportGeneralTypeIssues=false, reportArgumentType=false, reportCallIssue=false, reportOperatorIssue=false
# pyright: reportIndexIssue=false, reportAssignmentType=false, reportAttributeAccessIssue=false
# pyright: reportInvalidTypeForm=false
from __future__ import annotations

import math
from typing import Any

import torch
import warp as wp

from musclewarp.errors import ConfigError, ModelError
from musclewarp.kernels.launch import check_alike, expand, launch, launch_adjoint, per_precision

_TINY = 1e-15  # MuJoCo's mjMINVAL
_DYNPRM = wp.types.vector(length=10, dtype=wp.float32)  # a muscle's row of mujoco_warp's `actuator_dynprm`


@wp.func
def _unit(x: Any):  # noqa: ANN202 (Warp infers it)
    # not `wp.clamp`, whose adjoint gives nothing at 1: an optimisation would be stuck at its bound
    y = x
    if x < type(x)(0.0):
        y = type(x)(0.0)
    elif x > type(x)(1.0):
        y = type(x)(1.0)
    return y


@wp.func
def _rate(  # noqa: ANN202
    excitation: Any,
    activation: Any,
    tau_act: Any,
    tau_deact: Any,
    smoothing: Any,
    timestep: Any,
    exact: bool,
):
    half = type(activation)(0.5)
    scale = half + type(activation)(1.5) * _unit(activation)
    gap = _unit(excitation) - activation
    rising, falling = tau_act * scale, tau_deact / scale
    tau = falling
    if smoothing >= type(activation)(_TINY):
        x = _unit(gap / smoothing + half)
        blend = x * x * x * (x * (type(activation)(6.0) * x - type(activation)(15.0)) + type(activation)(10.0))
        tau = falling + (rising - falling) * blend
    elif gap > type(activation)(0.0):
        tau = rising
    tau = wp.max(tau, type(activation)(_TINY))
    rate = gap / tau
    if exact:
        rate = gap * (type(activation)(1.0) - wp.exp(-timestep / tau)) / timestep
    return rate


@per_precision
@wp.kernel
def _step(
    excitation: wp.array2d[Any],
    activation: wp.array2d[Any],
    tau_act: wp.array2d[Any],
    tau_deact: wp.array2d[Any],
    smoothing: wp.array2d[Any],
    timestep: Any,
    exact: bool,
    lower: Any,
    upper: Any,
    advanced: wp.array2d[Any],
) -> None:
    i, j = wp.tid()
    a = activation[i, j]
    rate = _rate(excitation[i, j], a, tau_act[i, j], tau_deact[i, j], smoothing[i, j], timestep, exact)
    advanced[i, j] = wp.clamp(a + timestep * rate, lower, upper)


@wp.kernel(enable_backward=False)
def _act_dot(
    ctrl: wp.array2d[wp.float32],
    act: wp.array2d[wp.float32],
    dynprm: wp.array2d[_DYNPRM],
    timestep: wp.array[wp.float32],
    exact: bool,
    act_dot: wp.array2d[wp.float32],
) -> None:
    i, j = wp.tid()
    prm = dynprm[i % dynprm.shape[0], j]
    h = timestep[i % timestep.shape[0]]
    act_dot[i, j] = _rate(ctrl[i, j], act[i, j], prm[0], prm[1], prm[2], h, exact)


@torch.library.custom_op("musclewarp::activation_step", mutates_args=())
def activation_step(
    excitation: torch.Tensor,
    activation: torch.Tensor,
    tau_act: torch.Tensor,
    tau_deact: torch.Tensor,
    smoothing: torch.Tensor,
    timestep: float,
    exact: bool = True,
    lower: float | None = None,
    upper: float | None = None,
) -> torch.Tensor:
    """Activations `(N, M)` one time step later.

    With e the excitation clipped to [0, 1] and s = 0.5 + 1.5 clip(a, 0, 1), da/dt = (e - a) / tau, where tau is
    tau_act s while e > a and tau_deact / s otherwise (Millard et al. 2013, J Biomech Eng 135:021005, as in MuJoCo's
    `mju_muscleDynamics`). With a smoothing width w, tau goes from one to the other over |e - a| < w / 2 by the
    quintic 6x⁵ - 15x⁴ + 10x³.

    Gradients reach `excitation` and `activation`, not the time constants. Without smoothing the derivative jumps at
    e = a, where the falling side's is taken; outside [0, 1] excitations have none.

    Args:
        excitation: `(N, M)`.
        activation: `(N, M)`.
        tau_act: s, broadcast to `(N, M)`.
        tau_deact: s, broadcast to `(N, M)`.
        smoothing: w, broadcast to `(N, M)`; below 1e-15 the time constant switches at once, as MuJoCo's default does.
        timestep: s.
        exact: a' = e + (a - e) exp(-h / tau), tau held over the step: between a and e whatever the step. Else Euler's
            a' = a + h (e - a) / tau, the engines' own, which overshoots where h > tau.
        lower: of MuJoCo's `actrange`, for muscles with `actlimited`, which by default they are not.
        upper: likewise.

    Raises:
        ConfigError: shapes, types or devices do not fit together, or the time step is not positive.
    """
    inputs = _inputs(excitation, activation, tau_act, tau_deact, smoothing, timestep)
    advanced = activation.new_empty(activation.shape)
    launch(_step, [*inputs, timestep, exact, *_range(lower, upper)], [advanced])
    return advanced


@activation_step.register_fake
def _(excitation: torch.Tensor, activation: torch.Tensor, *_: Any) -> torch.Tensor:
    return activation.new_empty(activation.shape)


@torch.library.custom_op("musclewarp::activation_step_backward", mutates_args=())
def _backward_op(
    gradient: torch.Tensor,
    excitation: torch.Tensor,
    activation: torch.Tensor,
    tau_act: torch.Tensor,
    tau_deact: torch.Tensor,
    smoothing: torch.Tensor,
    timestep: float,
    exact: bool,
    lower: float | None,
    upper: float | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    inputs = _inputs(excitation, activation, tau_act, tau_deact, smoothing, timestep)
    grads = activation.new_zeros(activation.shape), activation.new_zeros(activation.shape)
    values = [*inputs, timestep, exact, *_range(lower, upper)]
    launch_adjoint(_step, values, [gradient], [*grads, None, None, None, 0.0, False, 0.0, 0.0], [gradient])
    return grads


@_backward_op.register_fake
def _(gradient: torch.Tensor, *_: Any) -> tuple[torch.Tensor, torch.Tensor]:
    return gradient.new_empty(gradient.shape), gradient.new_empty(gradient.shape)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
    if any(ctx.needs_input_grad[2:5]):
        raise ConfigError("activation_step has no gradient for time constants or smoothing; pass them detached")
    ctx.save_for_backward(*inputs[:5])
    ctx.numbers = inputs[5:]


def _backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    return *_backward_op(gradient, *ctx.saved_tensors, *ctx.numbers), *[None] * 7


activation_step.register_autograd(_backward, setup_context=_setup_context)


def write_act_dot(
    ctrl: wp.array[wp.float32],
    act: wp.array[wp.float32],
    dynprm: wp.array[Any],
    timestep: wp.array[wp.float32],
    act_dot: wp.array[wp.float32],
    exact: bool = True,
) -> None:
    """Write `act_dot (N, na)` in 1/s such that act + timestep x act_dot is what `activation_step` gives.

    For mujoco_warp's callback, `m.callback.act_dyn = lambda m, d: write_act_dot(d.ctrl, d.act, m.actuator_dynprm,
    m.opt.timestep, d.act_dot)`. It is launched on Warp's current stream, allocates nothing, and can be captured in a
    graph after it ran once.

    Args:
        ctrl: excitations `(N, nu)`.
        act: activations `(N, na)`; muscle i has excitation i and activation i.
        dynprm: mujoco_warp's `actuator_dynprm`, `(1 or N, nu)` of ten numbers: tau_act, tau_deact, smoothing width, ...
        timestep: s, `(1 or N,)`.
        act_dot: `(N, na)`, overwritten.
        exact: see `activation_step`.

    Raises:
        ModelError: not every actuator has one control and one activation.
    """
    if not ctrl.shape == act.shape == act_dot.shape or dynprm.shape[1] != act.shape[1]:
        raise ModelError(
            f"controls {ctrl.shape}, activations {act.shape} and dynprm {dynprm.shape} do not pair up: write_act_dot "
            "is for models in which every actuator is a muscle"
        )
    wp.launch(
        _act_dot, dim=act.shape, inputs=[ctrl, act, dynprm, timestep, exact], outputs=[act_dot], device=act.device
    )


def _range(lower: float | None, upper: float | None) -> tuple[float, float]:
    return -math.inf if lower is None else lower, math.inf if upper is None else upper


def _inputs(
    excitation: torch.Tensor,
    activation: torch.Tensor,
    tau_act: torch.Tensor,
    tau_deact: torch.Tensor,
    smoothing: torch.Tensor,
    timestep: float,
) -> list[torch.Tensor]:
    if timestep <= 0 or activation.ndim != 2:
        raise ConfigError(
            f"activation_step: the time step is {timestep} s, the activations have shape {tuple(activation.shape)}; "
            "a positive step and (worlds, muscles) are needed"
        )
    others = {"excitation": excitation, "tau_act": tau_act, "tau_deact": tau_deact, "smoothing": smoothing}
    check_alike("activation_step", activation, **others)
    excitation, *rest = (expand("activation_step", name, value, activation.shape) for name, value in others.items())
    return [excitation, activation, *rest]
