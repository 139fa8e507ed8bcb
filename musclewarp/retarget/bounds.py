"""Where the independent coordinates may go, and where they rest."""

from __future__ import annotations

import functools

import numpy as np
import torch
from numpy.typing import NDArray

from musclewarp.models import MuscleModel
from musclewarp.models.mirror import Mirror
from musclewarp.references.muscle_paths import muscle_paths

Floats = NDArray[np.float64]
_FLIP_STEP = 0.05  # rad or m, at which a range is searched for tendons that flip
_MOST_LOST = 0.2  # share of a range, which may be given up for them at either end


def rest_posture(model: MuscleModel) -> Floats:
    """A relaxed posture `(nq,)`, away from the shoulder's singularity with hanging arms."""
    return model.posture(model.layout.rest)


@functools.lru_cache(maxsize=16)
def independent_bounds(model: MuscleModel, margin: float, avoid_flips: bool = True) -> tuple[Floats, Floats]:
    """Bounds `(n,)` on the independent coordinates that also keep the coupled ones in their ranges; root unbounded.

    `margin` is kept from each limit, at most a tenth of the range. A driver's interval is searched on a grid: the
    widest run around the default posture in which every coupled joint is within its range, to 1 mm or 1 mrad (some
    polynomials of the models leave their ranges by less than that at the very ends). To `avoid_flips`, where a tendon
    turns from one side of a bone to the other near an end of a range (the supinator of MyoFullBody at 1.18 rad, by half
    its length), the bound is before that, if that costs no more than a fifth of the range.
    """
    m, couplings = model.mj_model, model.couplings
    lower, upper = np.full(m.nv, -np.inf), np.full(m.nv, np.inf)
    for dof in model.joint_dofs:
        joint = m.dof_jntid[dof]
        if not m.jnt_limited[joint]:
            continue
        low, high = m.jnt_range[joint]
        grid = np.linspace(low, high, 2001)
        qpos = np.tile(m.qpos0, (len(grid), 1))
        qpos[:, m.jnt_qposadr[joint]] = grid
        projected = couplings.project_qpos(torch.from_numpy(qpos)).numpy()
        inside = np.ones(len(grid), bool)
        for dependent in couplings.dependent[couplings.driver == dof]:
            other = m.dof_jntid[dependent]
            value = projected[:, m.jnt_qposadr[other]]
            inside &= (value >= m.jnt_range[other, 0] - 1e-3) & (value <= m.jnt_range[other, 1] + 1e-3)
        home = int(np.abs(grid - m.qpos0[m.jnt_qposadr[joint]]).argmin())
        outside = np.flatnonzero(~inside)
        low = grid[outside[outside < home].max() + 1] if (outside < home).any() else low
        high = grid[outside[outside > home].min() - 1] if (outside > home).any() else high
        lower[dof], upper[dof] = low, high
    if avoid_flips:
        lost = _lost_to_flips(model, lower, upper)
        lower, upper = lower + lost[:, 0], upper - lost[:, 1]
    keep = np.minimum(margin, 0.1 * (upper - lower))
    return (lower + keep)[couplings.independent], (upper - keep)[couplings.independent]


def _lost_to_flips(model: MuscleModel, lower: Floats, upper: Floats) -> Floats:
    """How much `(nv, 2)` of both ends of ranges, `(nv,)` each, is beyond where tendons flip in the default posture.

    As much on either side of the body: tendons of published models are no mirror images to the last digit.
    """
    m, lost = model.mj_model, np.zeros((model.mj_model.nv, 2))
    for dof in np.flatnonzero(np.isfinite(upper - lower)):
        low, high = lower[dof], upper[dof]
        grid = np.linspace(low, high, max(20, int((high - low) / _FLIP_STEP) + 1))
        qpos = np.tile(m.qpos0, (len(grid), 1))
        qpos[:, m.jnt_qposadr[m.dof_jntid[dof]]] = grid
        qpos = model.couplings.project_qpos(torch.from_numpy(qpos)).numpy()
        flips, most = muscle_paths(model, qpos).breaks.any(axis=1), _MOST_LOST * (high - low)
        for end, beyond in enumerate((grid[1:][flips] - low, high - grid[:-1][flips])):
            lost[dof, end] = beyond[beyond < most].max(initial=0.0)
    if (mirror := Mirror.from_model(m)) is not None:
        paired = np.flatnonzero(mirror.joint_sign)
        other = lost[m.jnt_dofadr[mirror.joint[paired]]]
        other = np.where(mirror.joint_sign[paired, None] > 0, other, other[:, ::-1])
        lost[m.jnt_dofadr[paired]] = np.maximum(lost[m.jnt_dofadr[paired]], other)
    return lost
