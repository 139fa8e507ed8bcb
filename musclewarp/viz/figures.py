"""What is drawn of a body at a posture: bones as meshes, tendons as lines, tracking sites as a stick figure."""

from __future__ import annotations

import itertools

import mujoco
import numpy as np
import trimesh
from numpy.typing import NDArray

from musclewarp.viz.appearance import LIGAMENT, muscle_colours, muscle_tendons

Floats = NDArray[np.floating]
_DRAWN_GROUPS = (0, 1)  # MuJoCo's convention: those above are for wraps and collisions
_PULLEY = -2  # in `wrap_obj`: the path goes on elsewhere
_LIMBS = (("shoulder", "elbow", "hand"), ("hip", "knee", "ankle", "toes"))


def stick_figure(sites: tuple[str, ...]) -> NDArray[np.intp]:
    """Pairs `(E, 2)` of tracking sites between which a stick figure has its sticks."""
    chains: list[tuple[str, ...]] = [("pelvis", "upper_body", "head")]
    for side, limb in itertools.product(("left", "right"), _LIMBS):
        trunk = "upper_body" if limb[0] == "shoulder" else "pelvis"
        chains.append((trunk, *(f"{side}_{joint}" for joint in limb)))
    pairs = [pair for chain in chains for pair in itertools.pairwise([name for name in chain if name in sites])]
    return np.array([[sites.index(name) for name in pair] for pair in pairs], dtype=np.intp)


def body_meshes(m: mujoco.MjModel) -> dict[int, trimesh.Trimesh]:
    """What is drawn of each body in its own frame, by the body's id; bodies of which nothing is drawn are left out."""
    parts: dict[int, list[trimesh.Trimesh]] = {}
    for geom in np.flatnonzero(np.isin(m.geom_group, _DRAWN_GROUPS) & (m.geom_rgba[:, 3] > 0)):
        mesh = _geom_mesh(m, int(geom))
        if mesh is not None:
            pose = trimesh.transformations.quaternion_matrix(m.geom_quat[geom])
            pose[:3, 3] = m.geom_pos[geom]
            parts.setdefault(int(m.geom_bodyid[geom]), []).append(mesh.apply_transform(pose))
    return {body: sum(meshes[1:], meshes[0]) for body, meshes in parts.items()}


def _geom_mesh(m: mujoco.MjModel, geom: int) -> trimesh.Trimesh | None:
    """A geom in its own frame; None for a plane, and for what has no surface of its own."""
    radius, half, depth = m.geom_size[geom]
    kind = mujoco.mjtGeom(int(m.geom_type[geom]))
    if kind == mujoco.mjtGeom.mjGEOM_MESH:
        k = m.geom_dataid[geom]
        vertices = m.mesh_vert[m.mesh_vertadr[k] : m.mesh_vertadr[k] + m.mesh_vertnum[k]]
        faces = m.mesh_face[m.mesh_faceadr[k] : m.mesh_faceadr[k] + m.mesh_facenum[k]]
        return trimesh.Trimesh(vertices, faces, process=False)
    if kind == mujoco.mjtGeom.mjGEOM_CAPSULE:
        return trimesh.creation.capsule(2 * half, radius, count=[12, 12])
    if kind == mujoco.mjtGeom.mjGEOM_CYLINDER:
        return trimesh.creation.cylinder(radius, 2 * half, sections=12)
    if kind == mujoco.mjtGeom.mjGEOM_BOX:
        return trimesh.creation.box(2 * m.geom_size[geom])
    if kind in (mujoco.mjtGeom.mjGEOM_SPHERE, mujoco.mjtGeom.mjGEOM_ELLIPSOID):
        size = (radius, half, depth) if kind == mujoco.mjtGeom.mjGEOM_ELLIPSOID else (radius,) * 3
        return trimesh.creation.icosphere(2).apply_scale(size)
    return None


class Tendons:
    """The tendons of a model as straight pieces, coloured by the activation of the muscles that pull them."""

    def __init__(self, m: mujoco.MjModel) -> None:
        self._m, self._of_muscle = m, muscle_tendons(m)
        self._muscles = np.flatnonzero(self._of_muscle >= 0)

    def pieces(self, data: mujoco.MjData) -> tuple[Floats, NDArray[np.intp]]:
        """Ends `(N, 2, 3)` m, and the tendon `(N,)` of each, of `data` after `mj_tendon`."""
        count, first = data.ten_wrapnum, data.ten_wrapadr
        points, kinds = data.wrap_xpos.reshape(-1, 3), data.wrap_obj.ravel()
        tendon = np.repeat(np.arange(self._m.ntendon), np.maximum(count - 1, 0))
        rows = [np.arange(start, start + number - 1) for start, number in zip(first, count, strict=True) if number > 1]
        at = np.concatenate(rows) if rows else np.zeros(0, int)
        joined = (kinds[at] != _PULLEY) & (kinds[at + 1] != _PULLEY)
        at, tendon = at[joined], tendon[joined]
        return np.stack((points[at], points[at + 1]), axis=1), tendon

    def colours(self, activation: Floats | None) -> Floats:
        """RGB `(K, 3)` in [0, 1] of all tendons, at `activation (M,)`; None: as if relaxed."""
        colours = np.tile(LIGAMENT[:3], (self._m.ntendon, 1))
        given = np.zeros(self._m.nu) if activation is None else activation
        colours[self._of_muscle[self._muscles]] = muscle_colours(given)[self._muscles, :3]
        return colours
