"""The muscle table: what each actuator of a model is, in anatomical terms."""

from __future__ import annotations

import mujoco
import numpy as np
import pandas as pd
import torch

from musclewarp.errors import ModelError
from musclewarp.models.couplings import Couplings

_JOINT_GROUPS = (  # the start of a joint's name -> the group of the muscles that act on it most
    (("flex_extension", "lat_bending", "axial_rotation", "Abs", "L1", "L2", "L3", "L4", "L5", "T12"), "trunk"),
    (("T1_head_neck",), "neck"),
    (("elv_angle", "shoulder", "sterno", "acromio", "unrot"), "shoulder"),
    (("elbow",), "elbow"),
    (("pro_sup", "deviation", "flexion"), "wrist"),
    (("cmc", "mp_", "ip_", "mcp", "pm", "md"), "fingers"),
    (("hip",), "hip"),
    (("knee",), "knee"),
    (("ankle", "subtalar", "mtp"), "ankle"),
)


def muscle_table(model: mujoco.MjModel, couplings: Couplings) -> pd.DataFrame:
    """One row per muscle, in actuator order, indexed by name.

    Columns: `side` ("right", "left"), `group` (the joint it has the largest moment arm at in the default posture),
    `peak_force` (N), `optimal_fibre_length` and `tendon_slack_length` (m, implied by the length range),
    `time_activation` and `time_deactivation` (s), `max_velocity` (optimal fibre lengths per second).

    MuJoCo's muscle has a rigid tendon: the normalised fibre length is L = (l - LT) / L0 for a muscle-tendon length
    l, and `range` [r0, r1] is where L lies at the ends of `lengthrange` [l0, l1]. Hence L0 = (l1 - l0) / (r1 - r0),
    LT = l0 - r0 L0 (MuJoCo, modeling chapter, "Muscles"). Some trunk muscles of MyoFullBody imply impossible
    values (a negative LT): they are reported as they are.
    """
    names = [model.actuator(i).name for i in range(model.nu)]
    length_range, normalised = model.actuator_lengthrange, model.actuator_gainprm[:, :2]
    optimal = np.ptp(length_range, axis=1) / np.ptp(normalised, axis=1)
    return pd.DataFrame(
        {
            "side": ["left" if name.lower().endswith(("_l", "_left")) else "right" for name in names],
            "group": _groups(model, couplings),
            "peak_force": model.actuator_gainprm[:, 2],
            "optimal_fibre_length": optimal,
            "tendon_slack_length": length_range[:, 0] - normalised[:, 0] * optimal,
            "time_activation": model.actuator_dynprm[:, 0],
            "time_deactivation": model.actuator_dynprm[:, 1],
            "max_velocity": model.actuator_gainprm[:, 6],
        },
        index=pd.Index(names, name="muscle"),
    )


def require_length_ranges(model: mujoco.MjModel) -> None:
    """Refuse a muscle whose fibre length nothing normalises: it and every observation of it would be infinite.

    Raises:
        ModelError: a muscle's `lengthrange` or `range` is empty.
    """
    length_range, normalised = model.actuator_lengthrange, model.actuator_gainprm[:, :2]
    for muscle in np.flatnonzero((np.diff(length_range)[:, 0] <= 0) | (np.diff(normalised)[:, 0] <= 0)):
        raise ModelError(
            f"muscle '{model.actuator(int(muscle)).name}' has lengthrange {length_range[muscle]} m for range "
            f"{normalised[muscle]}; both must ascend: let MuJoCo compute the lengthrange, or give the muscle one"
        )


def moment_arms(model: mujoco.MjModel, couplings: Couplings, qpos: np.ndarray) -> np.ndarray:
    """dl/dq over the independent dofs `(nu, n_independent)` in m (or m/m) at `qpos (nq,)`.

    A positive entry: the muscle lengthens with the joint, so its pull (a negative force) turns the joint back.
    """
    data = mujoco.MjData(model)
    data.qpos[:] = qpos
    mujoco.mj_fwdPosition(model, data)
    dense = np.zeros((model.nu, model.nv))
    mujoco.mju_sparse2dense(dense, data.actuator_moment, data.moment_rownnz, data.moment_rowadr, data.moment_colind)
    return couplings.reduce_columns(torch.as_tensor(np.asarray(qpos, float)), torch.as_tensor(dense)).numpy()


def joint_group(joint: str) -> str:
    """The group ("shoulder", "knee", ...) that a joint's name belongs to; "other" if none."""
    return next((group for starts, group in _JOINT_GROUPS if joint.startswith(starts)), "other")


def _groups(model: mujoco.MjModel, couplings: Couplings) -> list[str]:
    arms = np.abs(moment_arms(model, couplings, model.qpos0))
    joints = [model.joint(model.dof_jntid[dof]) for dof in couplings.independent]
    free = np.array([joint.type[0] == mujoco.mjtJoint.mjJNT_FREE for joint in joints])
    arms[:, free] = 0.0
    return [joint_group(joints[k].name) for k in arms.argmax(axis=1)]
