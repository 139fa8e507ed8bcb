"""The mirror of a model: what is right of the sagittal plane as what is left of it.

A reflection P through a plane with normal n takes a slide axis a to P a, and, since an angle about an axis is an axial
vector, a hinge axis a to -P a (Goldstein, Classical Mechanics, section 4.7). The partner's axis is parallel to it, or
opposite: that is the sign with which a coordinate goes over to the other side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import mujoco
import numpy as np

_OTHER = {"r": "l", "l": "r", "R": "L", "L": "R", "right": "left", "left": "right"}


def mirror_name(name: str, names: frozenset[str]) -> str | None:
    """What `name` is called on the other side: itself on the midline, None if its partner is not among `names`.

    The side is a part between underscores ("femur_r", "l_pelvis", "DELT1_left"); a right one may go without a side
    ("DELT1").
    """
    parts = name.split("_")
    if not any(part in _OTHER for part in parts):
        return next((other for other in (f"{name}_left", f"{name}_l", f"{name}_L") if other in names), name)
    swapped = "_".join(_OTHER.get(part, part) for part in parts)
    bare = "_".join(part for part in parts if part not in _OTHER)
    return next((other for other in (swapped, bare) if other in names and other != name), None)


def _partners(names: Sequence[str]) -> np.ndarray:
    index = {name: i for i, name in enumerate(names)}
    known = frozenset(names)
    others = [mirror_name(name, known) for name in names]
    return np.array([-1 if other is None else index[other] for other in others], dtype=int)


@dataclass(frozen=True)
class Mirror:
    """Partners and signs; an index is its own partner on the midline, and -1 where its partner is missing.

    `muscle (nu,)`, `body (nbody,)` and `joint (njnt,)` are indices. `joint_sign (njnt,)` is +1 or -1: a person with
    the coordinate q at a joint has, seen in the mirror, sign q at its partner (both from qpos0). It is 0 where there is
    no partner, where the axes are no mirror images, and for ball and free joints, which are not mirrored.
    """

    muscle: np.ndarray
    body: np.ndarray
    joint: np.ndarray
    joint_sign: np.ndarray

    @classmethod
    def from_model(cls, model: mujoco.MjModel) -> Mirror | None:
        """The mirror of `model`; None if no two bodies are partners on different sides.

        The plane's normal is the main direction between partner bodies at qpos0.
        """
        muscle = _partners([model.actuator(i).name for i in range(model.nu)])
        body = _partners([model.body(i).name for i in range(model.nbody)])
        joint = _partners([model.joint(i).name for i in range(model.njnt)])
        data = mujoco.MjData(model)
        mujoco.mj_kinematics(model, data)
        across = (data.xpos - data.xpos[body])[body >= 0]
        if not np.linalg.norm(across) > 1e-3:
            return None
        normal = np.linalg.svd(across, full_matrices=False)[2][0]
        axis = data.xaxis - 2 * (data.xaxis @ normal)[:, None] * normal
        axis[model.jnt_type == mujoco.mjtJoint.mjJNT_HINGE] *= -1
        along = (axis * data.xaxis[joint]).sum(axis=1)
        scalar = np.isin(model.jnt_type, (mujoco.mjtJoint.mjJNT_HINGE, mujoco.mjtJoint.mjJNT_SLIDE))
        sign = np.where(scalar & (joint >= 0) & (np.abs(along) > 0.999), np.sign(along), 0.0)
        return cls(muscle, body, joint, sign)

    def posture(self, model: mujoco.MjModel, qpos: np.ndarray) -> np.ndarray:
        """The mirror image `(nq,)` of the posture `qpos (nq,)`; joints of sign 0 stay at qpos0."""
        mirrored = model.qpos0.copy()
        moved = np.flatnonzero(self.joint_sign)
        source, target = model.jnt_qposadr[moved], model.jnt_qposadr[self.joint[moved]]
        mirrored[target] += self.joint_sign[moved] * (qpos[source] - model.qpos0[source])
        return mirrored
