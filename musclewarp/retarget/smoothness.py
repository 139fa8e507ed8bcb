"""How much a coordinate's accelerations weigh in the inverse kinematics."""

from __future__ import annotations

import torch

from musclewarp.models import MuscleModel
from musclewarp.models.kinematics import Kinematics
from musclewarp.models.muscles import joint_group
from musclewarp.retarget.ik_config import IKConfig, site_weights

_TOLD = 0.002  # m² of (weighted) targets' motion per rad² from which on a coordinate counts as told by them


def acceleration_weights(model: MuscleModel, config: IKConfig) -> torch.Tensor:
    """Weights `(n,)` of the squared accelerations of the independent coordinates.

    A recording comes low-passed, so it needs no smoothing; what it leaves open does. A whole body's weights are
    `config.whole_body_acceleration` h / (h + H), H being what all position targets together tell of the coordinate in
    the default posture (its diagonal in the Hessian of Gauss and Newton). Arms hang there, so that the plane of their
    elevation is smoothed as the twists of limbs are, while hips and knees follow the recording.
    """
    names = [model.dof_names[dof] for dof in model.couplings.independent]
    if not model.has_free_root:
        weights = [config.shoulder_acceleration if joint_group(n) == "shoulder" else config.acceleration for n in names]
        return torch.tensor(weights, dtype=torch.float64)
    default = torch.from_numpy(model.mj_model.qpos0.copy())[None]
    slope = model.couplings.reduce_columns(default, Kinematics(model)(default).jacobian.flatten(1, 2))
    slope = slope.unflatten(1, (-1, 6))[0, :, :3]
    told = (site_weights(model, config)[:, None, None] * slope.square()).sum((0, 1))
    return config.whole_body_acceleration * _TOLD / (_TOLD + told)
