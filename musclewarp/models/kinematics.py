"""Forward kinematics of points on bodies over a batch of postures, with analytic Jacobians, in torch.

The same tree walk as MuJoCo's `mj_kinematics`, for all postures at once, a generation of the tree at a time, and only
through the bodies that the asked-for ones hang from. Postures are the last axis of all that is computed on the way, so
that every operation runs along the memory. Tests hold it to MuJoCo.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import mujoco
import numpy as np
import torch

if TYPE_CHECKING:
    from musclewarp.models.model import MuscleModel

_AT_ONCE = 128  # postures: their links stay in the cache
_FREE, _SLIDE = mujoco.mjtJoint.mjJNT_FREE.value, mujoco.mjtJoint.mjJNT_SLIDE.value


class SitePoses(NamedTuple):
    """World poses of points and how they move with the dofs; B postures, S sites.

    `position (B, S, 3)` m; `rotation (B, S, 3, 3)`; `jacobian (B, S, 6, nv)`: linear (m) over angular (rad) velocity
    in the world frame per unit velocity of each dof.
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

    Attributes:
        dofs: that move any of the points `(D,)`.
        moved: whether each point is moved by each of them `(S, D)`.
    """

    def __init__(
        self,
        model: MuscleModel,
        bodies: np.ndarray | None = None,
        offsets: np.ndarray | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        m = model.mj_model
        self.device, self._nv = torch.device(device), m.nv
        points = [int(b) for b in (model.site_body_ids if bodies is None else bodies)]
        default = m.site_pos[model.site_ids] if bodies is None else np.zeros((len(points), 3))
        self._offsets = self.tensor(default if offsets is None else offsets)
        dof_link = self._build_links(m, points)
        self._build_dofs(m, points, dof_link)

    def tensor(self, value: object) -> torch.Tensor:
        """A copy of `value` where this computes."""
        return torch.as_tensor(np.array(value), device=self.device)

    def _build_links(self, m: mujoco.MjModel, points: list[int]) -> dict[int, int]:
        """A link for every joint on the way to a point, and one for every body without; link 0 is the world.

        Returns the link that each dof moves.
        """
        needed = {ancestor for body in points for ancestor in _line(m, body)}
        last = {0: 0}  # the link that carries each body
        dof_link: dict[int, int] = {}
        parents, generation, joints, homes = [0], [0], [-1], [(np.zeros(3), np.eye(3))]
        for body in sorted(needed - {0}):
            link = last[int(m.body_parentid[body])]
            home = (m.body_pos[body], _matrix(m.body_quat[body]))
            for joint in _joints_of(m, body) or [-1]:
                parents.append(link)
                generation.append(generation[link] + 1)
                joints.append(joint)
                homes.append(home)
                link, home = len(parents) - 1, (np.zeros(3), np.eye(3))
                if joint >= 0:
                    dof_link |= dict.fromkeys(_dofs_of(m, joint), link)
            last[body] = link
        # the deepest last
        order = np.argsort(generation, kind="stable")
        place = np.empty(len(order), dtype=int)
        place[order] = np.arange(len(order))
        parent, joint, depth = place[np.array(parents)[order]], np.array(joints)[order], np.array(generation)[order]
        # each round places a link in the frame of one twice as far up: with the links before it, those have been placed
        self._rounds: list[tuple[int, torch.Tensor]] = []
        while (far := depth > 1 << len(self._rounds)).any():
            first = int(far.argmax())
            self._rounds.append((first, self.tensor(parent[first:])))
            parent = parent[parent]
        self._points = self.tensor(place[[last[body] for body in points]])
        position, rotation = (np.array(part)[order] for part in zip(*homes, strict=True))
        kind = np.where(joint >= 0, m.jnt_type[joint], -1)
        axis, anchor = (np.where(joint[:, None] >= 0, field[joint], 0.0) for field in (m.jnt_axis, m.jnt_pos))
        # a hinge turns by its angle, a slide shifts by it; a link without a joint does neither
        scalar = (joint >= 0) & (kind != _FREE)
        address = np.where(scalar, m.jnt_qposadr[joint], 0)
        self._address, self._zero = self.tensor(address), self.tensor(scalar * m.qpos0[address])[:, None]
        self._turns = self.tensor((scalar & (kind != _SLIDE)).astype(float))[:, None]
        # links in their parents `(L, 3, 4)`, rotation and place, by Rodrigues: home + sines sin + cosines (1 - cos)
        skew = np.cross(axis[:, None, :], np.eye(3)).transpose(0, 2, 1)  # skew @ v = axis x v
        turns = (rotation @ skew, rotation @ skew @ skew)
        shifts = (position[..., None], *(-turn @ anchor[..., None] for turn in turns))  # the anchor stays where it is
        self._home, self._sines, self._cosines = (
            self.tensor(np.concatenate(part, axis=-1))[..., None]
            for part in zip((rotation, *turns), shifts, strict=True)
        )
        slides = np.flatnonzero(kind == _SLIDE)
        self._slides, self._slide = self.tensor(slides), self.tensor(rotation[slides] @ axis[slides, :, None])
        self._free = [(int(link), int(m.jnt_qposadr[joint[link]])) for link in np.flatnonzero(kind == _FREE)]
        self._axis, self._anchor = self.tensor(axis), self.tensor(anchor)
        return {dof: int(place[link]) for dof, link in dof_link.items()}

    def _build_dofs(self, m: mujoco.MjModel, points: list[int], dof_link: dict[int, int]) -> None:
        """Which dofs move which point, and how."""
        self.dofs = np.array(sorted(dof_link), dtype=int)
        self._dof_links = self.tensor([dof_link[dof] for dof in self.dofs.tolist()])
        self._dof_axis, self._dof_anchor = self._axis[self._dof_links], self._anchor[self._dof_links]
        kind = m.jnt_type[m.dof_jntid[self.dofs]]
        self._dof_slides = self.tensor(np.flatnonzero(kind == _SLIDE))
        self._free_dofs = np.flatnonzero(kind == _FREE).tolist()
        self.moved = np.zeros((len(points), len(self.dofs)), dtype=bool)
        for point, body in enumerate(points):
            chain = [dof for ancestor in _line(m, body) for j in _joints_of(m, ancestor) for dof in _dofs_of(m, j)]
            self.moved[point] = np.isin(self.dofs, chain)
        point, dof = np.nonzero(self.moved)
        self._pair_point, self._pair_dof = self.tensor(point), self.tensor(dof)
        self._pair_column = self.tensor(point * self._nv + self.dofs[dof])

    def __call__(self, qpos: torch.Tensor, jacobian: bool = True) -> SitePoses:
        """Poses at `qpos (B, nq)`, float64; the Jacobian is empty unless asked for."""
        parts = []
        for some in qpos.split(_AT_ONCE if self.device.type == "cpu" else max(len(qpos), 1)):
            links = self.walk(some)
            position, rotation = self.points(links)
            slopes = self._jacobian(position, self.screws(links)) if jacobian else torch.empty(0)
            parts.append((position.permute(2, 0, 1), rotation.permute(3, 0, 1, 2), slopes))
        return SitePoses(*(torch.cat(part) for part in zip(*parts, strict=True)))

    def walk(self, qpos: torch.Tensor) -> torch.Tensor:
        """Rotations and places of all links in the world `(L, 3, 4, B)` at `qpos (B, nq)`."""
        qpos = qpos.T.contiguous()
        angle = qpos[self._address] - self._zero
        turn = (angle * self._turns)[:, None, None]
        local = torch.addcmul(self._home, turn.sin(), self._sines).addcmul_(1 - turn.cos(), self._cosines)
        if len(self._slides):
            local[self._slides, :, 3] += self._slide * angle[self._slides, None]
        for link, at in self._free:
            local[link, :, :3] = quat_to_matrix(qpos[at + 3 : at + 7].T).permute(1, 2, 0)
            local[link, :, 3] = qpos[at : at + 3]
        for first, parents in self._rounds:
            above, own = local.index_select(0, parents)[:, :, :, None], local[first:, None]
            placed = (above[:, :, 0] * own[:, :, 0]).addcmul_(above[:, :, 1], own[:, :, 1])
            placed.addcmul_(above[:, :, 2], own[:, :, 2])
            placed[:, :, 3] += above[:, :, 3, 0]
            local[first:] = placed
        return local

    def points(self, links: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Positions `(S, 3, B)` and rotations `(S, 3, 3, B)` of the points."""
        bodies = links.index_select(0, self._points)
        return _carried(bodies, self._offsets) + bodies[:, :, 3], bodies[:, :, :3]

    def screws(self, links: torch.Tensor) -> torch.Tensor:
        """What unit velocity of each of `dofs` does `(D, 6, B)`: angular velocity, and linear at the world's origin."""
        links = links.index_select(0, self._dof_links)
        # a joint's axis and anchor are the same in the link that it moves as in the one before
        angular, anchor = _carried(links, self._dof_axis), _carried(links, self._dof_anchor) + links[:, :, 3]
        linear = cross(anchor, angular)
        if len(self._dof_slides):
            linear[self._dof_slides], angular[self._dof_slides] = angular[self._dof_slides], 0.0
        if self._free_dofs:  # three shifts along the world's axes, three turns about the body's own
            shifts, turns = self._free_dofs[:3], self._free_dofs[3:]
            own = links[turns[0], :, :3].transpose(0, 1)
            angular[shifts], linear[shifts] = 0.0, torch.eye(3, dtype=links.dtype, device=links.device)[..., None]
            angular[turns], linear[turns] = own, cross(links[turns, :, 3], own)
        return torch.cat((angular, linear), dim=1)

    def _jacobian(self, point: torch.Tensor, screws: torch.Tensor) -> torch.Tensor:
        turning, moving = screws.index_select(0, self._pair_dof).split(3, dim=1)
        moving = moving + cross(turning, point.index_select(0, self._pair_point))
        points, _, batch = point.shape
        columns = torch.zeros(batch, points * self._nv, 6, dtype=point.dtype, device=point.device)
        columns[:, self._pair_column] = torch.cat((moving, turning), dim=1).permute(2, 0, 1)
        return columns.view(batch, points, self._nv, 6).transpose(2, 3)


def _carried(links: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
    """`vectors (K, 3)` of the links `(K, 3, 4, B)` in the world's axes `(K, 3, B)`."""
    x, y, z = vectors[:, None, :, None].unbind(2)
    return (links[:, :, 0] * x).addcmul_(links[:, :, 1], y).addcmul_(links[:, :, 2], z)


def cross(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Vector products `(K, 3, B)` of `(K, 3, B)`: unlike torch's own, along the memory."""
    (ax, ay, az), (bx, by, bz) = first.unbind(1), second.unbind(1)
    return torch.stack((ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx), dim=1)


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
