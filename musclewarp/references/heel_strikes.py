"""When heels strike, from kinematics alone."""

from __future__ import annotations

import numpy as np
import scipy.signal
import torch

from musclewarp.models import MuscleModel
from musclewarp.models.kinematics import Kinematics
from musclewarp.models.rotation import heading, matrix_to_quat
from musclewarp.references.reference import Reference

_LEAST_SWING = 0.1
"""Metres that an ankle travels to and fro under the pelvis in anything that is a gait."""


def heel_strikes(model: MuscleModel, reference: Reference) -> dict[str, list[int]]:
    """Frames of the strikes of each of the model's feet, first to last.

    A heel strikes when its ankle is farthest ahead of the pelvis, in the pelvis' heading (Zeni et al. 2008, "Two simple
    methods for determining gait events during treadmill and overground walking using kinematic data", Gait & Posture
    27:710), swings of less than half the longest being none. In running, the foot lands some frames later.
    """
    poses = Kinematics(model)(torch.from_numpy(reference.qpos), jacobian=False)
    facing = heading(matrix_to_quat(poses.rotation[:, 0]))
    ahead = ((poses.position - poses.position[:, :1]) @ facing)[..., 0].numpy()
    strikes = {}
    for foot in model.feet:
        ankle = ahead[:, model.sites.index(f"{foot}_ankle")]
        swing = float(np.ptp(ankle))
        around = np.pad(ankle, 1, constant_values=ankle.min())  # or else a swing cut by the clip's end is a short one
        peaks = scipy.signal.find_peaks(around, prominence=swing / 2)[0] - 1 if swing > _LEAST_SWING else []
        strikes[foot] = [int(frame) for frame in peaks if 0 < frame < len(ankle) - 1]
    return strikes
