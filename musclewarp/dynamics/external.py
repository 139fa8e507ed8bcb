"""Forces that the surroundings exert on the body, as force plates measure them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import mujoco
import numpy as np
from numpy.typing import NDArray

from musclewarp.errors import FileError, ModelError
from musclewarp.models import MuscleModel

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ExternalForces:
    """T frames of forces on B bodies.

    Attributes:
        bodies: names of the bodies `(B,)`, of feet the calcanei.
        force: `(T, B, 3)` N on the body, world frame.
        point: `(T, B, 3)` m, where it acts (of ground reactions the centre of pressure), in the body's frame, in which
            it stays the same point of the sole if the posture is corrected.
        torque: `(T, B, 3)` Nm about that point (the free moment), world frame.
    """

    bodies: tuple[str, ...]
    force: Floats
    point: Floats
    torque: Floats

    def __post_init__(self) -> None:
        shape = (len(self.force), len(self.bodies), 3)
        for name in ("force", "point", "torque"):
            value = getattr(self, name)
            if value.shape != shape:
                raise FileError(f"external forces: {name} has shape {value.shape}; {shape} is needed")
            bad = ~np.isfinite(value).all(axis=2)
            if bad.any():
                frame, body = np.argwhere(bad)[0]
                raise FileError(
                    f"external forces: {name} on '{self.bodies[body]}' is not finite in frame {frame}; give zeros "
                    "where nothing acts"
                )

    def __getitem__(self, frames: slice) -> ExternalForces:
        """Some of the frames."""
        return replace(self, force=self.force[frames], point=self.point[frames], torque=self.torque[frames])

    def scaled(self, factor: float) -> ExternalForces:
        """Forces and torques times `factor`: the model's mass over the person's."""
        return replace(self, force=factor * self.force, torque=factor * self.torque)


def external_forces(
    model: MuscleModel, qpos: Floats, bodies: Sequence[str], force: Floats, point: Floats, torque: Floats
) -> ExternalForces:
    """Forces whose `point (T, B, 3)` is in the world frame, for bodies that are where `qpos (T, nq)` puts them.

    Points of frames without force stay at the body's origin: a centre of pressure is undefined there.

    Raises:
        ModelError: the model has no body of a name.
        FileError: shapes do not fit together, or numbers are not finite.
    """
    m, local = model.mj_model, np.zeros_like(point)
    ids = body_ids(model, bodies)
    data = mujoco.MjData(m)
    for t, posture in enumerate(qpos):
        data.qpos[:] = posture
        mujoco.mj_kinematics(m, data)
        for b, body in enumerate(ids):
            if force[t, b].any():
                local[t, b] = data.xmat[body].reshape(3, 3).T @ (point[t, b] - data.xpos[body])
    return ExternalForces(tuple(bodies), force, local, torque)


def body_ids(model: MuscleModel, bodies: Sequence[str]) -> list[int]:
    """Ids of bodies by name.

    Raises:
        ModelError: the model has no body of a name.
    """
    ids = [mujoco.mj_name2id(model.mj_model, mujoco.mjtObj.mjOBJ_BODY, name) for name in bodies]
    for name, body in zip(bodies, ids):
        if body < 0:
            raise ModelError(f"model '{model.name}' has no body '{name}' for an external force to act on")
    return ids


def add_external(
    model: MuscleModel, data: mujoco.MjData, ids: list[int], forces: ExternalForces, t: int, qfrc: Floats
) -> None:
    """Add the generalised forces of frame `t` to `qfrc (nv,)`; `data` has the kinematics of that frame."""
    for b, body in enumerate(ids):
        point = data.xpos[body] + data.xmat[body].reshape(3, 3) @ forces.point[t, b]
        mujoco.mj_applyFT(model.mj_model, data, forces.force[t, b], forces.torque[t, b], point, body, qfrc)
