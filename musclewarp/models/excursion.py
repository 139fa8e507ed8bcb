"""How long the muscles are over the ranges of the joints, with the couplings satisfied."""

from __future__ import annotations

from typing import NamedTuple

import mujoco
import numpy as np
import torch

from musclewarp.models.couplings import Couplings


class Sweep(NamedTuple):
    """One coordinate taken through its range; B postures, M muscles.

    `angle (B,)` rad (or m); `length (B, M)` m, of the muscle-tendon units; `slope (B, M)` m/rad, dl/dq including the
    joints that the coordinate drives: positive where the muscle lengthens, the negative of the usual moment arm.
    """

    angle: np.ndarray
    length: np.ndarray
    slope: np.ndarray


def ranged_dofs(model: mujoco.MjModel, couplings: Couplings) -> np.ndarray:
    """The independent dofs `(J,)` with a range: every hinge and slide that is limited and not coupled."""
    return couplings.independent[model.jnt_limited[model.dof_jntid[couplings.independent]] != 0]


def dof_range(model: mujoco.MjModel, dof: int) -> tuple[float, float]:
    """Range of a dof in rad or m."""
    low, high = model.jnt_range[model.dof_jntid[dof]]
    return float(low), float(high)


def sample_postures(model: mujoco.MjModel, couplings: Couplings, count: int, seed: int = 0) -> np.ndarray:
    """Postures `(count, nq)` over all ranges: a coordinate is at either end, or anywhere between, a third of the time.

    Lengths of muscles over several joints are extreme in the corners, which uniform samples hardly ever meet.
    Coordinates without a range stay at qpos0.
    """
    generator = np.random.default_rng(seed)
    dofs = ranged_dofs(model, couplings)
    joints = model.dof_jntid[dofs]
    low, high = model.jnt_range[joints].T
    share = np.clip(generator.uniform(-1.0, 2.0, (count, len(dofs))), 0.0, 1.0)
    qpos = np.tile(model.qpos0, (count, 1))
    qpos[:, model.jnt_qposadr[joints]] = low + share * (high - low)
    return couplings.project_qpos(torch.as_tensor(qpos)).numpy()


def place_tendons(model: mujoco.MjModel, data: mujoco.MjData, qpos: np.ndarray) -> None:
    """Lengths and moment arms of the tendons at a posture `(nq,)`, and nothing else of it."""
    data.qpos[:] = qpos
    mujoco.mj_kinematics(model, data)
    mujoco.mj_comPos(model, data)
    mujoco.mj_tendon(model, data)


def muscle_lengths(
    model: mujoco.MjModel, qpos: np.ndarray, direction: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Lengths `(B, M)` m at the postures `qpos (B, nq)`, and their rates along `direction (B, nv)`, `(B, M)`."""
    data = mujoco.MjData(model)
    length, rate = np.zeros((len(qpos), model.nu)), np.zeros((len(qpos), model.nu))
    dense = np.zeros((model.nu, model.nv))
    for i, posture in enumerate(qpos):
        place_tendons(model, data, posture)
        mujoco.mj_transmission(model, data)
        length[i] = data.actuator_length
        if direction is not None:
            mujoco.mju_sparse2dense(
                dense, data.actuator_moment, data.moment_rownnz, data.moment_rowadr, data.moment_colind
            )
            rate[i] = dense @ direction[i]
    return length, rate


def sweep(model: mujoco.MjModel, couplings: Couplings, dof: int, steps: int, base: np.ndarray | None = None) -> Sweep:
    """Take one independent dof from end to end of its range in `steps` postures.

    Args:
        model: whose muscles.
        couplings: of `model`.
        dof: an independent hinge or slide dof.
        steps: postures.
        base: where the other coordinates are `(nq,)`; default: qpos0.
    """
    angle = np.linspace(*dof_range(model, dof), steps)
    qpos = np.tile(model.qpos0 if base is None else base, (steps, 1))
    qpos[:, model.jnt_qposadr[model.dof_jntid[dof]]] = angle
    projected = couplings.project_qpos(torch.as_tensor(qpos))
    direction = torch.zeros(steps, model.nv, dtype=torch.float64)
    direction[:, dof] = 1.0
    length, slope = muscle_lengths(model, projected.numpy(), couplings.project_qvel(projected, direction).numpy())
    return Sweep(angle, length, slope)
