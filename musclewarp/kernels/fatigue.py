"""Muscle fatigue: motor units rest, are active, or are fatigued (the three-compartment controller model, 3CC).

Xia and Frey-Law 2008, J Biomech 41:3046; with faster recovery at rest (3CC-r) Looft, Herkert and Frey-Law 2018,
J Biomech 77:16.
"""

# pyright: reportGeneralTypeIssues=false, reportArgumentType=false, reportCallIssue=false, reportOperatorIssue=false
# pyright: reportIndexIssue=false, reportAssignmentType=false
# ruff: noqa: ANN202 (Warp infers what its functions return)
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import warp as wp

from musclewarp.errors import ConfigError
from musclewarp.kernels.launch import check_alike, expand, launch, per_precision

# Joint region -> F, R in 1/s (Frey-Law, Looft and Heitsman 2012, J Biomech 45:1803, Table 1) and r (Looft et al. 2018,
# Table 4). Checked against the abstract of 2012 (ankle, shoulder), the table as MyoSuite's test_fatigue_validation.py
# quotes it (all F and R), and the abstract of Looft and Frey-Law 2020, J Biomech 106:109762: 15 for ankle, knee and
# elbow, 30 for the grip, and for the shoulder 15 somewhat better than 30. The r of trunk and general was not measured.
PUBLISHED = {
    "ankle": (0.00589, 0.00058, 15.0),
    "knee": (0.01500, 0.00149, 15.0),
    "trunk": (0.00755, 0.00075, 15.0),
    "shoulder": (0.01820, 0.00168, 15.0),
    "elbow": (0.00912, 0.00094, 15.0),
    "hand": (0.00980, 0.00064, 30.0),
    "general": (0.00970, 0.00091, 15.0),
}
# Groups of the muscle table for which there is no row of their own; hips and necks were never measured.
_STAND_INS = {"wrist": "hand", "fingers": "hand", "hip": "general", "neck": "general", "other": "general"}
TRACKING = 10.0  # LD and LR, 1/s: their authors' choice (Xia and Frey-Law 2008; Looft et al. 2018, Table 4)


@dataclass(frozen=True, eq=False)
class FatigueParameters:
    """How fast motor units tire and recover, each broadcast to `(N, M)`.

    Attributes:
        fatigue: F, from active to fatigued, 1/s.
        recovery: R, from fatigued to resting, 1/s.
        rest_multiplier: r, times R at rest; 1 is the model of 2008.
        development: LD, how fast units are recruited, 1/s.
        relaxation: LR, how fast they are let go, 1/s.
    """

    fatigue: torch.Tensor
    recovery: torch.Tensor
    rest_multiplier: torch.Tensor
    development: torch.Tensor
    relaxation: torch.Tensor


def published_parameters(
    regions: Sequence[str], dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu"
) -> FatigueParameters:
    """The published parameters `(M,)` of muscles by joint region or by their group in the muscle table.

    Wrist and finger muscles are given those of the hand's grip, hip and neck muscles those of all regions together.

    Raises:
        ConfigError: a region is unknown.
    """
    unknown = set(regions) - set(PUBLISHED) - set(_STAND_INS)
    if unknown:
        raise ConfigError(
            f"no fatigue parameters for {', '.join(sorted(unknown))}; known are {', '.join([*PUBLISHED, *_STAND_INS])}"
        )
    rows = torch.tensor([PUBLISHED[_STAND_INS.get(region, region)] for region in regions], dtype=dtype, device=device)
    tracking = torch.full((len(regions),), TRACKING, dtype=dtype, device=device)
    return FatigueParameters(*rows.reshape(-1, 3).T.contiguous(), development=tracking, relaxation=tracking)


@wp.func
def _recruited(active: Any, fatigued: Any, target: Any, development: Any, relaxation: Any):
    """C, the flow from rest to activity: towards the target, with what is left at rest."""
    gap = target - active
    flow = relaxation * gap
    if gap > type(gap)(0.0):
        flow = development * wp.min(gap, type(gap)(1.0) - active - fatigued)
    return flow


@per_precision
@wp.kernel(enable_backward=False)
def _fatigue(
    active: wp.array2d[Any],
    fatigued: wp.array2d[Any],
    target: wp.array2d[Any],
    fatigue: wp.array2d[Any],
    recovery: wp.array2d[Any],
    rest_multiplier: wp.array2d[Any],
    development: wp.array2d[Any],
    relaxation: wp.array2d[Any],
    rest_below: Any,
    timestep: Any,
    next_active: wp.array2d[Any],
    next_fatigued: wp.array2d[Any],
) -> None:
    i, j = wp.tid()
    half, two = type(timestep)(0.5), type(timestep)(2.0)
    ld, lr = development[i, j], relaxation[i, j]
    substeps = wp.int32(type(timestep)(5.0) * timestep * wp.max(ld, lr)) + 1
    h = timestep / type(timestep)(substeps)
    load, f = target[i, j], fatigue[i, j]
    r = recovery[i, j] * wp.where(load <= rest_below, rest_multiplier[i, j], type(timestep)(1.0))
    a, t = type(timestep)(active[i, j]), type(timestep)(fatigued[i, j])
    for _ in range(substeps):  # Runge and Kutta's fourth-order step
        a1, t1 = _recruited(a, t, load, ld, lr) - f * a, f * a - r * t
        u, v = a + half * h * a1, t + half * h * t1
        a2, t2 = _recruited(u, v, load, ld, lr) - f * u, f * u - r * v
        u, v = a + half * h * a2, t + half * h * t2
        a3, t3 = _recruited(u, v, load, ld, lr) - f * u, f * u - r * v
        u, v = a + h * a3, t + h * t3
        a4, t4 = _recruited(u, v, load, ld, lr) - f * u, f * u - r * v
        a = a + h / type(timestep)(6.0) * (a1 + two * (a2 + a3) + a4)
        t = t + h / type(timestep)(6.0) * (t1 + two * (t2 + t3) + t4)
    next_active[i, j] = a
    next_fatigued[i, j] = t


def fatigue_step(
    active: torch.Tensor,
    fatigued: torch.Tensor,
    target: torch.Tensor,
    parameters: FatigueParameters,
    timestep: float,
    rest_below: float = 0.0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Active and fatigued shares of the motor units, M_A and M_F `(N, M)`, one time step later.

    dM_A/dt = C - F M_A, dM_F/dt = F M_A - R M_F, dM_R/dt = R M_F - C, with C = LD min(TL - M_A, M_R) below the target
    load TL and LR (TL - M_A) above it (Xia and Frey-Law 2008). At rest R is multiplied by r (Looft et al. 2018). The
    shares add up to one, so that the resting one, M_R = 1 - M_A - M_F, need not be kept. M_A is what the muscle gives
    where TL was asked for: it falls short once M_R is used up.

    Integrated in fourth order by substeps short against 1 / LD and 1 / LR, so any `timestep` is allowed over which the
    target is constant. In float32, 200 s in steps of 20 ms are off by 2e-7 and in steps of 2 ms by 2e-5. No gradient
    passes.

    Args:
        active: M_A `(N, M)`, a fraction.
        fatigued: M_F `(N, M)`, a fraction.
        target: TL `(N, M)`, the share of the peak force asked for, in [0, 1].
        parameters: F, R, r, LD and LR of the muscles.
        timestep: s.
        rest_below: the target load up to which a muscle rests; in the papers 0.

    Raises:
        ConfigError: shapes, types or devices do not fit together, or the time step is not positive.
    """
    p = parameters
    return _fatigue_op(
        active,
        fatigued,
        target,
        [p.fatigue, p.recovery, p.rest_multiplier, p.development, p.relaxation],
        rest_below,
        timestep,
    )


@torch.library.custom_op("musclewarp::fatigue_step", mutates_args=())
def _fatigue_op(
    active: torch.Tensor,
    fatigued: torch.Tensor,
    target: torch.Tensor,
    parameters: list[torch.Tensor],
    rest_below: float,
    timestep: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    op = "fatigue_step"
    if timestep <= 0 or active.ndim != 2:
        raise ConfigError(
            f"{op}: the time step is {timestep} s, the active share has shape {tuple(active.shape)}; a positive step "
            "and (worlds, muscles) are needed"
        )
    names = ("fatigued", "target", "fatigue", "recovery", "rest_multiplier", "development", "relaxation")
    others = dict(zip(names, (fatigued, target, *parameters), strict=True))
    check_alike(op, active, **others)
    inputs = [active, *(expand(op, name, value, active.shape) for name, value in others.items())]
    outputs = active.new_empty(active.shape), active.new_empty(active.shape)
    launch(_fatigue, [*inputs, rest_below, timestep], outputs)
    return outputs


@_fatigue_op.register_fake
def _(active: torch.Tensor, *_: Any) -> tuple[torch.Tensor, torch.Tensor]:
    return active.new_empty(active.shape), active.new_empty(active.shape)
