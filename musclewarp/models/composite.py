"""Springs on points of a body as its independent dofs feel them, without the Jacobian of every point.

Their stiffness matrix is sum_p J_p' K_p J_p over the points p. Two dofs of which one is above the other both move the
points below the lower one, as one rigid body: the entry is the screw of the one times the sum of K_p there times the
screw of the other. The composite-rigid-body algorithm makes inertia matrices in this way (Featherstone, Rigid Body
Dynamics Algorithms, 2008, section 6.2); here springs take the place of masses.
"""

from __future__ import annotations

import numpy as np
import torch

from musclewarp.models.couplings import Couplings
from musclewarp.models.kinematics import Kinematics


class Composite:
    """What moves S points, and is moved by forces on them: the n independent dofs, coupled ones folded in.

    Screws, wrenches (torque over force) and stiffnesses are about the world's origin, angular before linear; the B
    postures are their last axis.

    Args:
        couplings: of the model.
        kinematics: of the points.
    """

    def __init__(self, couplings: Couplings, kinematics: Kinematics) -> None:
        self._couplings, self._kinematics = couplings, kinematics
        dofs, moved = kinematics.dofs.tolist(), kinematics.moved.T
        column = {int(dof): k for k, dof in enumerate(couplings.independent)}
        driven = zip(couplings.dependent, couplings.driver, strict=True)
        column |= {int(dof): column[int(driver)] for dof, driver in driven if driver >= 0}
        # what an independent dof does to the same points is one screw
        kinds = {
            (column[dof], points.tobytes()): points for dof, points in zip(dofs, moved, strict=True) if dof in column
        }
        order = sorted(kinds, key=lambda kind: kind[0])
        members = [
            [column.get(dof) == owner and moved[d].tobytes() == points for d, dof in enumerate(dofs)]
            for owner, points in order
        ]
        below = np.array([kinds[kind] for kind in order])
        sets, which = np.unique(below, axis=0, return_inverse=True)
        owner = np.eye(len(couplings.independent))[[kind[0] for kind in order]]
        above = (below[:, None] >= below).all(axis=-1)  # [a, b]: all that b moves, a moves
        tensor, row = kinematics.tensor, {int(dof): k for k, dof in enumerate(couplings.dependent)}
        self._members, self._below = tensor(np.array(members, float)), tensor(below.astype(float))
        self._sets, self._set = tensor(sets.astype(float)), tensor(which.ravel())
        self._above, self._strictly = tensor(above.astype(float)), tensor((above & ~above.T).astype(float))
        self._owner = None if np.array_equal(owner, np.eye(*owner.shape)) else tensor(owner)
        self._coupled = tensor([d for d, dof in enumerate(dofs) if dof in row])
        self._row = tensor([row[dof] for dof in dofs if dof in row])

    def screws(self, qpos: torch.Tensor, links: torch.Tensor) -> torch.Tensor:
        """How the dofs move the points `(C, 6, B)` at `qpos (B, nq)`, C >= n: a dof has one for each set of points.

        `links` are those that the kinematics walked to.
        """
        screws = self._kinematics.screws(links)
        if len(self._coupled):
            screws[self._coupled] *= self._couplings.slopes(qpos).T[self._row][:, None]
        return (self._members @ screws.flatten(1)).view(-1, *screws.shape[1:])

    def velocities(self, screws: torch.Tensor, qvel: torch.Tensor) -> torch.Tensor:
        """Of the bodies that carry the points `(S, 6, B)`, from those of the independent dofs, `(B, n)`."""
        qvel = qvel.T if self._owner is None else self._owner @ qvel.T
        moving = screws * qvel[:, None]
        return (self._below.T @ moving.flatten(1)).view(-1, *moving.shape[1:])

    def of_dofs(self, rates: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
        """By unit velocity of each dof `(M, n)`: the `rates (C, M)` of M `points` as if every screw moved them."""
        rates = (rates * self._below[:, points]).T
        return rates if self._owner is None else rates @ self._owner

    def pull(
        self, screws: torch.Tensor, stiffness: torch.Tensor, wrenches: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Stiffness matrix `(B, n, n)` and forces `(B, n)` of springs `(S, 6, 6, B)` and `wrenches (S, 6, B)`."""
        sums = (self._sets @ stiffness.flatten(1)).view(-1, *stiffness.shape[1:])
        resisting = (sums.index_select(0, self._set) * screws[:, None]).sum(2)
        total = (self._sets @ wrenches.flatten(1)).view(-1, *wrenches.shape[1:])
        forces = (total.index_select(0, self._set) * screws).sum(1).T
        product = screws.permute(2, 0, 1).contiguous() @ resisting.permute(2, 1, 0).contiguous()
        matrix = (product * self._above).add_((product * self._strictly).mT)
        if self._owner is not None:
            return self._owner.T @ matrix @ self._owner, forces @ self._owner
        return matrix, forces


def point_springs(position: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Stiffness `(S, 6, 6, B)` of springs of stiffness `weight (S, 3, B)` along the axes at `position (S, 3, B)`."""
    (x, y, z), (a, b, c) = position.unbind(1), weight.unbind(1)
    zero, za, ya, zb, xb, yc, xc = torch.zeros_like(x), z * a, y * a, z * b, x * b, y * c, x * c
    xy, xz, yz = -x * yc, -x * zb, -y * za
    rows = (
        (z * zb + y * yc, xy, xz, zero, -zb, yc),
        (xy, z * za + x * xc, yz, za, zero, -xc),
        (xz, yz, y * ya + x * xb, -ya, xb, zero),
        (zero, za, -ya, a, zero, zero),
        (-zb, zero, xb, zero, b, zero),
        (yc, -xc, zero, zero, zero, c),
    )
    return torch.stack([entry for row in rows for entry in row], dim=1).view(len(x), 6, 6, -1)
