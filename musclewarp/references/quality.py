"""How good a reference is, in numbers that stand beside it."""

from __future__ import annotations

import mujoco
import numpy as np
import torch
from numpy.typing import NDArray

from musclewarp.models import MuscleModel
from musclewarp.models.model import lowest_foot_point
from musclewarp.references.reference import Reference

Floats = NDArray[np.float64]


def reference_quality(model: MuscleModel, reference: Reference) -> dict[str, float]:
    """Quality numbers of one reference, to which retargeting adds its own (`retarget`).

    - `target_error_m`: mean distance between the sites at `qpos` and the recording's scaled joints, relative to root;
    - `coupling_residual_rad`, `coupling_velocity_residual_rad_s`: largest violation of the couplings;
    - `limit_violation_percent`: share of (frame, joint) pairs more than 1e-3 outside the joint's range;
    - `peak_joint_speed_rad_s`, `peak_site_speed_m_s`;
    - `penetration_m`, `floating_m` (models with feet): deepest foot below, highest lowest-foot above the floor.
    """
    qpos, qvel = torch.from_numpy(reference.qpos), torch.from_numpy(reference.qvel)
    relative = reference.site_positions - reference.site_positions[:, :1]
    goal = reference.target_positions - reference.target_positions[:, :1]
    outside = limit_violation(model, reference.qpos)
    speed = np.linalg.norm(np.diff(reference.site_positions, axis=0), axis=-1) / reference.dt
    residual = qvel - model.couplings.project_qvel(qpos, qvel)
    quality = {
        "target_error_m": float(np.linalg.norm(relative - goal, axis=-1)[:, 1:].mean()),
        "coupling_residual_rad": float(model.couplings.residual(qpos).abs().max()),
        "coupling_velocity_residual_rad_s": float(residual.abs().max()),
        "limit_violation_percent": float(100.0 * (outside > 1e-3).mean()),
        "peak_joint_speed_rad_s": float(np.abs(reference.qvel[:, model.joint_dofs]).max()),
        "peak_site_speed_m_s": float(speed.max()),
    }
    if model.feet:
        height = lowest_foot_heights(model, reference.qpos)
        quality["penetration_m"] = float(max(0.0, -height.min()))
        quality["floating_m"] = float(max(0.0, height.max()))
    return quality


def limit_violation(model: MuscleModel, qpos: Floats) -> Floats:
    """How far `qpos (T, nq)` is outside each joint's range `(T, njnt)`, zero inside, in rad or m."""
    m = model.mj_model
    value = qpos[:, m.jnt_qposadr]
    limited = (m.jnt_limited != 0) & (m.jnt_type != mujoco.mjtJoint.mjJNT_FREE)
    return limited * np.maximum(0.0, np.maximum(m.jnt_range[:, 0] - value, value - m.jnt_range[:, 1]))


def lowest_foot_heights(model: MuscleModel, qpos: Floats) -> Floats:
    """Height `(T,)` in m of the lowest point of the feet at `qpos (T, nq)`."""
    data = mujoco.MjData(model.mj_model)
    heights = np.empty(len(qpos))
    for t, posture in enumerate(qpos):
        data.qpos[:] = posture
        mujoco.mj_kinematics(model.mj_model, data)
        heights[t] = lowest_foot_point(model, data)
    return heights
