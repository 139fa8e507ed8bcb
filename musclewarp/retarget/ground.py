"""Body and floor: how high the parts of the body are that can touch it, and how the heights change with the posture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import mujoco
import numpy as np
import torch
from numpy.typing import NDArray

from musclewarp.models import MuscleModel
from musclewarp.models.kinematics import Kinematics
from musclewarp.models.surfaces import floor_geoms, foot_geoms, require_round
from musclewarp.motion import rotations
from musclewarp.retarget.contacts import LIMBS

CLEARANCE = 5e-4  # m above the floor from which on parts of the body are kept out of it
_HAND = 0.02  # m from the middle of a wrist to the palm, of hands that nothing of a model collides for
_DIRECTIONS = 2000  # in which is asked which parts of a rigid body are the outermost


def limb_sites(model: MuscleModel, limb: int) -> list[int]:
    """Indices of the tracking sites of one of `LIMBS`: a hand's, or ankle and toes."""
    name = LIMBS[limb]
    sites = (name,) if "hand" in name else (name.replace("foot", "ankle"), name.replace("foot", "toes"))
    return [model.sites.index(site) for site in sites if site in model.sites]


class Surface:
    """What of a body can touch the floor: its collision geoms, each as one ellipsoid or two spheres.

    Of the geoms of a rigid body those that others hide from every side are left out (most of a hand's). For a hand
    without geoms (MS-Human-700's) stands in a sphere around its tracking site, which is kept out of the floor.

    Attributes:
        bodies: that carry the parts `(P,)`.
        centres: of the parts `(P, 3)` m, in the body.
        limb: index `(P,)` in `LIMBS` of what each part belongs to, -1 for what never stands.
        stands: which of `LIMBS` can stand `(4,)`: those with geoms.

    Raises:
        ModelError: a geom is none of sphere, capsule, ellipsoid.
    """

    def __init__(self, model: MuscleModel) -> None:
        m, geoms = model.mj_model, floor_geoms(model)
        require_round(model, geoms)
        limbs = {geom: LIMBS.index(f"{foot}_foot") for foot in model.feet for geom in foot_geoms(model, foot)}
        hands = {
            int(m.body_weldid[body]): LIMBS.index(site)
            for site, body in zip(model.sites, model.site_body_ids, strict=True)
            if site in LIMBS
        }
        hand = np.full(m.nbody, -1)
        for body in range(1, m.nbody):  # parents come before what hangs from them
            hand[body] = hands.get(int(m.body_weldid[body]), hand[m.body_parentid[body]])
        bodies, centres, shapes, limb = [], [], [], []
        for geom in geoms:
            body, size, frame = int(m.geom_bodyid[geom]), m.geom_size[geom], rotations.to_matrix(m.geom_quat[geom])
            if m.geom_type[geom] == mujoco.mjtGeom.mjGEOM_ELLIPSOID:
                ends, shape = (np.zeros(3),), frame * size
            else:
                half = frame[:, 2] * size[1] * (m.geom_type[geom] == mujoco.mjtGeom.mjGEOM_CAPSULE)
                ends, shape = ((-half, half) if half.any() else (half,)), np.eye(3) * size[0]
            for end in ends:
                bodies.append(body)
                centres.append(m.geom_pos[geom] + end)
                shapes.append(shape)
                limb.append(limbs.get(geom, int(hand[body])))
        self.stands = np.isin(range(len(LIMBS)), limb)
        for site, name in zip(model.site_ids, model.sites, strict=True):
            if name in LIMBS and not self.stands[LIMBS.index(name)]:
                bodies.append(int(m.site_bodyid[site]))
                centres.append(m.site_pos[site])
                shapes.append(np.eye(3) * _HAND)
                limb.append(LIMBS.index(name))
        self.bodies, self.centres, self.limb = np.array(bodies), np.array(centres), np.array(limb)
        self._shape = torch.from_numpy(np.array(shapes))
        self._keep(self._outermost(model))

    def only(self, parts: NDArray[np.bool_]) -> Surface:
        """The same with some of its parts `(P,)`."""
        some = Surface.__new__(Surface)
        some.__dict__.update(self.__dict__)
        some._keep(parts)
        return some

    def lowest(self, position: torch.Tensor, rotation: torch.Tensor) -> torch.Tensor:
        """The lowest point of each `(P, 3, B)` m, from the places of centres `(P, 3, B)` and rotations of bodies."""
        axes = (rotation[:, :, :, None] * self._shape[:, None, :, :, None]).sum(2)
        down = axes[:, 2]
        return position - (axes * (down / down.norm(dim=1, keepdim=True))[:, None]).sum(2)

    def _keep(self, parts: NDArray[np.bool_]) -> None:
        self.bodies, self.centres, self.limb = self.bodies[parts], self.centres[parts], self.limb[parts]
        self._shape = self._shape[torch.from_numpy(parts)]

    def _outermost(self, model: MuscleModel) -> NDArray[np.bool_]:
        """Which parts `(P,)` tell to `CLEARANCE` how far their rigid bodies reach in every direction."""
        default = torch.from_numpy(model.mj_model.qpos0.copy())[None]
        place, turn, _ = (part[0].numpy() for part in Kinematics(model, self.bodies, self.centres)(default))
        step = np.arange(_DIRECTIONS) + 0.5  # a spiral over the sphere
        up, around = 1 - 2 * step / _DIRECTIONS, np.pi * (1 + np.sqrt(5)) * step
        flat = np.sqrt(1 - up**2)
        direction = np.stack((flat * np.cos(around), flat * np.sin(around), up), axis=1)
        half = np.linalg.norm(direction @ (turn @ self._shape.numpy()), axis=-1).T
        reach = direction @ place.T + half
        rigid, outermost = model.mj_model.body_weldid[self.bodies], np.zeros(len(self.bodies), dtype=np.bool_)
        for body in np.unique(rigid):
            parts = np.flatnonzero(rigid == body)
            lacks = np.full(len(direction), np.inf)
            while lacks.max() > CLEARANCE:
                outermost[parts[reach[lacks.argmax(), parts].argmax()]] = True
                lacks = reach[:, parts].max(axis=1) - reach[:, parts[outermost[parts]]].max(axis=1)
        return outermost


class Pull(NamedTuple):
    """A cost of the heights h of the parts of a surface: sum of weight (h - goal)^2, plus a constant of each frame.

    `weight`, `goal` (m): `(T, P)`; `constant (T,)`.
    """

    weight: torch.Tensor
    goal: torch.Tensor
    constant: torch.Tensor


@dataclass(frozen=True, eq=False)
class Ground:
    """A floor at z = 0 under T frames.

    Attributes:
        surface: of the model, or what of it comes near the floor.
        stance: which of `LIMBS` stand `(T, 4)`.
    """

    surface: Surface
    stance: NDArray[np.bool_]

    def at(self, frames: slice) -> Ground:
        """The same of some frames."""
        return Ground(self.surface, self.stance[frames])

    def pull(self, heights: torch.Tensor, stance: float, penetration: float) -> Pull:
        """What a limb stands on is drawn to the floor by `stance`, what is below `CLEARANCE` there by `penetration`."""
        standing = torch.zeros_like(heights)
        for limb in np.flatnonzero(self.stance.any(axis=0) & np.isin(range(len(LIMBS)), self.surface.limb)):
            parts = torch.from_numpy(np.flatnonzero(self.surface.limb == limb))
            lowest = parts[heights[:, parts].argmin(dim=1)]
            standing[torch.arange(len(heights)), lowest] = torch.from_numpy(float(stance) * self.stance[:, limb])
        below = penetration * (heights < CLEARANCE)
        weight = standing + below
        goal = CLEARANCE * below / weight.clamp(min=1e-12)
        return Pull(weight, goal, CLEARANCE * (standing * goal).sum(1))
