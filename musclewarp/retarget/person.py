"""The recorded person at the model's size, on a floor at z = 0."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from musclewarp.models import MuscleModel
from musclewarp.motion import rotations
from musclewarp.motion.body import Body, JointTrajectory
from musclewarp.motion.motion import SMPL_JOINTS, SMPL_PARENTS, Motion
from musclewarp.retarget.contacts import CARRYING_HEIGHT, floor_heights
from musclewarp.retarget.shape import fit_shape, segment_lengths
from musclewarp.retarget.targets import REST_TO_MODEL, SMPL_INDEX, at_t_pose

Floats = NDArray[np.float64]
_HIPS = [SMPL_INDEX["left_hip"], SMPL_INDEX["right_hip"]]
_NOT_LEGS = [k for k, name in enumerate(SMPL_JOINTS) if not name.endswith(("hip", "knee", "ankle", "foot"))]
_LEG, _ARM = ("hip", "knee", "ankle"), ("shoulder", "elbow", "wrist")


def rest_motion(motion: Motion) -> Motion:
    """One frame of the same person in SMPL's rest posture."""
    identity = np.tile(rotations.IDENTITY, (1, len(SMPL_JOINTS), 1))
    return replace(motion, rotations=identity, translation=np.zeros((1, 3)))


def person_of_size(model: MuscleModel, body: Body, motion: Motion) -> JointTrajectory:
    """The joints of a person who turns them as in `motion`, with the segments of `model`, which has legs.

    The way is scaled by the length of the legs, and level: the whole person is lowered by the height of the recording's
    floor under the hips, so that the balls of standing feet are at z = 0. What SMPL calls the pelvis, a point between
    the hips, is moved to where the model has its pelvis, a fixed offset from the hips in the pelvis.

    Args:
        model: with a free root.
        body: whose skeleton `motion` drives.
        motion: the recording, at any rate.
    """
    own, own_rest = body.joints(motion), body.joints(rest_motion(motion)).positions[0]
    rest = fit_shape(body, model).rest_joints
    joints = np.zeros_like(own.positions)
    for joint, parent in enumerate(SMPL_PARENTS[1:], start=1):
        joints[:, joint] = joints[:, parent] + rotations.rotate(own.orientations[:, parent], rest[joint] - rest[parent])
    hips, own_hips = joints[:, _HIPS].mean(axis=1), own.positions[:, _HIPS].mean(axis=1)
    scale = _length(rest, *_LEG) / _length(own_rest, *_LEG)
    joints += (scale * own_hips - hips)[:, None]
    joints[..., 2] += _carried(scale * own.positions[..., 2], joints[..., 2])[:, None]
    joints[..., 2] -= floor_heights(joints, motion.fps, joints[:, _HIPS, :2].mean(axis=1))[:, None]
    turned = rotations.multiply(own.orientations[:, 0], rotations.conjugate(REST_TO_MODEL))
    joints[:, 0] = joints[:, _HIPS].mean(axis=1) + rotations.rotate(turned, _pelvis_offset(model))
    return own._replace(positions=joints)


def arms_of_size(model: MuscleModel, body: Body, motion: Motion) -> JointTrajectory:
    """The joints of a person seen from the chest, which does not move, scaled by the length of the arms to `model`."""
    own, own_rest = body.joints(motion), body.joints(rest_motion(motion)).positions[0]
    chest = SMPL_INDEX["spine3"]
    turned = rotations.multiply(own.orientations[:, chest, None], rotations.conjugate(REST_TO_MODEL))
    seen = rotations.rotate(rotations.conjugate(turned), own.positions - own.positions[:, chest, None])
    lengths = segment_lengths(model)
    scale = (lengths["left upper arm"] + lengths["left forearm"]) / _length(own_rest, *_ARM)
    return own._replace(positions=at_t_pose(model)[0][model.sites[0]] + scale * seen)


def _carried(recorded: Floats, own: Floats) -> Floats:
    """By how much to lift the person in each frame `(T,)` m, so that what carries it is as high as it was.

    With the hips as high as recorded, feet are, but not the hands of somebody with longer trunk and arms: in a
    cartwheel they would be a decimetre in the floor. What of the body is lowest, is taken to carry it: smoothly, by
    weights that fall with the height above the lowest joint. Heights `(T, 24)` m.
    """
    weight = np.exp((recorded.min(axis=1, keepdims=True) - recorded) / CARRYING_HEIGHT)
    weight /= weight.sum(axis=1, keepdims=True)
    return (weight * (recorded - own))[:, _NOT_LEGS].sum(axis=1)


def _length(joints: Floats, *chain: str) -> float:
    """From joint to joint of the left side, m."""
    points = joints[[SMPL_INDEX[f"left_{joint}"] for joint in chain]]
    return float(np.linalg.norm(np.diff(points, axis=0), axis=-1).sum())


def _pelvis_offset(model: MuscleModel) -> Floats:
    """From between the hips to the pelvis site `(3,)` m, in the model's T-pose."""
    places, _ = at_t_pose(model)
    return places["pelvis"] - (places["left_hip"] + places["right_hip"]) / 2
