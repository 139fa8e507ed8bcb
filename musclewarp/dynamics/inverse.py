"""Inverse dynamics over the independent coordinates: the moments that a movement needs.

The net moment of a joint is what everything that crosses it does together: muscles, ligaments (joint damping and
stiffness), bones at the ends of its range. MuJoCo's inverse dynamics, without contacts, limits and couplings:

    net = M qacc + bias(q, qvel) - J' (external forces)

Coupled coordinates are folded on their drivers by the chain rule.
"""

from __future__ import annotations

from typing import NamedTuple

import mujoco
import numpy as np
import scipy.signal
import torch
from numpy.typing import NDArray

from musclewarp.dynamics.external import add_external, body_ids
from musclewarp.dynamics.trajectory import Trajectory
from musclewarp.models import MuscleModel

Floats = NDArray[np.float64]


class InverseDynamics(NamedTuple):
    """Of T frames and J independent coordinates; Nm for hinges, N for slides.

    `net (T, J)` moments, and `passive (T, J)`, the part that joint damping and stiffness take over. The first six
    coordinates of a free root have no muscles: their net moments are the residuals, what the external forces leave
    unexplained.
    """

    net: Floats
    passive: Floats

    @property
    def moments(self) -> Floats:
        """What muscles must produce `(T, J)`."""
        return self.net - self.passive


class Inertia(NamedTuple):
    """`mass (T, J, J)` and viscous `damping (T, J)` over the independent coordinates.

    The derivatives of the moments with respect to acceleration and (but for Coriolis forces) velocity.
    """

    mass: Floats
    damping: Floats


def accelerations(qpos: Floats, dt: float, model: MuscleModel | None = None, cutoff_hz: float = np.inf) -> Floats:
    """Accelerations `(T, nv)` of postures `(T, nq)`, `dt` s apart, of `model` if it has a free root.

    The compact second difference (q_{t+1} - 2 q_t + q_{t-1}) / dt^2; the ends repeat their neighbours', and fewer than
    three postures do not accelerate. A free root turns by rotation vectors, which are the same in both frames that they
    lead between. Second differences are mostly noise at high frequencies: a `cutoff_hz` below the Nyquist limit is that
    (-6 dB) of a zero-phase Butterworth low-pass of second order, there and back.
    """
    if model is None:
        steps = np.diff(qpos, axis=0)
    else:
        steps = np.zeros((max(len(qpos) - 1, 0), model.mj_model.nv))
        for t, step in enumerate(steps):
            mujoco.mj_differentiatePos(model.mj_model, step, 1.0, qpos[t], qpos[t + 1])
    if len(steps) < 2:
        return np.zeros((len(qpos), steps.shape[1]))
    qacc = np.pad(np.diff(steps, axis=0) / dt**2, ((1, 1), (0, 0)), mode="edge")
    if cutoff_hz >= 0.5 / dt:
        return qacc
    sections = scipy.signal.butter(2, cutoff_hz, fs=1 / dt, output="sos")
    return scipy.signal.sosfiltfilt(sections, qacc, axis=0, padlen=min(round(1 / (cutoff_hz * dt)), len(qacc) - 1))


def inverse_dynamics(model: MuscleModel, trajectory: Trajectory) -> InverseDynamics:
    """Net and passive moments of a movement; muscles, contacts, limits and couplings' forces count as unknown.

    Of a free root, the six coordinates come first.

    Raises:
        ModelError: an external force acts on a body that the model does not have.
    """
    m, frames = model.mj_model, len(trajectory)
    qpos, qacc, external = trajectory.qpos, trajectory.qacc, trajectory.external
    ids = [] if external is None else body_ids(model, external.bodies)
    data = mujoco.MjData(m)
    forces = np.zeros((frames, 2, m.nv))
    outside = np.zeros(m.nv)
    for t in range(frames):
        data.qpos[:], data.qvel[:], data.qacc[:] = qpos[t], trajectory.qvel[t], qacc[t]
        mujoco.mj_kinematics(m, data)
        mujoco.mj_comPos(m, data)
        mujoco.mj_comVel(m, data)
        mujoco.mj_passive(m, data)
        mujoco.mj_rne(m, data, 1, forces[t, 0])
        forces[t, 0] += m.dof_armature * qacc[t]
        forces[t, 1] = data.qfrc_passive
        if external is not None:
            outside[:] = 0.0
            add_external(model, data, ids, external, t, outside)
            forces[t, 0] -= outside
    net, passive = reduce_rows(model, qpos, forces).transpose(1, 0, 2)
    return InverseDynamics(net, passive)


def inertia(model: MuscleModel, qpos: Floats) -> Inertia:
    """Mass matrices and damping at postures `(T, nq)`."""
    m, frames = model.mj_model, len(qpos)
    data = mujoco.MjData(m)
    mass = np.empty((frames, m.nv, m.nv))
    for t in range(frames):
        data.qpos[:] = qpos[t]
        mujoco.mj_kinematics(m, data)
        mujoco.mj_comPos(m, data)
        mujoco.mj_makeM(m, data)
        mujoco.mj_fullM(m, data, mass[t])
    half = reduce_rows(model, qpos, mass)
    root = np.broadcast_to(np.diag(np.sqrt(m.dof_damping)), mass.shape)
    return Inertia(reduce_rows(model, qpos, half.transpose(0, 2, 1)), (reduce_rows(model, qpos, root) ** 2).sum(1))


def reduce_rows(model: MuscleModel, qpos: Floats, rows: Floats) -> Floats:
    """Rows over all dofs `(T, r, nv)` as rows over the independent ones `(T, r, J)` at `qpos (T, nq)`."""
    return model.couplings.reduce_columns(torch.from_numpy(qpos), torch.tensor(rows)).numpy()
