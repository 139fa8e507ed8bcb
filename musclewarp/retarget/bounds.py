"""Where the independent coordinates may go, and where they rest."""

from __future__ import annotations

import functools

import numpy as np
import torch
from numpy.typing import NDArray

from musclewarp.models import MuscleModel

Floats = NDArray[np.float64]


def rest_posture(model: MuscleModel) -> Floats:
    """A relaxed posture `(nq,)`, away from the shoulder's singularity with hanging arms."""
    return model.posture(model.layout.rest)


@functools.lru_cache(maxsize=16)
def independent_bounds(model: MuscleModel, margin: float) -> tuple[Floats, Floats]:
    """Bounds `(n,)` on the independent coordinates that also keep the coupled ones in their ranges; root unbounded.

    `margin` is kept from each limit, at most a tenth of the range. A driver's interval is searched on a grid: the
    widest run around the default posture in which every coupled joint is within its range, to 1 mm or 1 mrad (some
    polynomials of the models leave their ranges by less than that at the very ends).
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
        keep = min(margin, 0.1 * (high - low))
        lower[dof], upper[dof] = low + keep, high - keep
    return lower[couplings.independent], upper[couplings.independent]
