"""Models once a session, and smooth movements of theirs."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
import torch

from musclewarp.models import MuscleModel
from musclewarp.references import Reference, make_reference


@pytest.fixture(scope="session")
def movement():
    """`movement(model, frames, dt, seed)`: postures `(T, nq)` in smooth motion on the couplings, each seed its own."""

    def movement(model: MuscleModel, frames: int, dt: float, seed: int = 0) -> np.ndarray:
        m, random = model.mj_model, np.random.default_rng(seed)
        time = dt * np.arange(frames)
        qpos = np.tile(m.qpos0, (frames, 1))
        for address, joint in zip(model.joint_qpos, m.dof_jntid[model.joint_dofs], strict=True):
            low, high = m.jnt_range[joint]
            phase, swing = random.uniform(0, 2 * np.pi), 0.2 * (high - low)
            qpos[:, address] = (low + high) / 2 + swing * np.sin(2 * np.pi * 0.7 * time + phase)
        if model.has_free_root:
            qpos[:, :3] += np.stack([time, np.sin(3 * time), 0.1 * np.cos(2 * time)], 1)
            for t in range(1, frames):
                qpos[t, 3:7] = qpos[t - 1, 3:7]
                spin = np.array([np.sin(2 * time[t]), 0.5, np.cos(time[t])])
                mujoco.mju_quatIntegrate(qpos[t, 3:7], spin, dt)
        return model.couplings.project_qpos(torch.from_numpy(qpos)).numpy()

    return movement


@pytest.fixture(scope="session")
def arms_reference(arms: MuscleModel, movement) -> Reference:
    dt = arms.physics.control_dt
    quality, source = {"target_error_m": 0.01}, {"file": "clip.npz", "fps": 60.0}
    return make_reference(arms, movement(arms, 12, dt), dt, "wave", quality=quality, source=source)


@pytest.fixture(scope="session")
def body_reference(body: MuscleModel, movement) -> Reference:
    dt = body.physics.control_dt
    return make_reference(body, movement(body, 12, dt), dt, "walk")
