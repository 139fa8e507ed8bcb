"""Moment arms over the independent coordinates, for a batch of postures, from the engines' sparse ones.

Both engines compute dl/dq of every muscle as a sparse matrix of one layout, over all dofs. A coupled dof turns with its
driver, so that its column, times the coupling's slope, belongs to the driver's (chain rule). Limbs and trunk share no
muscle in most models: they are parts of their own, and nothing need be computed between them.
"""

from __future__ import annotations

import math

import mujoco
import numpy as np
import torch
from numpy.typing import NDArray

from musclewarp.dynamics.parts import Parts
from musclewarp.models import MuscleModel

_PATH_GEOMS = (int(mujoco.mjtWrap.mjWRAP_SPHERE), int(mujoco.mjtWrap.mjWRAP_CYLINDER))


class MomentArms:
    """Turns `actuator_moment` into dense moment arms; nothing waits for the device.

    Args:
        model: whose muscles.
        device: where to compute.
        dtype: in which precision.
        dofs: the independent dofs `(J,)` to give arms over; default: all of them.
        apart: give the arms part by part.

    Attributes:
        parts: which joints and muscles belong together: all, unless `apart`.
    """

    def __init__(
        self,
        model: MuscleModel,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float64,
        dofs: NDArray[np.int64] | None = None,
        apart: bool = False,
    ) -> None:
        m, couplings = model.mj_model, model.couplings
        dofs = couplings.independent if dofs is None else dofs
        data = mujoco.MjData(m)
        mujoco.mj_fwdPosition(m, data)
        muscle = np.repeat(np.arange(m.nu), data.moment_rownnz)
        dof = data.moment_colind
        moves = _moves_muscle(m)[muscle, dof]
        row = np.full(m.nv, -1)
        row[dofs] = np.arange(len(dofs))
        coupling = np.full(m.nv, -1)
        driven = np.flatnonzero((couplings.driver >= 0) & (row[couplings.driver] >= 0))
        coupling[couplings.dependent[driven]] = np.arange(len(driven))
        direct = np.flatnonzero(moves & (row[dof] >= 0))
        indirect = np.flatnonzero(moves & (coupling[dof] >= 0))
        row[couplings.dependent[driven]] = row[couplings.driver[driven]]
        entries = np.concatenate((direct, indirect))

        def on_device(values: NDArray[np.generic], kind: torch.dtype = torch.int64) -> torch.Tensor:
            return torch.tensor(values, dtype=kind, device=device)

        related = np.full((len(dofs), m.nu), not apart)
        related[row[dof[entries]], muscle[entries]] = True
        self.parts = Parts(related, device)
        self._shape = self.parts.shape
        self._entries = on_device(entries)[None]
        self._target = on_device(self.parts.place(row[dof[entries]], muscle[entries]))[None]
        self._num_direct = len(direct)
        self._coupling = on_device(coupling[dof[indirect]])
        self._driver_qpos = on_device(couplings.driver_qpos[driven])
        self._driver_offset = on_device(couplings.driver_offset[driven], dtype)
        powers = np.arange(1, 5)
        self._slope_coefficients = on_device(couplings.coefficients[driven, 1:] * powers, dtype)
        self._dtype = dtype
        self._arms = torch.empty(0, math.prod(self._shape), dtype=dtype, device=device)

    def __call__(self, moment: torch.Tensor, qpos: torch.Tensor) -> torch.Tensor:
        """dl/dq `(N, J, M)` in m/rad (m/m for slides), in the order of `dofs`; if apart, `(N P, J', M')` as in `parts`.

        The next call with as many postures overwrites it: fresh memory would take longer than all the rest.

        Args:
            moment: MuJoCo's `actuator_moment (N, nJmom)` at `qpos`.
            qpos: postures `(N, nq)`.
        """
        values = moment.gather(1, self._entries.expand(len(moment), -1)).to(self._dtype)
        angle = qpos[:, self._driver_qpos].to(self._dtype) - self._driver_offset
        slope = self._slope_coefficients[:, 3].expand_as(angle)
        for k in (2, 1, 0):
            slope = torch.addcmul(self._slope_coefficients[:, k], slope, angle)
        values[:, self._num_direct :] *= slope[:, self._coupling]
        if len(self._arms) != len(values):
            self._arms = values.new_empty(len(values), self._arms.shape[1])
        self._arms.zero_().scatter_add_(1, self._target.expand(len(values), -1), values)
        return self._arms.view(-1, *self._shape[1:])


def _moves_muscle(m: mujoco.MjModel) -> NDArray[np.bool_]:
    """Which dofs can change which muscle's length `(nu, nv)`: those that move some, not all, of its path's bodies."""
    above = np.zeros((m.nbody, m.nv), dtype=bool)
    for body in range(1, m.nbody):
        first = m.body_dofadr[body]
        above[body] = above[m.body_parentid[body]]
        above[body, first : first + m.body_dofnum[body]] = True  # nothing where there is none: the length is zero
    moves = np.ones((m.nu, m.nv), dtype=bool)
    for muscle in range(m.nu):
        if m.actuator_trntype[muscle] != mujoco.mjtTrn.mjTRN_TENDON:
            continue
        tendon = m.actuator_trnid[muscle, 0]
        path = slice(m.tendon_adr[tendon], m.tendon_adr[tendon] + m.tendon_num[tendon])
        kinds, objects = m.wrap_type[path], m.wrap_objid[path]
        if (kinds == mujoco.mjtWrap.mjWRAP_JOINT).any():
            continue
        sites = m.site_bodyid[objects[kinds == mujoco.mjtWrap.mjWRAP_SITE]]
        geoms = m.geom_bodyid[objects[np.isin(kinds, _PATH_GEOMS)]]
        carried = above[np.concatenate((sites, geoms))]
        moves[muscle] = carried.any(axis=0) & ~carried.all(axis=0)
    return moves
