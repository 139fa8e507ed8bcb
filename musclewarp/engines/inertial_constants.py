"""What `mj_setConst` derives from masses and inertias, for many worlds at once and on their device.

At `qpos0` every Jacobian is that of the model, so that the inertia matrix is linear in masses and principal inertias,

    M = M_model + sum_b (m_b - m_model,b) Jt_b^T Jt_b + sum_bk (I_bk - I_model,bk) Jr_bk^T Jr_bk,

with `Jt_b (3, nv)` the Jacobian of body b's centre of mass and `Jr_bk (1, nv)` that of its turning about its principal
axis k, and every inverse weight is linear in M^-1: the mean of `J_r M^-1 J_r^T` over the rows of a Jacobian, that is
`<M^-1, mean_r J_r^T J_r>`. One Cholesky factorisation and a few matrix products serve all worlds, where
`mujoco_warp.set_const` launches kernels for every row of every Jacobian (4,295 for the full body).

Source: MuJoCo, `mj_setConst`; what the weights are for: computation chapter, "Constraint model".
"""

from __future__ import annotations

from collections.abc import Mapping

import mujoco
import numpy as np
import torch

from musclewarp.engines.engine import INERTIAL

CONSTANTS = ("body_subtreemass", "dof_invweight0", "body_invweight0", "tendon_invweight0", "actuator_acc0")
_CHUNK = 1024  # worlds at a time: an inertia matrix of the full body takes 60 kB


class InertialConstants:
    """Keeps the fields of `CONSTANTS` of N worlds up to their masses and inertias; computes in float64.

    Args:
        m: whose bodies they are; where their centres of mass and principal axes lie does not change.
        fields: live tensors by MuJoCo's names: `body_mass (N, nbody)` in kg and `body_inertia (N, nbody, 3)` in kg m^2
            to read, those of `CONSTANTS` to write.
    """

    def __init__(self, m: mujoco.MjModel, fields: Mapping[str, torch.Tensor]) -> None:
        self._fields, device = fields, fields["body_mass"].device
        data = mujoco.MjData(m)
        mujoco.mj_fwdPosition(m, data)
        moving, turning = np.zeros((2, m.nbody, 3, m.nv))
        for body in range(m.nbody):
            mujoco.mj_jacBodyCom(m, data, moving[body], turning[body], body)
        turning = data.ximat.reshape(-1, 3, 3).transpose(0, 2, 1) @ turning  # about the principal axes
        mass_matrix, tendons, muscles = np.zeros((m.nv, m.nv)), np.zeros((m.ntendon, m.nv)), np.zeros((m.nu, m.nv))
        mujoco.mj_fullM(m, data, mass_matrix)
        mujoco.mju_sparse2dense(tendons, data.ten_J, m.ten_J_rownnz, m.ten_J_rowadr, m.ten_J_colind)
        mujoco.mju_sparse2dense(
            muscles, data.actuator_moment, data.moment_rownnz, data.moment_rowadr, data.moment_colind
        )
        translation, rotation = _mean_square(moving), _mean_square(turning)
        per_inertia = turning[..., :, None] * turning[..., None, :]

        def on_device(array: np.ndarray) -> torch.Tensor:
            return torch.as_tensor(array, dtype=torch.float64, device=device)

        self._nominal = on_device(np.concatenate((m.body_mass, m.body_inertia.ravel())))
        self._mass_matrix = on_device(mass_matrix)
        self._slopes = on_device(np.concatenate((3.0 * translation, per_inertia.reshape(-1, m.nv, m.nv))))
        self._identity = on_device(np.eye(m.nv))
        self._subtree = on_device(_descends(m))
        self._weights = {
            "dof_invweight0": on_device(np.stack([_mean_square(rows) for rows in _dof_groups(m)])),
            "body_invweight0": on_device(np.stack((translation, rotation), axis=1)),
            "tendon_invweight0": on_device(tendons[:, :, None] * tendons[:, None, :]),
        }
        self._moments = on_device(muscles)

    def update(self, mask: torch.Tensor) -> None:
        """Write the constants of the worlds in `mask (N,)`; the host does not wait for the device."""
        masses = torch.cat([self._fields[name].flatten(1) for name in INERTIAL], dim=1).double()
        for start in range(0, len(mask), _CHUNK):
            rows = slice(start, start + _CHUNK)
            for name, values in self._derive(masses[rows]).items():
                live = self._fields[name][rows]
                live.copy_(torch.where(mask[rows].view(-1, *[1] * (live.ndim - 1)), values.to(live.dtype), live))

    def _derive(self, masses: torch.Tensor) -> dict[str, torch.Tensor]:
        mass_matrix = self._mass_matrix + torch.tensordot(masses - self._nominal, self._slopes, 1)
        factor, _ = torch.linalg.cholesky_ex(mass_matrix)
        half = torch.linalg.solve_triangular(factor, self._identity, upper=False)
        inverse = half.mT @ half
        constants = {name: torch.einsum("nij,...ij->n...", inverse, squares) for name, squares in self._weights.items()}
        constants["body_subtreemass"] = masses[:, : len(self._subtree)] @ self._subtree.T
        constants["actuator_acc0"] = (self._moments @ inverse).norm(dim=-1)
        return constants


def _mean_square(rows: np.ndarray) -> np.ndarray:
    """Mean of `J^T J` over the rows of Jacobians `(..., r, nv)`: `(..., nv, nv)`."""
    return rows.swapaxes(-1, -2) @ rows / rows.shape[-2]


def _dof_groups(m: mujoco.MjModel) -> list[np.ndarray]:
    """The dofs whose mean each dof's weight is, rows of the identity: a free or ball joint's three, or itself."""
    identity = np.eye(m.nv)
    ball, free = int(mujoco.mjtJoint.mjJNT_BALL), int(mujoco.mjtJoint.mjJNT_FREE)
    groups = []
    for dof, joint in enumerate(m.dof_jntid):
        width = 3 if m.jnt_type[joint] in (ball, free) else 1
        start = dof - (dof - m.jnt_dofadr[joint]) % width
        groups.append(identity[start : start + width])
    return groups


def _descends(m: mujoco.MjModel) -> np.ndarray:
    """1 in `(ancestor, body)` where the body belongs to the ancestor's subtree, itself included."""
    subtree = np.eye(m.nbody)
    for body in range(m.nbody - 1, 0, -1):
        subtree[m.body_parentid[body]] += subtree[body]
    return subtree
