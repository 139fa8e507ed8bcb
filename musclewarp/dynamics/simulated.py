"""What produced the moments of a simulated movement: muscles, passive tissue, or the ends of the joints' ranges."""

from __future__ import annotations

from typing import NamedTuple

import mujoco
import numpy as np
from numpy.typing import NDArray

from musclewarp.dynamics.inverse import reduce_rows
from musclewarp.models import MuscleModel

Floats = NDArray[np.float64]
_LIMITS = (int(mujoco.mjtConstraint.mjCNSTR_LIMIT_JOINT), int(mujoco.mjtConstraint.mjCNSTR_LIMIT_TENDON))


class SimulatedMoments(NamedTuple):
    """Moments `(T, J)` over the independent coordinates, in Nm (N for slides).

    `muscle`: active and passive forces of the muscles; `passive`: joint damping and stiffness; `limit`: ends of ranges.
    """

    muscle: Floats
    passive: Floats
    limit: Floats

    @property
    def net(self) -> Floats:
        """What inverse dynamics would find from the movement and the contact forces."""
        return self.muscle + self.passive + self.limit


def simulated_moments(model: MuscleModel, qpos: Floats, qvel: Floats, act: Floats) -> SimulatedMoments:
    """The parts of the joint moments in simulated states; contacts and limits are solved again in each.

    Args:
        model: what was simulated.
        qpos: postures `(T, nq)`.
        qvel: velocities `(T, nv)`.
        act: activations `(T, M)`.
    """
    m = model.mj_model
    data = mujoco.MjData(m)
    forces = np.zeros((len(qpos), 3, m.nv))
    for t in range(len(qpos)):
        data.qpos[:], data.qvel[:], data.act[:] = qpos[t], qvel[t], act[t]
        mujoco.mj_forward(m, data)
        limits = np.where(np.isin(data.efc_type, _LIMITS), data.efc_force, 0.0)
        mujoco.mj_mulJacTVec(m, data, forces[t, 2], limits)
        forces[t, 0], forces[t, 1] = data.qfrc_actuator, data.qfrc_passive
    return SimulatedMoments(*reduce_rows(model, qpos, forces).transpose(1, 0, 2))
