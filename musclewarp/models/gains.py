"""How stiffly a person's joints are held: gains of a proportional-derivative law, for each independent joint."""

from __future__ import annotations

import mujoco
import numpy as np
import torch

from musclewarp.models.model import MuscleModel

_FREQUENCY, _DAMPING_RATIO = 12.0, 0.7  # rad/s, of joints that the model's table does not name


def joint_gains(model: MuscleModel) -> tuple[np.ndarray, np.ndarray]:
    """Stiffness `(J,)` in Nm/rad and damping `(J,)` in Nm s/rad of the model's `joint_dofs`.

    They are those of `Layout.gains`, by the beginning of the joint's name, the longest that fits. Any other joint
    swings what hangs on it, in the default posture, at 12 rad/s with a damping ratio of 0.7: k = w^2 I, d = 2 z w I.
    """
    inertia = _inertia(model)
    stiffness, damping = _FREQUENCY**2 * inertia, 2 * _DAMPING_RATIO * _FREQUENCY * inertia
    for row, dof in enumerate(model.joint_dofs):
        fitting = [start for start in model.layout.gains if model.dof_names[dof].startswith(start)]
        if fitting:
            stiffness[row], damping[row] = model.layout.gains[max(fitting, key=len)]
    return stiffness, damping


def _inertia(model: MuscleModel) -> np.ndarray:
    """Of what each of the `joint_dofs` moves, couplings followed, in kg m^2 `(J,)`."""
    m, couplings = model.mj_model, model.couplings
    data = mujoco.MjData(m)
    qpos = couplings.project_qpos(torch.from_numpy(m.qpos0.copy()))
    data.qpos[:] = qpos
    mujoco.mj_kinematics(m, data)
    mujoco.mj_comPos(m, data)
    mujoco.mj_makeM(m, data)
    mass = np.zeros((m.nv, m.nv))
    mujoco.mj_fullM(m, data, mass)
    half = couplings.reduce_columns(qpos, torch.from_numpy(mass))
    whole = couplings.reduce_columns(qpos, half.mT.contiguous()).diagonal().numpy()
    return whole[np.isin(couplings.independent, model.joint_dofs)]
