"""Force of MuJoCo's rigid-tendon muscles: its length, velocity and passive curves.

The numbers are those of `mju_muscleGain` and `mju_muscleBias`. One kernel evaluates the curves; what remains, peak
force times their products, is left to torch.
"""

# pyright: reportGeneralTypeIssues=false, reportArgumentType=false, reportCallIssue=false, reportOperatorIssue=false
# pyright: reportIndexIssue=false, reportAssignmentType=false
from __future__ import annotations

from typing import Any, NamedTuple

import torch
import warp as wp

from musclewarp.errors import ConfigError
from musclewarp.kernels.launch import check_alike, expand, launch, launch_adjoint, per_precision

_TINY = 1e-15  # MuJoCo's mjMINVAL


class MuscleCurves(NamedTuple):
    """A muscle's operating point and its curves there, `(N, M)` each and without unit.

    Attributes:
        fibre_length: in optimal fibre lengths.
        fibre_velocity: in maximum shortening velocities; positive when the fibres lengthen.
        active_force_length: share of the peak force that full activation gives at this length.
        force_velocity: 0 at maximum shortening, 1 at rest, up to `fvmax` when lengthening.
        passive_force: in peak forces, without activation.
    """

    fibre_length: torch.Tensor
    fibre_velocity: torch.Tensor
    active_force_length: torch.Tensor
    force_velocity: torch.Tensor
    passive_force: torch.Tensor


@wp.func
def _square(x: Any, width: Any):  # noqa: ANN202 (Warp infers it)
    """Half the square of `x / width`."""
    y = x / wp.max(width, type(x)(_TINY))
    return type(x)(0.5) * y * y


@wp.func
def _active_force_length(length: Any, shortest: Any, longest: Any):  # noqa: ANN202
    half, one = type(length)(0.5), type(length)(1.0)
    below, above = half * (shortest + one), half * (one + longest)
    force = type(length)(0.0)
    if length >= shortest and length <= longest:
        if length <= below:
            force = _square(length - shortest, below - shortest)
        elif length <= one:
            force = one - _square(one - length, one - below)
        elif length <= above:
            force = one - _square(length - one, above - one)
        else:
            force = _square(longest - length, longest - above)
    return force


@wp.func
def _force_velocity(velocity: Any, plateau: Any):  # noqa: ANN202
    one = type(velocity)(1.0)
    rise = plateau - one
    force = plateau
    if velocity <= -one:
        force = type(velocity)(0.0)
    elif velocity <= type(velocity)(0.0):
        force = (velocity + one) * (velocity + one)
    elif velocity <= rise:
        force = plateau - (rise - velocity) * (rise - velocity) / wp.max(rise, type(velocity)(_TINY))
    return force


@wp.func
def _passive_force(length: Any, longest: Any, scale: Any):  # noqa: ANN202
    half, one = type(length)(0.5), type(length)(1.0)
    above = half * (one + longest)
    force = type(length)(0.0)
    if length > above:
        force = scale * (half + (length - above) / wp.max(above - one, type(length)(_TINY)))
    elif length > one:
        force = scale * _square(length - one, above - one)
    return force


@per_precision
@wp.kernel
def _curves(
    length: wp.array2d[Any],
    velocity: wp.array2d[Any],
    gainprm: wp.array3d[Any],
    biasprm: wp.array3d[Any],
    lengthrange: wp.array3d[Any],
    fibre_length: wp.array2d[Any],
    fibre_velocity: wp.array2d[Any],
    active_force_length: wp.array2d[Any],
    force_velocity: wp.array2d[Any],
    passive_force: wp.array2d[Any],
) -> None:
    i, j = wp.tid()
    extent = length[i, j] - lengthrange[i, j, 0]
    span = lengthrange[i, j, 1] - lengthrange[i, j, 0]
    tiny = type(span)(_TINY)
    optimal = span / wp.max(gainprm[i, j, 1] - gainprm[i, j, 0], tiny)
    x = gainprm[i, j, 0] + extent / wp.max(optimal, tiny)
    v = velocity[i, j] / wp.max(optimal * gainprm[i, j, 6], tiny)
    fibre_length[i, j] = x
    fibre_velocity[i, j] = v
    active_force_length[i, j] = _active_force_length(x, gainprm[i, j, 4], gainprm[i, j, 5])
    force_velocity[i, j] = _force_velocity(v, gainprm[i, j, 8])
    # MuJoCo lets the passive side have another optimal length
    optimal_passive = span / wp.max(biasprm[i, j, 1] - biasprm[i, j, 0], tiny)
    x_passive = biasprm[i, j, 0] + extent / wp.max(optimal_passive, tiny)
    passive_force[i, j] = _passive_force(x_passive, biasprm[i, j, 5], biasprm[i, j, 7])


def muscle_curves(
    length: torch.Tensor,
    velocity: torch.Tensor,
    gainprm: torch.Tensor,
    biasprm: torch.Tensor,
    lengthrange: torch.Tensor,
) -> MuscleCurves:
    """Operating points and curves of N worlds' muscles (MuJoCo, modeling chapter, "Muscles").

    The tendon is rigid: the fibre length is L = r0 + (l - l0) (r1 - r0) / (l1 - l0), which is r0 and r1 at the ends l0
    and l1 of `lengthrange`. The active curve is made of four parabolas between `lmin` and `lmax`, the velocity curve of
    two between -1 and `fvmax` - 1, the passive curve of a parabola from 1 to (1 + `lmax`) / 2 and a line beyond. Their
    slopes are continuous (where `fvmax` > 1), and gradients reach `length` and `velocity`.

    Args:
        length: `actuator_length (N, M)`, m.
        velocity: `actuator_velocity (N, M)`, m/s.
        gainprm: MuJoCo's `actuator_gainprm`, broadcast to `(N, M, >= 9)`: r0, r1, peak force, scale, lmin, lmax, vmax,
            fpmax, fvmax.
        biasprm: `actuator_biasprm`, likewise.
        lengthrange: `actuator_lengthrange`, broadcast to `(N, M, 2)`, m.

    Raises:
        ConfigError: shapes, types or devices do not fit together, or a parameter asks for a gradient.
    """
    return MuscleCurves(*_curves_op(length, velocity, gainprm, biasprm, lengthrange))


def gain_and_bias(
    length: torch.Tensor,
    velocity: torch.Tensor,
    gainprm: torch.Tensor,
    biasprm: torch.Tensor,
    lengthrange: torch.Tensor,
    acc0: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Active force at full activation, and passive force: `(N, M)` in N each, negative, for muscles pull.

    Args:
        length: see `muscle_curves`, as the next four.
        velocity: m/s.
        gainprm: a negative peak force stands for scale / `acc0`.
        biasprm: likewise.
        lengthrange: m.
        acc0: `actuator_acc0`, broadcast to `(N, M)`: acceleration in qpos0 by a unit force.

    Raises:
        ConfigError: see `muscle_curves`.
    """
    curves = muscle_curves(length, velocity, gainprm, biasprm, lengthrange)
    gain = -_peak_force(gainprm, acc0) * curves.active_force_length * curves.force_velocity
    return gain, -_peak_force(biasprm, acc0) * curves.passive_force


def muscle_force(
    length: torch.Tensor,
    velocity: torch.Tensor,
    activation: torch.Tensor,
    gainprm: torch.Tensor,
    biasprm: torch.Tensor,
    lengthrange: torch.Tensor,
    acc0: torch.Tensor,
) -> torch.Tensor:
    """MuJoCo's `actuator_force (N, M)` in N, gain x `activation (N, M)` + bias; see `gain_and_bias`."""
    gain, bias = gain_and_bias(length, velocity, gainprm, biasprm, lengthrange, acc0)
    return torch.addcmul(bias, gain, activation)


def _peak_force(prm: torch.Tensor, acc0: torch.Tensor) -> torch.Tensor:
    return torch.where(prm[..., 2] < 0, prm[..., 3] / acc0.clamp(min=_TINY), prm[..., 2])


@torch.library.custom_op("musclewarp::muscle_curves", mutates_args=())
def _curves_op(
    length: torch.Tensor,
    velocity: torch.Tensor,
    gainprm: torch.Tensor,
    biasprm: torch.Tensor,
    lengthrange: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    inputs = _inputs(length, velocity, gainprm, biasprm, lengthrange)
    outputs = _five(length)
    launch(_curves, inputs, outputs)
    return outputs


@_curves_op.register_fake
def _(length: torch.Tensor, *_: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return _five(length)


@torch.library.custom_op("musclewarp::muscle_curves_backward", mutates_args=())
def _curves_backward_op(
    gradients: list[torch.Tensor],
    length: torch.Tensor,
    velocity: torch.Tensor,
    gainprm: torch.Tensor,
    biasprm: torch.Tensor,
    lengthrange: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    inputs = _inputs(length, velocity, gainprm, biasprm, lengthrange)
    grads = length.new_zeros(length.shape), length.new_zeros(length.shape)
    launch_adjoint(_curves, inputs, gradients, [*grads, None, None, None], gradients)
    return grads


@_curves_backward_op.register_fake
def _(gradients: list[torch.Tensor], length: torch.Tensor, *_: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return length.new_empty(length.shape), length.new_empty(length.shape)


def _setup_context(ctx: Any, inputs: tuple[torch.Tensor, ...], output: tuple[torch.Tensor, ...]) -> None:
    if any(ctx.needs_input_grad[2:]):
        raise ConfigError("muscle_curves has no gradient for the muscles' parameters; pass them detached")
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    return *_curves_backward_op(list(gradients), *ctx.saved_tensors), None, None, None


_curves_op.register_autograd(_backward, setup_context=_setup_context)


def _five(like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    a, b, c, d, e = (like.new_empty(like.shape) for _ in range(5))
    return a, b, c, d, e


def _inputs(
    length: torch.Tensor,
    velocity: torch.Tensor,
    gainprm: torch.Tensor,
    biasprm: torch.Tensor,
    lengthrange: torch.Tensor,
) -> list[torch.Tensor]:
    op = "muscle_curves"
    check_alike(op, length, velocity=velocity, gainprm=gainprm, biasprm=biasprm, lengthrange=lengthrange)
    if length.ndim != 2 or min(gainprm.shape[-1], biasprm.shape[-1]) < 9:
        raise ConfigError(
            f"{op}: lengths have shape {tuple(length.shape)}, parameters {gainprm.shape[-1]} and {biasprm.shape[-1]} "
            "numbers a muscle; (worlds, muscles) and nine or more are needed"
        )
    return [
        length,
        expand(op, "velocity", velocity, length.shape),
        expand(op, "gainprm", gainprm, (*length.shape, -1)),
        expand(op, "biasprm", biasprm, (*length.shape, -1)),
        expand(op, "lengthrange", lengthrange, (*length.shape, 2)),
    ]
