"""Joint couplings: some joints are polynomials of others (MuJoCo's joint equalities).

A knee of this kind of model rolls and slides: its translations and the patella follow the knee angle.
The coupled ("dependent") coordinates are no freedom of the person; the others are the *independent*
coordinates. MuJoCo enforces a coupling softly; here it is exact, so that references satisfy it.

    q_dep - q_dep0 = sum_k c_k (q_drv - q_drv0)^k,   k = 0 .. 4

Source: MuJoCo, computation chapter, "Equality constraints: joint".
"""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np
import torch

from musclewarp.errors import ModelError

_SCALAR_JOINTS = (int(mujoco.mjtJoint.mjJNT_HINGE), int(mujoco.mjtJoint.mjJNT_SLIDE))


@dataclass(frozen=True)
class Couplings:
    """The joint equalities of a model as arrays; every method takes torch tensors of any batch shape.

    `dependent` and `driver` are dof indices `(C,)` (driver -1: the joint is locked), `*_qpos` the qpos
    indices of the same joints, `coefficients (C, 5)` and the offsets at the model's qpos0. `independent` lists the
    remaining dofs `(nv - C,)` in model order.
    """

    nv: int
    nq: int
    dependent: np.ndarray
    driver: np.ndarray
    dependent_qpos: np.ndarray
    driver_qpos: np.ndarray
    coefficients: np.ndarray
    dependent_offset: np.ndarray
    driver_offset: np.ndarray
    independent: np.ndarray

    @classmethod
    def from_model(cls, model: mujoco.MjModel) -> Couplings:
        """Read the active joint equalities of `model`.

        Raises:
            ModelError: a driver is itself coupled, a joint is coupled twice, or is neither hinge nor slide.
        """
        rows = [i for i in range(model.neq) if model.eq_type[i] == mujoco.mjtEq.mjEQ_JOINT and model.eq_active0[i]]
        first, second = model.eq_obj1id[rows], model.eq_obj2id[rows]
        dependents = set(first.tolist())
        if len(dependents) < len(rows):
            raise ModelError("a joint is the first joint of two equalities; keep one of them")
        for a, b in zip(first, second, strict=True):
            if b in dependents:
                raise ModelError(f"joint '{model.joint(a).name}' is driven by '{model.joint(b).name}', itself coupled")
            for joint in (a, b):
                if joint >= 0 and model.jnt_type[joint] not in _SCALAR_JOINTS:
                    raise ModelError(f"joint '{model.joint(joint).name}' is coupled but neither hinge nor slide")
        driven = second >= 0
        safe = np.where(driven, second, first)  # a locked joint reads its own slot, with coefficients of degree 0
        coefficients = model.eq_data[rows][:, :5].copy().reshape(-1, 5)
        coefficients[~driven, 1:] = 0.0
        dependent = model.jnt_dofadr[first]
        return cls(
            nv=model.nv,
            nq=model.nq,
            dependent=dependent,
            driver=np.where(driven, model.jnt_dofadr[safe], -1),
            dependent_qpos=model.jnt_qposadr[first],
            driver_qpos=model.jnt_qposadr[safe],
            coefficients=coefficients,
            dependent_offset=model.qpos0[model.jnt_qposadr[first]],
            driver_offset=model.qpos0[model.jnt_qposadr[safe]],
            independent=np.setdiff1d(np.arange(model.nv), dependent),
        )

    def _driver_angle(self, qpos: torch.Tensor) -> torch.Tensor:
        return qpos[..., self.driver_qpos] - torch.as_tensor(self.driver_offset, dtype=qpos.dtype, device=qpos.device)

    def project_qpos(self, qpos: torch.Tensor) -> torch.Tensor:
        """`qpos (..., nq)` with every dependent coordinate set to its polynomial."""
        angle = self._driver_angle(qpos)
        c = torch.as_tensor(self.coefficients, dtype=qpos.dtype, device=qpos.device)
        value = c[:, 4]
        for k in (3, 2, 1, 0):  # Horner
            value = value * angle + c[:, k]
        projected = qpos.clone()
        offset = torch.as_tensor(self.dependent_offset, dtype=qpos.dtype, device=qpos.device)
        projected[..., self.dependent_qpos] = value + offset
        return projected

    def slopes(self, qpos: torch.Tensor) -> torch.Tensor:
        """dq_dep / dq_drv `(..., C)` at `qpos (..., nq)`; zero where a joint is locked."""
        angle = self._driver_angle(qpos)
        c = torch.as_tensor(self.coefficients, dtype=qpos.dtype, device=qpos.device)
        slope = 4.0 * c[:, 4]
        for k in (3, 2, 1):
            slope = slope * angle + k * c[:, k]
        return slope.expand(angle.shape)

    def project_qvel(self, qpos: torch.Tensor, qvel: torch.Tensor) -> torch.Tensor:
        """`qvel (..., nv)` with dependent velocities following the chain rule at `qpos`."""
        projected = qvel.clone()
        projected[..., self.dependent] = self.slopes(qpos) * qvel[..., np.maximum(self.driver, 0)]
        return projected

    def reduce_columns(self, qpos: torch.Tensor, jacobian: torch.Tensor) -> torch.Tensor:
        """A Jacobian over all dofs `(..., r, nv)` as one over the independent dofs `(..., r, nv - C)`.

        The chain rule adds each dependent column, times its slope, to its driver's.
        """
        total = jacobian.clone()
        moving = np.flatnonzero(self.driver >= 0)
        contribution = jacobian[..., self.dependent[moving]] * self.slopes(qpos)[..., None, moving]
        total.index_add_(-1, torch.as_tensor(self.driver[moving], device=jacobian.device), contribution)
        return total[..., self.independent]

    def residual(self, qpos: torch.Tensor) -> torch.Tensor:
        """How far `qpos (..., nq)` is from the couplings, `(..., C)`, in rad or m."""
        return qpos[..., self.dependent_qpos] - self.project_qpos(qpos)[..., self.dependent_qpos]
