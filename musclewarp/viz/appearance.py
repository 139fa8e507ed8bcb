"""How a model looks in a video: a copy of it with quiet colours, simple light and few triangles."""

from __future__ import annotations

import copy

import mujoco
import numpy as np
from numpy.typing import NDArray

from musclewarp.models import MuscleModel

Floats = NDArray[np.floating]

BONE = (0.93, 0.89, 0.80, 1.0)
GHOST = (0.0, 0.55, 0.55, 0.35)
LIGAMENT = (0.82, 0.80, 0.72, 1.0)
RELAXED = np.array([0.50, 0.60, 0.76])
ACTIVE = np.array([0.95, 0.05, 0.03])
_SKY = (226, 231, 237)
_FLOOR_DARK, _FLOOR_LIGHT = 176, 196
_CELL = 0.002  # m; vertices closer than this are one, which no one sees where a pixel is about 2 mm
_STRESS = 3e5  # Pa, peak force over cross-section, for the drawn thickness only
_THINNING = 0.25  # a drawn muscle has this share of its true radius, else the outer ones hide the others


def muscle_colours(activation: Floats) -> Floats:
    """RGBA `(M, 4)` of muscles at `activation (M,)`: blue-grey at 0, red at 1.

    Not linear, but with activation to the power 0.7: most movements are made at activations under 0.3, of which a
    linear scale shows little.
    """
    share = np.clip(activation, 0.0, 1.0)[:, None] ** 0.7
    colours = (1.0 - share) * RELAXED + share * ACTIVE
    return np.concatenate([colours, np.ones_like(share)], axis=1)


def muscle_tendons(model: mujoco.MjModel) -> NDArray[np.intp]:
    """Tendon that each actuator pulls `(M,)`; -1 for an actuator that pulls none."""
    pulls = model.actuator_trntype == mujoco.mjtTrn.mjTRN_TENDON
    return np.where(pulls, model.actuator_trnid[:, 0], -1).astype(np.intp)


def drawn_copy(model: MuscleModel, width: int, height: int, samples: int = 4) -> mujoco.MjModel:
    """A copy of the compiled model for a renderer of `width` x `height` pixels; the original keeps its looks.

    Bones are ivory, ligaments pale; muscles are as thick as the root of their peak force. Shadows, reflections and
    textures are gone, and bones have a fifth of their triangles: software rendering then is ten times faster.
    The physics of the copy is the original's.
    """
    m = copy.copy(model.mj_model)
    m.vis.global_.offwidth, m.vis.global_.offheight = width, height
    m.vis.quality.offsamples = samples
    m.vis.quality.numslices, m.vis.quality.numstacks = 8, 2  # a muscle is a chain of capsules a few pixels thick
    m.light_castshadow[:] = False
    m.light_diffuse[:] = 0.3
    m.vis.headlight.ambient[:] = 0.5
    m.vis.headlight.diffuse[:] = 0.4
    m.mat_reflectance[:] = 0.0
    bones = m.geom_type == mujoco.mjtGeom.mjGEOM_MESH
    m.geom_matid[bones] = -1
    m.geom_rgba[bones] = BONE
    _paint_background(m)
    tendons = muscle_tendons(m)
    m.tendon_matid[:] = -1
    m.tendon_rgba[:] = LIGAMENT
    m.tendon_width[:] = 0.0015
    radius = np.sqrt(np.maximum(model.muscles["peak_force"].to_numpy(), 0.0) / (np.pi * _STRESS))
    m.tendon_width[tendons[tendons >= 0]] = np.clip(_THINNING * radius, 0.003, 0.009)[tendons >= 0]
    _merge_vertices(m, _CELL)
    return m


def _paint_background(m: mujoco.MjModel) -> None:
    """A plain sky, and a pale floor that fades into it."""
    m.vis.rgba.haze[:] = [*(np.array(_SKY) / 255), 1.0]
    for i in range(m.ntex):
        size = m.tex_width[i] * m.tex_height[i] * m.tex_nchannel[i]
        pixels = m.tex_data[m.tex_adr[i] : m.tex_adr[i] + size].reshape(-1, m.tex_nchannel[i])
        if m.tex_type[i] == mujoco.mjtTexture.mjTEXTURE_SKYBOX:
            pixels[:, :3] = _SKY
        elif m.tex_type[i] == mujoco.mjtTexture.mjTEXTURE_2D:
            bright = pixels[:, :3].mean(axis=1) > pixels[:, :3].mean()
            pixels[:, :3] = np.where(bright, _FLOOR_LIGHT, _FLOOR_DARK)[:, None]
    planes = m.geom_type == mujoco.mjtGeom.mjGEOM_PLANE
    m.geom_rgba[planes] = 1.0


def _merge_vertices(m: mujoco.MjModel, cell: float) -> None:
    """Snap the vertices of every mesh to a grid of `cell` m and drop the triangles that collapse.

    Only what is drawn changes: nothing but the renderer reads the faces of this copy.
    """
    for k in range(m.nmesh):
        first_vertex, first_face, faces = m.mesh_vertadr[k], m.mesh_faceadr[k], m.mesh_facenum[k]
        vertices = m.mesh_vert[first_vertex : first_vertex + m.mesh_vertnum[k]]
        grid = np.round(vertices / cell).astype(np.int64)
        _, keeper, group = np.unique(grid, axis=0, return_index=True, return_inverse=True)
        rows = slice(first_face, first_face + faces)
        merged = keeper[group.ravel()][m.mesh_face[rows]]
        a, b, c = merged.T
        kept = (a != b) & (b != c) & (c != a)
        count = int(kept.sum())
        if count == 0:  # smaller than the grid: leave it
            continue
        m.mesh_face[first_face : first_face + count] = merged[kept]
        for per_face in (m.mesh_facenormal, m.mesh_facetexcoord):
            per_face[first_face : first_face + count] = per_face[rows][kept]
        m.mesh_facenum[k] = count
