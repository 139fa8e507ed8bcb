"""Forward kinematics of the tracking sites over a batch of postures, with analytic Jacobians, in torch.

The same tree walk as MuJoCo's `mj_kinematics`, for all frames of a clip at once and only through the bodies that
the asked-for ones hang from. Tests hold it to MuJoCo.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import mujoco
import numpy as np
import torch

if TYPE_CHECKING:
    from musclewarp.models.model import MuscleModel


class SitePoses(NamedTuple):
    """World poses of points and how they move with the dofs; B postures, S sites.

    `position (B, S, 3)` m; `rotation (B, S, 3, 3)`; `jacobian (B, S, 6, nv)`: linear (m) over angular (rad) velocity
    in the world frame per unit qvel.
    """

    position: torch.Tensor
    rotation: torch.Tensor
    jacobian: torch.Tensor


@dataclass(frozen=True)
class _Joint:
    kind: int
    qpos: int
    dof: int
    axis: torch.Tensor
    anchor: torch.Tensor
    offset: float


class Kinematics:
    """Kinematics of points fixed to bodies.

    Args:
        model: whose tree to walk.
        bodies: body id of each point `(S,)`; default: the tracking sites'.
        offsets: position of each point in its body `(S, 3)` m; default: the tracking sites', or the body's origin.
        device: where to compute; the precision is float64.
    """

    def __init__(
        self,
        model: MuscleModel,
        bodies: np.ndarray | None = None,
        offsets: np.ndarray | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        m = model.mj_model
        self._nv = m.nv
        self._bodies = [int(b) for b in (model.site_body_ids if bodies is None else bodies)]
        default = m.site_pos[model.site_ids] if bodies is None else np.zeros((len(bodies), 3))
        self._offsets = self._tensor(default if offsets is None else offsets, device)
        needed = {0}
        for body in self._bodies:
            while body:
                needed.add(body)
                body = int(m.body_parentid[body])
        self._order = sorted(needed - {0})
        self._parent = {b: int(m.body_parentid[b]) for b in self._order}
        self._pos = {b: self._tensor(m.body_pos[b], device) for b in self._order}
        self._mat = {b: self._tensor(_matrix(m.body_quat[b]), device) for b in self._order}
        self._joints = {b: [self._joint(m, j, device) for j in _joints_of(m, b)] for b in self._order}

    @staticmethod
    def _tensor(value: np.ndarray, device: torch.device | str) -> torch.Tensor:
        return torch.as_tensor(np.array(value), dtype=torch.float64, device=device)

    def _joint(self, m: mujoco.MjModel, j: int, device: torch.device | str) -> _Joint:
        adr = int(m.jnt_qposadr[j])
        axis, anchor = self._tensor(m.jnt_axis[j], device), self._tensor(m.jnt_pos[j], device)
        return _Joint(int(m.jnt_type[j]), adr, int(m.jnt_dofadr[j]), axis, anchor, float(m.qpos0[adr]))

    def __call__(self, qpos: torch.Tensor, jacobian: bool = True) -> SitePoses:
        """Poses at `qpos (B, nq)`, float64; the Jacobian is empty unless asked for."""
        batch = qpos.shape[0]
        eye = torch.eye(3, dtype=qpos.dtype, device=qpos.device)
        positions = {0: torch.zeros(batch, 3, dtype=qpos.dtype, device=qpos.device)}
        rotations = {0: eye.expand(batch, 3, 3)}
        # (dof, angular axis, linear axis, point on the axis) of every dof between the world and a body
        chains: dict[int, list[tuple[int, torch.Tensor, torch.Tensor, torch.Tensor]]] = {0: []}
        for body in self._order:
            parent = self._parent[body]
            position = positions[parent] + (rotations[parent] @ self._pos[body])
            rotation = rotations[parent] @ self._mat[body]
            chain = list(chains[parent])
            for joint in self._joints[body]:
                if joint.kind == mujoco.mjtJoint.mjJNT_FREE:
                    position = qpos[:, joint.qpos : joint.qpos + 3]
                    rotation = quat_to_matrix(qpos[:, joint.qpos + 3 : joint.qpos + 7])
                    zero = torch.zeros_like(position)
                    for k in range(3):
                        chain.append((joint.dof + k, zero, eye[k].expand(batch, 3), zero))
                    for k in range(3):  # a free joint turns about its own axes
                        chain.append((joint.dof + 3 + k, rotation[:, :, k], zero, position))
                    continue
                anchor = position + rotation @ joint.anchor
                axis = rotation @ joint.axis
                value = qpos[:, joint.qpos] - joint.offset
                if joint.kind == mujoco.mjtJoint.mjJNT_SLIDE:
                    position = position + axis * value[:, None]
                    chain.append((joint.dof, torch.zeros_like(axis), axis, anchor))
                else:
                    rotation = rotation @ _axis_rotation(joint.axis, value)
                    position = anchor - rotation @ joint.anchor
                    chain.append((joint.dof, axis, torch.zeros_like(axis), anchor))
            positions[body], rotations[body], chains[body] = position, rotation, chain
        rotation = torch.stack([rotations[b] for b in self._bodies], dim=1)
        origin = torch.stack([positions[b] for b in self._bodies], dim=1)
        position = origin + (rotation @ self._offsets[:, :, None]).squeeze(-1)
        if not jacobian:
            return SitePoses(position, rotation, torch.empty(0))
        matrix = torch.zeros(batch, len(self._bodies), 6, self._nv, dtype=qpos.dtype, device=qpos.device)
        for site, body in enumerate(self._bodies):
            if not chains[body]:
                continue
            dofs, *columns = zip(*chains[body], strict=True)
            angular, linear, point = (torch.stack(column, dim=-1) for column in columns)
            arm = position[:, site, :, None] - point
            matrix[:, site, :3, list(dofs)] = linear + torch.linalg.cross(angular, arm, dim=1)
            matrix[:, site, 3:, list(dofs)] = angular
        return SitePoses(position, rotation, matrix)


def _joints_of(m: mujoco.MjModel, body: int) -> range:
    return (
        range(int(m.body_jntadr[body]), int(m.body_jntadr[body] + m.body_jntnum[body]))
        if m.body_jntnum[body]
        else range(0)
    )


def _matrix(quat: np.ndarray) -> np.ndarray:
    matrix = np.zeros(9)
    mujoco.mju_quat2Mat(matrix, quat)
    return matrix.reshape(3, 3)


def quat_to_matrix(quat: torch.Tensor) -> torch.Tensor:
    """Rotation matrices `(..., 3, 3)` of wxyz quaternions `(..., 4)` of any length but zero."""
    w, x, y, z = (quat / quat.norm(dim=-1, keepdim=True)).unbind(-1)
    rows = (
        torch.stack((1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)), -1),
        torch.stack((2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)), -1),
        torch.stack((2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)), -1),
    )
    return torch.stack(rows, dim=-2)


def _axis_rotation(axis: torch.Tensor, angle: torch.Tensor) -> torch.Tensor:
    """Rodrigues' formula: rotations `(B, 3, 3)` about one unit `axis (3,)` by `angle (B,)`."""
    x, y, z = axis
    zero = torch.zeros_like(x)
    skew = torch.stack((torch.stack((zero, -z, y)), torch.stack((z, zero, -x)), torch.stack((-y, x, zero))))
    eye = torch.eye(3, dtype=angle.dtype, device=angle.device)
    return eye + angle.sin()[:, None, None] * skew + (1 - angle.cos())[:, None, None] * (skew @ skew)
