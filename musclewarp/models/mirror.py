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
import torch

from musclewarp.models.rotation import inverse, multiply, rotate

_FREE = mujoco.mjtJoint.mjJNT_FREE
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


def partners(names: Sequence[str]) -> np.ndarray:
    """Index of each name's partner: its own on the midline, -1 where the partner is missing."""
    index = {name: i for i, name in enumerate(names)}
    known = frozenset(names)
    others = [mirror_name(name, known) for name in names]
    return np.array([-1 if other is None else index[other] for other in others], dtype=int)


@dataclass(frozen=True)
class Mirror:
    """Partners and signs; an index is its own partner on the midline, and -1 where its partner is missing.

    `muscle (nu,)`, `body (nbody,)` and `joint (njnt,)` are indices. `joint_sign (njnt,)` is +1 or -1: a person with
    the coordinate q at a joint has, seen in the mirror, sign q at its partner (both from qpos0). It is 0 where there is
    no partner, where the axes are no mirror images, and for ball joints, which are not mirrored, and free ones, which
    `qpos` and `qvel` mirror as a whole. `normal (3,)` is that of the sagittal plane at qpos0, which is `offset` m from
    the origin.
    """

    muscle: np.ndarray
    body: np.ndarray
    joint: np.ndarray
    joint_sign: np.ndarray
    normal: np.ndarray
    offset: float

    @classmethod
    def from_model(cls, model: mujoco.MjModel) -> Mirror | None:
        """The mirror of `model`; None if no two bodies are partners on different sides.

        The plane's normal is the main direction between partner bodies at qpos0, or the coordinate axis that it is
        nearly along: published models are symmetric to a few digits only.
        """
        muscle = partners([model.actuator(i).name for i in range(model.nu)])
        body = partners([model.body(i).name for i in range(model.nbody)])
        joint = partners([model.joint(i).name for i in range(model.njnt)])
        data = mujoco.MjData(model)
        mujoco.mj_kinematics(model, data)
        across = (data.xpos - data.xpos[body])[body >= 0]
        if not np.linalg.norm(across) > 1e-3:
            return None
        normal = np.linalg.svd(across, full_matrices=False)[2][0]
        nearest = np.eye(3)[np.abs(normal).argmax()]
        normal = nearest if abs(normal @ nearest) > 0.9999 else normal
        offset = float(np.median((data.xpos + data.xpos[body])[body >= 0] @ normal / 2))
        axis = data.xaxis - 2 * (data.xaxis @ normal)[:, None] * normal
        axis[model.jnt_type == mujoco.mjtJoint.mjJNT_HINGE] *= -1
        along = (axis * data.xaxis[joint]).sum(axis=1)
        scalar = np.isin(model.jnt_type, (mujoco.mjtJoint.mjJNT_HINGE, mujoco.mjtJoint.mjJNT_SLIDE))
        sign = np.where(scalar & (joint >= 0) & (np.abs(along) > 0.999), np.sign(along), 0.0)
        return cls(muscle, body, joint, sign, normal, offset)

    def qpos(self, model: mujoco.MjModel, qpos: torch.Tensor) -> torch.Tensor:
        """Mirror images `(..., nq)` of the postures `qpos (..., nq)`; joints of sign 0 stay at qpos0.

        A free root is seen in a mirror through the origin, parallel to the sagittal plane at qpos0.
        """
        rest = torch.from_numpy(model.qpos0)
        mirrored = rest.expand_as(qpos).clone()
        moved = np.flatnonzero(self.joint_sign)
        source, target = model.jnt_qposadr[moved], model.jnt_qposadr[self.joint[moved]]
        sign = torch.from_numpy(self.joint_sign[moved])
        mirrored[..., target] += sign * (qpos[..., source] - rest[source])
        for root in self._free(model):
            place, turn = qpos[..., root : root + 3], qpos[..., root + 3 : root + 7]
            stands = rest[root + 3 : root + 7]
            since = multiply(turn, inverse(stands))
            turned = multiply(torch.cat((since[..., :1], -self._reflect(since[..., 1:])), dim=-1), stands)
            across = rotate(turned, self._lateral(model, root).expand_as(place))
            mirrored[..., root : root + 3] = self._reflect(place) - 2 * self._aside(model, root) * across
            mirrored[..., root + 3 : root + 7] = turned
        return mirrored

    def qvel(self, model: mujoco.MjModel, qpos: torch.Tensor, qvel: torch.Tensor) -> torch.Tensor:
        """Velocities `(..., nv)` of the mirror image of a person with `qpos (..., nq)` and `qvel (..., nv)`."""
        mirrored = torch.zeros_like(qvel)
        moved = np.flatnonzero(self.joint_sign)
        source, target = model.jnt_dofadr[moved], model.jnt_dofadr[self.joint[moved]]
        mirrored[..., target] = torch.from_numpy(self.joint_sign[moved]) * qvel[..., source]
        turned = self.qpos(model, qpos)
        for root, dof in zip(self._free(model), model.jnt_dofadr[model.jnt_type == _FREE].tolist(), strict=True):
            lateral = self._lateral(model, root)
            spin = qvel[..., dof + 3 : dof + 6]
            spin = 2 * (spin @ lateral)[..., None] * lateral - spin  # axial: minus its reflection
            drift = rotate(turned[..., root + 3 : root + 7], torch.linalg.cross(spin, lateral.expand_as(spin)))
            speed = self._reflect(qvel[..., dof : dof + 3])
            mirrored[..., dof : dof + 3] = speed - 2 * self._aside(model, root) * drift
            mirrored[..., dof + 3 : dof + 6] = spin
        return mirrored

    def _free(self, model: mujoco.MjModel) -> list[int]:
        """Where in qpos the free joints begin."""
        return model.jnt_qposadr[model.jnt_type == _FREE].tolist()

    def _reflect(self, vector: torch.Tensor) -> torch.Tensor:
        """World vectors `(..., 3)` in the mirror."""
        normal = torch.from_numpy(self.normal)
        return vector - 2 * (vector @ normal)[..., None] * normal

    def _lateral(self, model: mujoco.MjModel, root: int) -> torch.Tensor:
        """The plane's normal `(3,)` in the axes of the free body whose coordinates begin at `root`."""
        return rotate(inverse(torch.from_numpy(model.qpos0[root + 3 : root + 7])), torch.from_numpy(self.normal))

    def _aside(self, model: mujoco.MjModel, root: int) -> float:
        """How far the plane is from that body's origin, along its normal, m."""
        return self.offset - float(self.normal @ model.qpos0[root : root + 3])
