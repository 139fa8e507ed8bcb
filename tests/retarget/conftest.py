"""Models, the open body and clips once a session."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from musclewarp.models import MuscleModel
from musclewarp.models.kinematics import Kinematics
from musclewarp.motion import rotations
from musclewarp.motion.amass import read_amass
from musclewarp.motion.body import Body, load_body
from musclewarp.motion.motion import Motion
from musclewarp.retarget.targets import Targets

CLIPS = Path(__file__).parents[2] / "data" / "motions" / "demo"
ORIENTED = ("pelvis", "left_hand", "right_hand", "left_ankle", "right_ankle")


@pytest.fixture(scope="session")
def person() -> Body:
    return load_body("neutral", "stand-in")


@pytest.fixture(scope="session")
def arms_clip() -> Motion:
    """Three seconds of both arms moving."""
    return read_amass(CLIPS / "arms.npz").clip(0, 180)


@pytest.fixture(scope="session")
def whole_clip() -> Motion:
    """One second of the whole body moving."""
    return read_amass(CLIPS / "whole_body.npz").clip(60, 120)


@pytest.fixture(scope="session")
def recorded_clip(data_root: Path) -> Motion:
    """Two seconds of a real person's movement (CMU 02_04)."""
    clip = read_amass(data_root / "motions" / "cmu_smpl" / "cmu_02_04_smplh.npz")
    return clip.clip(0, round(2 * clip.fps))


@pytest.fixture(scope="session")
def targets_of():
    """`targets_of(model, qpos)`: what a perfect recording of the postures `(T, nq)` would ask for."""

    def targets_of(model: MuscleModel, qpos: np.ndarray) -> Targets:
        poses = Kinematics(model)(torch.from_numpy(qpos), jacobian=False)
        turned = rotations.from_matrix(poses.rotation.numpy())
        turned[:, [site not in ORIENTED for site in model.sites]] = np.nan
        return Targets(poses.position.numpy(), turned)

    return targets_of
