"""How good a reference is, as far as itself and its model can tell; `retarget.quality` compares it to the recording."""

from __future__ import annotations

import mujoco
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.interpolate import make_interp_spline

from musclewarp.models import MuscleModel
from musclewarp.models.surfaces import floor_geoms, foot_geoms, geom_heights
from musclewarp.references.muscle_paths import muscle_paths
from musclewarp.references.reference import Reference

Floats = NDArray[np.float64]
SMOOTHNESS_RATE = 30.0  # Hz, at which accelerations and jerks are taken, so that they compare across control rates
LIMIT_TOLERANCE, COUPLED_TOLERANCE = 1e-5, 1e-3  # rad or m
PENETRATION_TOLERANCE = 1e-3  # m


def reference_quality(model: MuscleModel, reference: Reference) -> dict[str, float]:
    """Quality numbers of one reference; the definitions are those that GMR-Fit's figures were published with.

    - `target_rmse_m`: root mean square distance, over frames and sites, between the sites and their targets;
    - `coupling_residual_max`: largest violation of a coupling in rad or m; `coupling_velocity_residual_max`, per s;
    - `joint_limit_violation_fraction`: share of (frame, hinge or slide) pairs more than 1e-5 outside the joint's range;
      1e-3 where the joint is coupled, for the models' own polynomials leave the ranges by up to 2.5e-4;
    - `penetration_fraction`, `penetration_max_m` (models with feet): share of frames with any part of the body more
      than 1 mm below the floor, and the largest depth;
    - `joint_acceleration_rms_rad_s2`, `joint_jerk_rms_rad_s3`: over the independent joints, at 30 Hz;
    - `peak_joint_speed_rad_s`, `peak_site_speed_m_s`;
    - what `MusclePaths.figures` says of muscles and tendons.
    """
    qpos, qvel = torch.from_numpy(reference.qpos), torch.from_numpy(reference.qvel)
    residual = qvel - model.couplings.project_qvel(qpos, qvel)
    outside = limit_violation(model, reference.qpos) > limit_tolerance(model)
    speed = np.linalg.norm(np.diff(reference.site_positions, axis=0), axis=-1) / reference.dt
    joints = reference.qpos[:, model.joint_qpos]
    quality = {
        "target_rmse_m": rms(np.linalg.norm(reference.site_positions - reference.target_positions, axis=-1)),
        "coupling_residual_max": float(model.couplings.residual(qpos).abs().max()),
        "coupling_velocity_residual_max": float(residual.abs().max()),
        "joint_limit_violation_fraction": float(outside[:, _scalar(model.mj_model)].mean()),
        "joint_acceleration_rms_rad_s2": rms(derivative(joints, reference.dt, 2)),
        "joint_jerk_rms_rad_s3": rms(derivative(joints, reference.dt, 3)),
        "peak_joint_speed_rad_s": float(np.abs(reference.qvel[:, model.joint_dofs]).max()),
        "peak_site_speed_m_s": float(speed.max()),
    }
    if model.feet:
        depth = -geom_heights(model, reference.qpos, floor_geoms(model)).min(axis=1)
        quality["penetration_fraction"] = float((depth > PENETRATION_TOLERANCE).mean())
        quality["penetration_max_m"] = float(max(0.0, depth.max()))
    return quality | muscle_paths(model, reference.qpos).figures()


def joint_quality(model: MuscleModel, reference: Reference) -> pd.DataFrame:
    """One row per hinge and slide joint: its part in the numbers of `reference_quality`.

    Columns: `limit_violation_fraction` of frames, `limit_violation_max` (rad or m), `acceleration_rms` and `jerk_rms`
    (per s² and s³, at 30 Hz).
    """
    m = model.mj_model
    joints = np.flatnonzero(_scalar(m))
    outside = limit_violation(model, reference.qpos)[:, joints]
    angles = reference.qpos[:, m.jnt_qposadr[joints]]
    return pd.DataFrame(
        {
            "limit_violation_fraction": (outside > limit_tolerance(model)[joints]).mean(axis=0),
            "limit_violation_max": outside.max(axis=0),
            "acceleration_rms": np.sqrt((derivative(angles, reference.dt, 2) ** 2).mean(axis=0)),
            "jerk_rms": np.sqrt((derivative(angles, reference.dt, 3) ** 2).mean(axis=0)),
        },
        index=pd.Index([m.joint(int(joint)).name for joint in joints], name="joint"),
    )


def derivative(values: Floats, dt: float, order: int) -> Floats:
    """Differences of `order` along time of `values (T, ...)` at 30 Hz, divided by their interval to that power.

    Samples `dt` s apart become samples at 30 Hz by a cubic spline through them (without a filter, which would hide
    jitter). Fewer than `order` + 1 of these give a single zero.
    """
    duration = (len(values) - 1) * dt
    count = int(np.floor(duration * SMOOTHNESS_RATE + 1e-6)) + 1
    if count <= order or len(values) <= 3:
        return np.zeros((1, *values.shape[1:]))
    at_rate = resample_spline(values, dt, np.arange(count) / SMOOTHNESS_RATE)
    return np.diff(at_rate, n=order, axis=0) * SMOOTHNESS_RATE**order


def resample_spline(values: Floats, dt: float, times: NDArray[np.floating]) -> Floats:
    """`values (T, ...)`, sampled every `dt` s from 0, at `times`, by a spline through them (cubic, if T allows)."""
    knots = np.arange(len(values)) * dt
    return make_interp_spline(knots, values, k=min(3, len(values) - 1))(np.clip(times, 0.0, knots[-1]))


def rms(values: Floats) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(np.square(values))))


def limit_violation(model: MuscleModel, qpos: Floats) -> Floats:
    """How far `qpos (T, nq)` is outside each joint's range `(T, njnt)`, zero inside, in rad or m."""
    m = model.mj_model
    value = qpos[:, m.jnt_qposadr]
    limited = (m.jnt_limited != 0) & _scalar(m)
    return limited * np.maximum(0.0, np.maximum(m.jnt_range[:, 0] - value, value - m.jnt_range[:, 1]))


def limit_tolerance(model: MuscleModel) -> Floats:
    """Beyond which a joint's range counts as left `(njnt,)`, rad or m."""
    coupled = model.mj_model.dof_jntid[model.couplings.dependent]
    tolerance = np.full(model.mj_model.njnt, LIMIT_TOLERANCE)
    tolerance[coupled] = COUPLED_TOLERANCE
    return tolerance


def _scalar(m: mujoco.MjModel) -> NDArray[np.bool_]:
    return m.jnt_type != mujoco.mjtJoint.mjJNT_FREE


def lowest_foot_heights(model: MuscleModel, qpos: Floats, foot: str | None = None) -> Floats:
    """Height `(T,)` in m of the lowest point of both feet, or of one ("right", "left"), at `qpos (T, nq)`."""
    return geom_heights(model, qpos, foot_geoms(model, foot)).min(axis=1)
