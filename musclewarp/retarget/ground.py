"""Feet and floor: how high the soles are, and how the height changes with the posture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import mujoco
import numpy as np
import torch
from numpy.typing import NDArray

from musclewarp.models import MuscleModel
from musclewarp.models.surfaces import foot_geoms, require_round
from musclewarp.motion import rotations

CLEARANCE = 5e-4  # m above the floor from which on parts of the feet are kept out of it


class Soles:
    """The collision geoms of both feet, each as one ellipsoid or two spheres.

    Attributes:
        bodies: that carry them `(P,)`.
        centres: `(P, 3)` m, in the body.
        foot: index `(P,)` of the foot in `model.feet`.

    Raises:
        ModelError: a geom is none of sphere, capsule, ellipsoid.
    """

    def __init__(self, model: MuscleModel) -> None:
        m = model.mj_model
        require_round(model, foot_geoms(model))
        bodies, centres, shapes, feet = [], [], [], []
        for index, geom in ((index, geom) for index, foot in enumerate(model.feet) for geom in foot_geoms(model, foot)):
            size, frame, centre = m.geom_size[geom], rotations.to_matrix(m.geom_quat[geom]), m.geom_pos[geom]
            if m.geom_type[geom] == mujoco.mjtGeom.mjGEOM_ELLIPSOID:
                parts = [(centre, frame * size)]
            else:
                capsule = m.geom_type[geom] == mujoco.mjtGeom.mjGEOM_CAPSULE
                half = frame[:, 2] * size[1] if capsule else np.zeros(3)
                parts = [(centre + end * half, np.eye(3) * size[0]) for end in ((-1, 1) if half.any() else (0,))]
            for centre, shape in parts:
                bodies.append(int(m.geom_bodyid[geom]))
                centres.append(centre)
                shapes.append(shape)
                feet.append(index)
        self.bodies, self.centres, self.foot = np.array(bodies), np.array(centres), np.array(feet)
        self._shape = torch.from_numpy(np.array(shapes))

    def heights(self, position: torch.Tensor, rotation: torch.Tensor) -> torch.Tensor:
        """Of the lowest point of each `(B, P)` m, from the centres' positions and the bodies' rotations."""
        return position[..., 2] - (rotation[..., 2:, :] @ self._shape).squeeze(-2).norm(dim=-1)

    def lowest(self, position: torch.Tensor, rotation: torch.Tensor) -> torch.Tensor:
        """The lowest point of each `(P, 3, B)` m, from the places of centres `(P, 3, B)` and rotations of bodies."""
        axes = (rotation[:, :, :, None] * self._shape[:, None, :, :, None]).sum(2)
        down = axes[:, 2]
        return position - (axes * (down / down.norm(dim=1, keepdim=True))[:, None]).sum(2)


class Pull(NamedTuple):
    """A cost of the heights h of the parts of the soles: sum of weight (h - goal)^2, plus a constant of each frame.

    `weight`, `goal` (m): `(T, P)`; `constant (T,)`.
    """

    weight: torch.Tensor
    goal: torch.Tensor
    constant: torch.Tensor


@dataclass(frozen=True, eq=False)
class Ground:
    """A floor at z = 0 under T frames.

    Attributes:
        soles: of the model.
        stance: which of `model.feet` stand `(T, F)`.
    """

    soles: Soles
    stance: NDArray[np.bool_]

    def at(self, frames: slice) -> Ground:
        """The same of some frames."""
        return Ground(self.soles, self.stance[frames])

    def pull(self, heights: torch.Tensor, stance: float, penetration: float) -> Pull:
        """What a foot stands on is drawn to the floor by `stance`, what is below `CLEARANCE` there by `penetration`."""
        standing = torch.zeros_like(heights)
        for foot in range(self.stance.shape[1]):
            parts = torch.from_numpy(np.flatnonzero(self.soles.foot == foot))
            lowest = parts[heights[:, parts].argmin(dim=1)]
            standing[torch.arange(len(heights)), lowest] = torch.from_numpy(float(stance) * self.stance[:, foot])
        below = penetration * (heights < CLEARANCE)
        weight = standing + below
        goal = CLEARANCE * below / weight.clamp(min=1e-12)
        return Pull(weight, goal, CLEARANCE * (standing * goal).sum(1))
