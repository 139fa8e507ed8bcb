"""Trials made by hand: short, of real models, without a simulation."""

from __future__ import annotations

from collections.abc import Callable

import mujoco
import numpy as np
import pytest
import torch

from musclewarp.evaluation.trial import Trial
from musclewarp.models import MuscleModel, load_model


@pytest.fixture(scope="session")
def model() -> MuscleModel:
    return load_model("bimanual")


@pytest.fixture(scope="session")
def make_trial() -> Callable[..., Trial]:
    return _make_trial


def _make_trial(
    model: MuscleModel,
    frames: int = 5,
    activation: float = 0.0,
    offset: float = 0.0,
    clip: str = "wave",
    controller: str = "policy",
    failed_at: int = -1,
) -> Trial:
    """A body that holds its default posture, every independent joint `offset` rad away from its reference."""
    m = model.mj_model
    reference = model.couplings.project_qpos(torch.as_tensor(m.qpos0)).numpy()
    qpos = reference.copy()
    qpos[model.joint_qpos] += offset
    data = mujoco.MjData(m)

    def sites(posture: np.ndarray) -> np.ndarray:
        data.qpos[:] = posture
        mujoco.mj_kinematics(m, data)
        return np.tile(data.site_xpos[model.site_ids], (frames, 1, 1)).astype(np.float32)

    def rows(values: np.ndarray) -> np.ndarray:
        return np.tile(np.asarray(values, np.float32), (frames, *[1] * np.ndim(values)))

    joints, muscles, feet = len(model.joint_dofs), m.nu, len(model.feet)
    arrays = {
        "qpos": rows(qpos),
        "qvel": rows(np.zeros(m.nv)),
        "reference_qpos": rows(reference),
        "joint_pos": rows(qpos[model.joint_qpos]),
        "reference_joint_pos": rows(reference[model.joint_qpos]),
        "joint_vel": rows(np.full(joints, offset)),
        "reference_joint_vel": rows(np.zeros(joints)),
        "site_pos": sites(qpos),
        "reference_site_pos": sites(reference),
        "recorded_site_pos": sites(reference),
        "foot_force": rows(np.zeros((feet, 3))),
        "foot_cop": rows(np.zeros((feet, 3))),
    }
    arrays |= {key: rows(np.full(muscles, activation)) for key in ("excitation", "activation")}
    arrays |= {key: rows(np.zeros(muscles)) for key in ("muscle_length", "muscle_velocity", "muscle_force")}
    return Trial(
        clip=clip,
        controller=controller,
        model=model.name,
        model_hash=model.hash,
        dt=model.physics.control_dt,
        muscles=tuple(model.muscles.index),
        joints=tuple(model.dof_names[dof] for dof in model.joint_dofs),
        sites=model.sites,
        feet=model.feet,
        failed_at=failed_at,
        arrays=arrays,
    )
