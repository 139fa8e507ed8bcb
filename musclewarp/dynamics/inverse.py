"""Inverse dynamics over the independent coordinates: the moments that a movement without contacts needs."""

from __future__ import annotations

from typing import NamedTuple

import mujoco
import numpy as np
import torch
from numpy.typing import NDArray

from musclewarp.models import MuscleModel

Floats = NDArray[np.float64]


class InverseDynamics(NamedTuple):
    """Of T frames and J independent coordinates; Nm for hinges, N for slides.

    `moments (T, J)` that muscles must produce; `mass (T, J, J)` and viscous `damping (T, J)`, the derivatives of the
    moments with respect to acceleration and (but for Coriolis forces) velocity.
    """

    moments: Floats
    mass: Floats
    damping: Floats


def accelerations(qpos: Floats, dt: float) -> Floats:
    """Accelerations `(T, nv)` of postures `(T, nq)`, `dt` s apart, of a model with a fixed root.

    The compact second difference (q_{t+1} - 2 q_t + q_{t-1}) / dt^2; the ends repeat their neighbours', and fewer than
    three postures do not accelerate.
    """
    if len(qpos) < 3:
        return np.zeros_like(qpos)
    return np.pad(np.diff(qpos, n=2, axis=0) / dt**2, ((1, 1), (0, 0)), mode="edge")


def inverse_dynamics(model: MuscleModel, qpos: Floats, qvel: Floats, qacc: Floats) -> InverseDynamics:
    """Moments of inertia, gravity, damping and springs, without muscles, contacts, limits and couplings' forces.

    Args:
        model: of a free root, the six coordinates come first and hold what the ground would have to do.
        qpos: postures `(T, nq)` on the couplings.
        qvel: velocities `(T, nv)`.
        qacc: accelerations `(T, nv)`.
    """
    m, frames = model.mj_model, len(qpos)
    data = mujoco.MjData(m)
    mass, force = np.empty((frames, m.nv, m.nv)), np.empty((frames, 1, m.nv))
    for t in range(frames):
        data.qpos[:], data.qvel[:] = qpos[t], qvel[t]
        mujoco.mj_kinematics(m, data)
        mujoco.mj_comPos(m, data)
        mujoco.mj_makeM(m, data)
        mujoco.mj_comVel(m, data)
        mujoco.mj_passive(m, data)
        mujoco.mj_rne(m, data, 0, data.qfrc_bias)
        mujoco.mj_fullM(m, data, mass[t])
        force[t] = mass[t] @ qacc[t] + data.qfrc_bias - data.qfrc_passive
    posture = torch.from_numpy(qpos)

    def reduce(rows: Floats) -> Floats:
        return model.couplings.reduce_columns(posture, torch.from_numpy(rows)).numpy()

    half = reduce(mass)
    root = np.tile(np.diag(np.sqrt(m.dof_damping)), (frames, 1, 1))
    return InverseDynamics(
        moments=reduce(force)[:, 0],
        mass=reduce(half.transpose(0, 2, 1)),
        damping=(reduce(root) ** 2).sum(1),
    )
