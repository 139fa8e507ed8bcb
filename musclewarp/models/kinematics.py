"""Forward kinematics of points on bodies over a batch of postures, with analytic Jacobians, in torch.

The same tree walk as MuJoCo's `mj_kinematics`, for all postures at once, a generation of the tree at a time, and only
through the bodies that the asked-for ones hang from. Tests hold it to MuJoCo.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import mujoco
import numpy as np
import torch

if TYPE_CHECKING:
    from musclewarp.models.model import MuscleModel

_FREE, _SLIDE = mujoco.mjtJoint.mjJNT_FREE.value, mujoco.mjtJoint.mjJNT_SLIDE.value


class SitePoses(NamedTuple):
    """World poses of points and how they move with the dofs; B postures, S sites.

    `position (B, S, 3)` m; `rotation (B, S, 3, 3)`; `jacobian (B, S, 6, C)`: linear (m) over angular (rad) velocity
    in the world frame per unit velocity of each of C dofs.
    """

    position: torch.Tensor
    rotation: torch.Tensor
    jacobian: torch.Tensor


class Kinematics:
    """Kinematics of points fixed to bodies.

    Args:
        model: whose tree to walk.
        bodies: body id of each point `(S,)`; default: the tracking sites'.
        offsets: position of each point in its body `(S, 3)` m; default: the tracking sites', or the body's origin.
        device: where to compute; the precision is float64.
        independent: columns of the Jacobian are the independent dofs, coupled ones folded into their drivers' by the
            chain rule; default: all dofs.
    """

    def __init__(
        self,
        model: MuscleModel,
        bodies: np.ndarray | None = None,
        offsets: np.ndarray | None = None,
        device: torch.device | str = "cpu",
        independent: bool = False,
    ) -> None:
        m = model.mj_model
        self._model, self._device = model, torch.device(device)
        points = [int(b) for b in (model.site_body_ids if bodies is None else bodies)]
        default = m.site_pos[model.site_ids] if bodies is None else np.zeros((len(points), 3))
        self._offsets = self._tensor(default if offsets is None else offsets)
        self._build_links(m, points)
        self._build_columns(m, points, independent)

    def _tensor(self, value: object) -> torch.Tensor:
        return torch.as_tensor(np.array(value), device=self._device)

    def _build_links(self, m: mujoco.MjModel, points: list[int]) -> None:
        """A link for every joint on the way to a point, and one for every body without; link 0 is the world."""
        needed = {ancestor for body in points for ancestor in _line(m, body)}
        self._last = {0: 0}  # the link that carries each body
        self._dof_link: dict[int, int] = {}
        parents, generation, joints, homes = [0], [0], [-1], [(np.zeros(3), np.eye(3))]
        for body in sorted(needed - {0}):
            link = self._last[int(m.body_parentid[body])]
            home = (m.body_pos[body], _matrix(m.body_quat[body]))
            for joint in _joints_of(m, body) or [-1]:
                parents.append(link)
                generation.append(generation[link] + 1)
                joints.append(joint)
                homes.append(home)
                link, home = len(parents) - 1, (np.zeros(3), np.eye(3))
                if joint >= 0:
                    dof = int(m.jnt_dofadr[joint])
                    self._dof_link |= {dof + k: link for k in range(6 if m.jnt_type[joint] == _FREE else 1)}
            self._last[body] = link
        # one generation after the other
        order = np.argsort(generation, kind="stable")
        place = np.empty(len(order), dtype=int)
        place[order] = np.arange(len(order))
        self._last = {body: int(place[link]) for body, link in self._last.items()}
        self._dof_link = {dof: int(place[link]) for dof, link in self._dof_link.items()}
        parent, joint = place[np.array(parents)[order]], np.array(joints)[order]
        starts = np.searchsorted(np.array(generation)[order], np.arange(max(generation) + 2))
        # links of each generation, and their parents within the one before
        self._generations = [
            (slice(int(first), int(end)), self._tensor(parent[first:end] - before))
            for before, first, end in zip(starts, starts[1:], starts[2:], strict=False)
        ]
        position, rotation = (np.array(part)[order] for part in zip(*homes, strict=True))
        moving = joint >= 0
        kind = np.where(moving, m.jnt_type[joint], -1)
        axis, anchor = (np.where(moving[:, None], field[joint], 0.0) for field in (m.jnt_axis, m.jnt_pos))
        address = m.jnt_qposadr[joint]
        skew = np.cross(axis[:, None, :], np.eye(3)).transpose(0, 2, 1)  # skew @ v = axis x v
        # a hinge turns by its angle, a slide shifts by it; a link without a joint does neither
        scalar = moving & (kind != _FREE)
        self._address = self._tensor(np.where(scalar, address, 0))
        self._zero = self._tensor(np.where(scalar, m.qpos0[np.where(scalar, address, 0)], 0.0))
        self._turns = self._tensor((scalar & (kind != _SLIDE)).astype(float))
        self._home = self._tensor(rotation)
        self._sines, self._cosines = self._tensor(rotation @ skew), self._tensor(rotation @ skew @ skew)
        self._slide = self._tensor((rotation @ axis[..., None])[..., 0] * (kind == _SLIDE)[:, None])
        self._pivot = self._tensor(position + (rotation @ anchor[..., None])[..., 0])
        self._axis, self._anchor = self._tensor(axis), self._tensor(anchor)
        self._free = [(int(link), int(address[link])) for link in np.flatnonzero(kind == _FREE)]
        self._points = self._tensor([self._last[body] for body in points])

    def _build_columns(self, m: mujoco.MjModel, points: list[int], independent: bool) -> None:
        """Which dofs move which point, and into which columns of the Jacobian."""
        couplings = self._model.couplings
        column = {dof: dof for dof in range(m.nv)}
        self._columns = m.nv
        if independent:
            column = {int(dof): k for k, dof in enumerate(couplings.independent)}
            driven = zip(couplings.dependent, couplings.driver, strict=True)
            column |= {int(dof): column[int(driver)] for dof, driver in driven if driver >= 0}
            self._columns = len(couplings.independent)
        dofs = sorted(self._dof_link)
        self._dof_links = self._tensor([self._dof_link[dof] for dof in dofs])
        self._dof_axis, self._dof_anchor = self._axis[self._dof_links], self._anchor[self._dof_links]
        self._slides = self._tensor([m.jnt_type[m.dof_jntid[dof]] == _SLIDE for dof in dofs])
        self._free_dofs = [k for k, dof in enumerate(dofs) if m.jnt_type[m.dof_jntid[dof]] == _FREE]
        within = {dof: k for k, dof in enumerate(dofs)}
        pairs = []
        for point, body in enumerate(points):
            chain = [dof for ancestor in _line(m, body) for j in _joints_of(m, ancestor) for dof in _dofs_of(m, j)]
            pairs += [(point, column[dof], within[dof]) for dof in chain if dof in column]
        point, into, dof = np.array(pairs, dtype=int).reshape(-1, 3).T
        self._pair_point, self._pair_dof = self._tensor(point), self._tensor(dof)
        self._pair_column = self._tensor(point * self._columns + into)
        # the weight of a coupled dof is its slope
        row = {int(dof): k for k, dof in enumerate(couplings.dependent)} if independent else {}
        coupled = [(k, row[dofs[d]]) for k, d in enumerate(dof) if dofs[d] in row]
        self._coupled = self._tensor(np.array(coupled, dtype=int).reshape(-1, 2)) if coupled else None

    def __call__(self, qpos: torch.Tensor, jacobian: bool = True) -> SitePoses:
        """Poses at `qpos (B, nq)`, float64; the Jacobian is empty unless asked for."""
        angle = qpos[:, self._address] - self._zero
        turn = (angle * self._turns)[..., None, None]
        turned = self._home + turn.sin() * self._sines + (1 - turn.cos()) * self._cosines  # Rodrigues
        shifted = self._pivot + angle[..., None] * self._slide - (turned @ self._anchor[..., None]).squeeze(-1)
        local = torch.cat((turned, shifted[..., None]), dim=-1)  # of each link, in its parent
        for link, at in self._free:
            local[:, link, :, :3] = quat_to_matrix(qpos[:, at + 3 : at + 7])
            local[:, link, :, 3] = qpos[:, at : at + 3]
        above = torch.eye(3, 4, dtype=qpos.dtype, device=qpos.device).expand(len(qpos), 1, 3, 4)
        placed = [above]
        for links, parents in self._generations:
            above = above.index_select(1, parents)
            below = above[..., :3] @ local[:, links]
            below[..., 3] += above[..., 3]
            placed.append(below)
            above = below
        links = torch.cat(placed, dim=1)
        turned = links[..., :3].index_select(1, self._points)
        point = links[..., 3].index_select(1, self._points) + (turned @ self._offsets[..., None]).squeeze(-1)
        return SitePoses(point, turned, self._jacobian(qpos, point, links) if jacobian else torch.empty(0))

    def _jacobian(self, qpos: torch.Tensor, point: torch.Tensor, links: torch.Tensor) -> torch.Tensor:
        """Every dof as a screw: the velocity of a point p of the body is angular x p + linear."""
        links = links.index_select(1, self._dof_links)
        rotation, position = links[..., :3], links[..., 3]
        # a joint's axis and anchor are the same in the link that it moves as in the one before
        axis = (rotation @ self._dof_axis[..., None]).squeeze(-1)
        anchor = position + (rotation @ self._dof_anchor[..., None]).squeeze(-1)
        angular = torch.where(self._slides[:, None], 0.0, axis)
        linear = torch.where(self._slides[:, None], axis, torch.linalg.cross(anchor, axis))
        if self._free_dofs:  # three shifts along the world's axes, three turns about the body's own
            shifts, turns = self._free_dofs[:3], self._free_dofs[3:]
            own, origin = rotation[:, turns[0]].transpose(1, 2), position[:, turns]
            angular[:, shifts], linear[:, shifts] = 0.0, torch.eye(3, dtype=qpos.dtype, device=qpos.device)
            angular[:, turns], linear[:, turns] = own, torch.linalg.cross(origin, own)
        turning = angular.index_select(1, self._pair_dof)
        moving = linear.index_select(1, self._pair_dof)
        moving = moving + torch.linalg.cross(turning, point.index_select(1, self._pair_point))
        screws = torch.cat((moving, turning), dim=-1)
        if self._coupled is not None:
            pair, row = self._coupled.unbind(1)
            screws[:, pair] *= self._model.couplings.slopes(qpos)[:, row, None]
        batch, points = point.shape[:2]
        columns = torch.zeros(batch, points * self._columns, 6, dtype=qpos.dtype, device=qpos.device)
        columns.index_add_(1, self._pair_column, screws)
        return columns.view(batch, points, self._columns, 6).transpose(2, 3)


def _line(m: mujoco.MjModel, body: int) -> list[int]:
    """The body and what it hangs from, without the world."""
    line = []
    while body:
        line.append(body)
        body = int(m.body_parentid[body])
    return line


def _joints_of(m: mujoco.MjModel, body: int) -> list[int]:
    first = int(m.body_jntadr[body])
    return list(range(first, first + int(m.body_jntnum[body])))


def _dofs_of(m: mujoco.MjModel, joint: int) -> range:
    first = int(m.jnt_dofadr[joint])
    return range(first, first + (6 if m.jnt_type[joint] == _FREE else 1))


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
