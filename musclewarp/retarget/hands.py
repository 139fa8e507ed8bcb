"""Hands that carry the body: how they are turned."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import grey_dilation
from scipy.spatial.transform import Rotation, Slerp

from musclewarp.models import MuscleModel
from musclewarp.models.kinematics import Kinematics
from musclewarp.retarget.contacts import SIDES
from musclewarp.retarget.targets import Targets

Floats = NDArray[np.float64]
_AROUND = 0.2  # s before and after a hand stands, in which its wrist bends


def carrying(hands: NDArray[np.bool_], dt: float) -> Floats:
    """How much each hand carries, of `hands (T, 2)` that stand: one there, and smoothly less before and after."""
    frames = int(_AROUND / dt)
    near = 1.0 - np.abs(np.arange(-frames, frames + 1)) * dt / _AROUND
    rise = near * near * (3.0 - 2.0 * near)
    return np.asarray(grey_dilation(hands.astype(np.float64), structure=rise[:, None] - 1.0))


def prop(model: MuscleModel, targets: Targets, rough: Floats, stride: int, share: Floats) -> tuple[Targets, Floats]:
    """Targets and postures with the wrists of standing hands bent back.

    Recordings know little of such hands: their wrists jump by up to two radians as the palms come down, and point the
    fingers up or the palm at the sky. Followed, and pushed out of the floor, a hand stands on its back and turns over.
    So it is turned as with `Layout.propped` on the forearm of a rough solution.

    Args:
        model: with a free root.
        targets: of T frames.
        rough: postures `(T / stride, nq)` of every `stride`-th frame.
        stride: frames between these.
        share: how much each hand carries `(T, 2)`, see `carrying`.
    """
    if not share.any():
        return targets, rough
    bent = torch.from_numpy(_bent_back(model, rough, np.ones((len(rough), 2))))
    turned = Kinematics(model)(bent, jacobian=False).rotation.numpy()
    known, goals = stride * np.arange(len(rough)), targets.rotations.copy()
    frames = np.minimum(np.arange(len(share)), known[-1])
    for side, part in zip(SIDES, share.T, strict=True):
        site = model.sites.index(f"{side}_hand")
        recorded = Rotation.from_quat(goals[:, site], scalar_first=True)
        reached = Rotation.from_matrix(turned[:, site])
        reached = Slerp(known, reached)(frames) if len(known) > 1 else reached
        turn = (reached * recorded.inv()).as_rotvec()
        goals[:, site] = (Rotation.from_rotvec(part[:, None] * turn) * recorded).as_quat(scalar_first=True)
    return Targets(targets.positions, goals), _bent_back(model, rough, share[::stride])


def _bent_back(model: MuscleModel, qpos: Floats, share: Floats) -> Floats:
    """`qpos (T, nq)` with the wrists bent back by a `share (T, 2)`."""
    bent = qpos.copy()
    for side, part in zip(SIDES, share.T, strict=True):
        for joint, angle in model.layout.propped.items():
            at = model.mj_model.joint(f"{joint}_{side[0]}").qposadr[0]
            bent[:, at] += part * (angle - bent[:, at])
    return model.couplings.project_qpos(torch.from_numpy(bent)).numpy()
