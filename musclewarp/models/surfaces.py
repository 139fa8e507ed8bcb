"""How near the body comes to the floor: the lowest points of its colliding geoms, over many postures at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import mujoco
import numpy as np
import torch
from numpy.typing import NDArray

from musclewarp.errors import ModelError
from musclewarp.models.kinematics import Kinematics

if TYPE_CHECKING:
    from musclewarp.models.model import MuscleModel

Floats = NDArray[np.float64]


def foot_geoms(model: MuscleModel, foot: str | None = None) -> list[int]:
    """Ids of the colliding geoms of one foot ("right", "left"), or of both."""
    m = model.mj_model
    feet = {int(m.sensor_objid[m.sensor(f"foot_{name}").id]) for name in (model.feet if foot is None else (foot,))}

    def in_foot(body: int) -> bool:
        while body:
            if body in feet:
                return True
            body = int(m.body_parentid[body])
        return False

    collides = (m.geom_contype | m.geom_conaffinity) != 0
    return [g for g in range(m.ngeom) if collides[g] and in_foot(int(m.geom_bodyid[g]))]


def floor_geoms(model: MuscleModel) -> list[int]:
    """Ids of the geoms that can touch the floor of a model with feet, without meshes (MS-Human-700's pelvis, skull)."""
    m = model.mj_model
    floor = int(m.sensor_objid[m.sensor("floor").id])
    collides = (m.geom_contype & m.geom_conaffinity[floor]) | (m.geom_contype[floor] & m.geom_conaffinity)
    solid = m.geom_type != mujoco.mjtGeom.mjGEOM_MESH
    return np.flatnonzero((collides != 0) & solid & (m.geom_bodyid != m.geom_bodyid[floor])).tolist()


def require_round(model: MuscleModel, geoms: list[int]) -> None:
    """Refuse geoms whose lowest point is not known here.

    Raises:
        ModelError: a geom is none of sphere, capsule, ellipsoid.
    """
    m, kinds = model.mj_model, mujoco.mjtGeom
    known = np.isin(m.geom_type[geoms], [kinds.mjGEOM_SPHERE, kinds.mjGEOM_CAPSULE, kinds.mjGEOM_ELLIPSOID])
    for geom in np.asarray(geoms)[~known]:
        shape = kinds(int(m.geom_type[geom])).name.removeprefix("mjGEOM_").lower()
        raise ModelError(
            f"geom {geom} ('{m.geom(geom).name}') of model '{model.name}' is a {shape}, whose lowest point is not "
            "known here; make it of spheres, capsules or ellipsoids"
        )


def lowest_points(model: MuscleModel, geoms: list[int], position: Floats, rotation: Floats) -> Floats:
    """Height `(..., G)` in m of the lowest point of each of G `geoms`.

    Args:
        model: whose geoms.
        geoms: ids of spheres, capsules or ellipsoids.
        position: of their centres, `(..., G, 3)` m in the world.
        rotation: from their frames to the world, `(..., G, 3, 3)`.

    Raises:
        ModelError: a geom has another shape.
    """
    require_round(model, geoms)
    m = model.mj_model
    kind, size, up = m.geom_type[geoms], m.geom_size[geoms], rotation[..., 2, :]
    capsule = size[:, 0] + np.abs(up[..., 2]) * size[:, 1]  # a sphere is one without length
    reach = np.where(kind == mujoco.mjtGeom.mjGEOM_ELLIPSOID, np.linalg.norm(up * size, axis=-1), capsule)
    return position[..., 2] - reach


def geom_heights(model: MuscleModel, qpos: Floats, geoms: list[int]) -> Floats:
    """Height `(T, G)` in m of the lowest point of each of G `geoms` at the postures `qpos (T, nq)`."""
    m = model.mj_model
    local = np.zeros((len(geoms), 9))
    for matrix, geom in zip(local, geoms, strict=True):
        mujoco.mju_quat2Mat(matrix, m.geom_quat[geom])
    poses = Kinematics(model, m.geom_bodyid[geoms], m.geom_pos[geoms])(torch.from_numpy(qpos), jacobian=False)
    return lowest_points(model, geoms, poses.position.numpy(), poses.rotation.numpy() @ local.reshape(-1, 3, 3))


def lowest_foot_point(model: MuscleModel, data: mujoco.MjData) -> float:
    """Height in m of the lowest point of the feet's contact geoms at `data`'s posture.

    Raises:
        ModelError: one is neither a sphere nor a capsule nor an ellipsoid.
    """
    geoms = foot_geoms(model)
    return float(lowest_points(model, geoms, data.geom_xpos[geoms], data.geom_xmat[geoms].reshape(-1, 3, 3)).min())
