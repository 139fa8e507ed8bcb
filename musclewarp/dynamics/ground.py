"""What the ground could do: forces at the points of the feet that are near it, within the friction cone."""

from __future__ import annotations

from typing import NamedTuple

import mujoco
import numpy as np
from numpy.typing import NDArray

from musclewarp.dynamics.inverse import reduce_rows
from musclewarp.models import MuscleModel
from musclewarp.models.surfaces import foot_geoms

Floats = NDArray[np.float64]
_EDGES = 4  # of the pyramid that stands for the friction cone


class GroundForces(NamedTuple):
    """The P edges of all friction pyramids in T frames.

    `effect (T, J, P)`: moments over the independent coordinates, per body weight along an edge, zero where the point is
    off the ground; `force (P, 3)` N on the body per body weight, world frame; `foot (P,)`: index in `model.feet`.
    """

    effect: Floats
    force: Floats
    foot: NDArray[np.int64]


def ground_forces(model: MuscleModel, qpos: Floats, friction: float = 0.8, height: float = 0.02) -> GroundForces:
    """Forces that the floor z = 0 could exert at postures `(T, nq)`.

    Points are those of the feet's contact geoms, at both ends of a capsule, that lie lower than `height` m; edges are
    n + `friction` d for four horizontal directions d, of a length that presses with one body weight.
    """
    m = model.mj_model
    weight = float(m.body_mass.sum() * np.linalg.norm(m.opt.gravity))
    parts = [
        (index, geom, end)
        for index, foot in enumerate(model.feet)
        for geom in foot_geoms(model, foot)
        for end in _ends(m, geom)
    ]
    angle = 2 * np.pi * np.arange(_EDGES) / _EDGES
    edges = weight * np.stack((friction * np.cos(angle), friction * np.sin(angle), np.ones(_EDGES)), axis=1)
    data, jacobian = mujoco.MjData(m), np.zeros((3, m.nv))
    rows = np.zeros((len(qpos), len(parts), _EDGES, m.nv))
    for t, posture in enumerate(qpos):
        data.qpos[:] = posture
        mujoco.mj_kinematics(m, data)
        mujoco.mj_comPos(m, data)
        for k, (_, geom, end) in enumerate(parts):
            point = _lowest(m, data, geom, end)
            if point[2] < height:
                mujoco.mj_jac(m, data, jacobian, None, point, int(m.geom_bodyid[geom]))
                rows[t, k] = edges @ jacobian
    return GroundForces(
        reduce_rows(model, qpos, rows.reshape(len(qpos), -1, m.nv)).transpose(0, 2, 1),
        np.tile(edges, (len(parts), 1)),
        np.repeat([index for index, _, _ in parts], _EDGES),
    )


def _ends(m: mujoco.MjModel, geom: int) -> tuple[float, ...]:
    return (-1.0, 1.0) if m.geom_type[geom] == mujoco.mjtGeom.mjGEOM_CAPSULE else (0.0,)


def _lowest(m: mujoco.MjModel, data: mujoco.MjData, geom: int, end: float) -> Floats:
    """The lowest point of a sphere, an ellipsoid, or the half sphere at one end of a capsule."""
    rotation, size = data.geom_xmat[geom].reshape(3, 3), m.geom_size[geom]
    if m.geom_type[geom] == mujoco.mjtGeom.mjGEOM_ELLIPSOID:
        down = -rotation[2] * size
        return data.geom_xpos[geom] + rotation @ (down / np.linalg.norm(down) * size)
    return data.geom_xpos[geom] + end * size[1] * rotation[:, 2] - [0.0, 0.0, size[0]]
