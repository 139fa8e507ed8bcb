"""A reference as a row of pictures: the model's body, and the recording's joints that it was fitted to as dots."""

from __future__ import annotations

import mujoco
import numpy as np
from numpy.typing import NDArray

from musclewarp.errors import ConfigError, MusclewarpError
from musclewarp.models import MuscleModel
from musclewarp.references.reference import Reference
from musclewarp.viz.appearance import RELAXED, drawn_copy, muscle_tendons
from musclewarp.viz.headless import gl_hint

Image = NDArray[np.uint8]
_ELEVATION = -8.0  # degrees
_REACH = 0.25  # m beyond the tracking sites, for hands, feet and skull
_DOT, _DOT_RADIUS = (0.0, 0.55, 0.55, 1.0), 0.022


def filmstrip(
    model: MuscleModel, reference: Reference, pictures: int = 8, width: int = 200, height: int = 240
) -> Image:
    """Evenly spaced frames side by side `(height, pictures * width, 3)`, seen across the way that the root travels.

    Raises:
        ConfigError: a size or the number of pictures is less than one.
        FileError: the reference is not of this model.
        MusclewarpError: nothing can be rendered here; says what to install.
    """
    if min(pictures, width, height) < 1:
        raise ConfigError(f"a filmstrip of {pictures} pictures of {width} x {height} pixels; give at least 1 of each")
    reference.check_model(model)
    drawn = drawn_copy(model, width, height)
    tendons = muscle_tendons(drawn)
    drawn.tendon_rgba[tendons[tendons >= 0]] = [*RELAXED, 1.0]
    try:
        renderer = mujoco.Renderer(drawn, height, width, max_geom=10_000)
    except Exception as error:  # every backend has its own way to say that it is not there
        raise MusclewarpError(f"cannot render pictures here ({error}): {gl_hint()}") from error
    frames = np.linspace(0, reference.num_frames - 1, pictures).round().astype(int)
    with renderer:
        for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
            renderer.scene.flags[flag] = False
        options, data = mujoco.MjvOption(), mujoco.MjData(drawn)
        options.geomgroup[:] = [1, 1, bool(model.feet), 0, 0, 0]
        options.sitegroup[:] = 0
        camera, targets = _camera(reference, width / height, drawn.vis.global_.fovy)
        row = []
        for frame in frames:
            data.qpos[:] = reference.qpos[frame]
            mujoco.mj_fwdPosition(drawn, data)
            camera.lookat[:] = targets[frame]
            renderer.update_scene(data, camera, options)
            _add_dots(renderer.scene, reference.target_positions[frame])
            row.append(renderer.render())
    return np.concatenate(row, axis=1)


def _camera(reference: Reference, aspect: float, fovy: float) -> tuple[mujoco.MjvCamera, NDArray[np.float64]]:
    """A camera far enough to see all of the body in every frame, and what it looks at in each `(T, 3)`.

    That is the middle of the body along the way it travels, at half the height that it reaches.
    """
    sites, root = reference.site_positions, reference.site_positions[:, 0]
    travel = np.linalg.svd((root - root.mean(axis=0))[:, :2], full_matrices=False)[2][0]
    camera = mujoco.MjvCamera()
    camera.azimuth, camera.elevation = np.rad2deg(np.arctan2(travel[1], travel[0])) + 90.0, _ELEVATION
    along = sites[..., :2] @ travel
    left, right = along.min(axis=1), along.max(axis=1)
    bottom, top = min(0.0, float(sites[..., 2].min())), float(sites[..., 2].max())
    targets = np.empty_like(root)
    targets[:, :2] = root[:, :2] + ((left + right) / 2 - along[:, 0])[:, None] * travel
    targets[:, 2] = (bottom + top) / 2
    half = max((top - bottom) / 2 + _REACH, ((right - left).max() / 2 + _REACH) / aspect)
    camera.distance = half / np.tan(np.deg2rad(fovy) / 2)
    return camera, targets


def _add_dots(scene: mujoco.MjvScene, points: NDArray[np.float64]) -> None:
    for point in points:
        mujoco.mjv_initGeom(
            scene.geoms[scene.ngeom],
            mujoco.mjtGeom.mjGEOM_SPHERE,
            np.full(3, _DOT_RADIUS),
            point,
            np.eye(3).ravel(),
            np.array(_DOT, dtype=np.float32),
        )
        scene.ngeom += 1
