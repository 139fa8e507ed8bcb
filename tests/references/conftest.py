"""References of smooth movements."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from musclewarp.models import MuscleModel
from musclewarp.references import Reference, make_reference


@pytest.fixture(scope="session")
def arms_reference(arms: MuscleModel, movement) -> Reference:
    dt = arms.physics.control_dt
    quality, source = {"target_rmse_m": 0.01}, {"file": "clip.npz", "fps": 60.0}
    return make_reference(arms, movement(arms, 12, dt), dt, "wave", quality=quality, source=source)


@pytest.fixture(scope="session")
def body_reference(body: MuscleModel, movement) -> Reference:
    dt = body.physics.control_dt
    return make_reference(body, movement(body, 12, dt), dt, "walk")


@pytest.fixture(scope="session")
def gait():
    """`gait(model, seconds, turn, drift, period)`: a walk of the full body at 50 Hz, legs swinging in opposite phase.

    It heads `turn` rad further every second, heels strike every `period` s (the right one at 0), and by `drift` rad a
    second all joints, and the height, come to differ from one stride to the next.
    """

    def gait(model: MuscleModel, seconds=4.0, turn=0.0, drift=0.0, period=1.1) -> Reference:
        m, time = model.mj_model, 0.02 * np.arange(round(50 * seconds) + 1)
        qpos = np.tile(m.qpos0, (len(time), 1))
        for side, phase in (("r", 0.0), ("l", np.pi)):
            swing = np.cos(2 * np.pi * time / period + phase)
            twice = np.cos(4 * np.pi * time / period + phase)
            for joint, angle in (
                ("hip_flexion", 0.1 + 0.4 * swing),
                ("knee_angle", 0.4 - 0.2 * swing),
                ("ankle_angle", 0.1 * swing),
                ("shoulder_elv", 0.6 - 0.2 * swing),
                ("elbow_flex", 0.6 + 0.1 * twice),
            ):
                qpos[:, m.joint(f"{joint}_{side}").qposadr[0]] = angle
        qpos[:, model.joint_qpos] += drift * time[:, None] * np.sin(time[:, None] + np.arange(len(model.joint_qpos)))
        tilt = 0.05 * np.stack([np.cos(4 * np.pi * time / period), np.cos(2 * np.pi * time / period), 0 * time], 1)
        turned = Rotation.from_rotvec(turn * time[:, None] * [0, 0, 1]) * Rotation.from_quat(
            m.qpos0[3:7], scalar_first=True
        )
        qpos[:, 3:7] = (turned * Rotation.from_rotvec(tilt + drift * time[:, None] * [0, 0, 1])).as_quat(
            scalar_first=True
        )
        steps = 0.02 * 1.2 * turned.apply([1.0, 0.0, 0.0])
        qpos[:, :2] = np.cumsum(steps, axis=0)[:, :2]
        qpos[:, 2] += 0.02 * np.cos(4 * np.pi * time / period) + drift * time
        return make_reference(model, qpos, 0.02, "gait")

    return gait


@pytest.fixture(scope="session")
def unroll():
    """`unroll(loop, cycles)`: postures `(cycles (T - 1) + 1, nq)` and targets, one rigid movement after another."""

    def unroll(loop: Reference, cycles: int) -> tuple[np.ndarray, np.ndarray]:
        first, last = (Rotation.from_quat(loop.qpos[i, 3:7], scalar_first=True) for i in (0, -1))
        turn = last * first.inv()
        np.testing.assert_allclose(turn.as_rotvec()[:2], 0, atol=1e-9)  # about z
        way = loop.qpos[-1, :3] - turn.apply(loop.qpos[0, :3])
        assert abs(way[2]) < 1e-9
        qpos, targets = loop.qpos.copy(), loop.target_positions.copy()
        rows: tuple[list, list] = ([], [])
        for _ in range(cycles):
            rows[0].extend(qpos[:-1].copy())
            rows[1].extend(targets[:-1].copy())
            qpos[:, :3] = turn.apply(qpos[:, :3]) + way
            qpos[:, 3:7] = (turn * Rotation.from_quat(qpos[:, 3:7], scalar_first=True)).as_quat(scalar_first=True)
            targets = turn.apply(targets.reshape(-1, 3)).reshape(targets.shape) + way
        return np.array([*rows[0], qpos[0]]), np.array([*rows[1], targets[0]])

    return unroll
