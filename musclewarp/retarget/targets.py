"""Where the tracking sites of a model should be, given how a person of other proportions moved.

Directions of the limbs are the person's, lengths the model's: that is what "scaled to the model" means here. The
trunk and the root are scaled as a whole. Rest postures are matched in a T-pose.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from musclewarp.models import MuscleModel
from musclewarp.models.kinematics import Kinematics
from musclewarp.motion import rotations
from musclewarp.motion.body import JointTrajectory
from musclewarp.motion.motion import SMPL_JOINTS

Floats = NDArray[np.float64]

_SMPL = {name: index for index, name in enumerate(SMPL_JOINTS)}
# SMPL's rest frame (y up, z forward) in the frame in which the models' default posture stands (z up, facing -y)
_REST_TO_MODEL = rotations.from_rotvec([np.pi / 2, 0.0, 0.0])

# limb: (site, the site it hangs from, SMPL joints whose connection gives the direction)
_LIMBS = tuple(
    (f"{side}_{site}", f"{side}_{parent}", f"{side}_{first}", f"{side}_{second}")
    for side in ("left", "right")
    for site, parent, first, second in (
        ("elbow", "shoulder", "shoulder", "elbow"),
        ("hand", "elbow", "elbow", "wrist"),
        ("knee", "hip", "hip", "knee"),
        ("ankle", "knee", "knee", "ankle"),
    )
)
# trunk: (site, SMPL joint that it follows, SMPL joint whose segment carries the difference at rest)
_TRUNK = (
    ("upper_body", "spine1", "spine1"),
    ("head", "head", "head"),
    ("left_shoulder", "left_shoulder", "spine3"),
    ("right_shoulder", "right_shoulder", "spine3"),
)
# orientation: (site, SMPL joint)
_ORIENTED = (
    ("pelvis", "pelvis"),
    ("left_hand", "left_wrist"),
    ("right_hand", "right_wrist"),
    ("left_ankle", "left_ankle"),
    ("right_ankle", "right_ankle"),
)


@dataclass(frozen=True, eq=False)
class Targets:
    """Goals for T frames and S tracking sites; NaN rotations where a site has none.

    `positions (T, S, 3)` m; `rotations (T, S, 4)` wxyz.
    """

    positions: Floats
    rotations: Floats


def t_pose(model: MuscleModel) -> Floats:
    """The model's posture `(nq,)` that matches SMPL's rest: arms stretched to the sides, palms down."""
    return model.posture(model.layout.t_pose)


def make_targets(model: MuscleModel, motion: JointTrajectory, rest: JointTrajectory) -> Targets:
    """Targets of every tracking site.

    Args:
        model: with a free root, the person's movement in the world is kept, scaled by leg length, its floor at z = 0;
            with a fixed root (arms alone), everything is taken in the thorax frame.
        motion: the person's joints over T frames, in the z-up world.
        rest: the same person's joints at rest, one frame, in SMPL's own frame.
    """
    site = {name: index for index, name in enumerate(model.sites)}
    pose = Kinematics(model)(torch.from_numpy(t_pose(model))[None], jacobian=False)
    home, home_rotation = pose.position[0].numpy(), rotations.from_matrix(pose.rotation[0].numpy())
    at_rest = rotations.rotate(_REST_TO_MODEL, rest.positions[0])
    # how far each segment has turned from the models' default posture
    turned = rotations.multiply(motion.orientations, rotations.conjugate(_REST_TO_MODEL))
    joints = motion.positions
    frames = len(joints)
    positions = np.full((frames, len(site), 3), np.nan)

    if model.has_free_root:
        hips, legs = [site["left_hip"], site["right_hip"]], [_SMPL["left_hip"], _SMPL["right_hip"]]
        anchor, rest_anchor, home_anchor = joints[:, legs].mean(1), at_rest[legs].mean(0), home[hips].mean(0)
        shoulders = [_SMPL["left_shoulder"], _SMPL["right_shoulder"]]
        height = np.linalg.norm(at_rest[shoulders].mean(0) - rest_anchor)
        model_height = np.linalg.norm(home[[site["left_shoulder"], site["right_shoulder"]]].mean(0) - home_anchor)
        trunk_scale = model_height / height
        origin = _size_ratio(model, home, at_rest) * (anchor - [0.0, 0.0, _floor(motion)])
        for name in ("pelvis", "left_hip", "right_hip"):
            offset = home[site[name]] - home_anchor
            positions[:, site[name]] = origin + rotations.rotate(turned[:, _SMPL["pelvis"]], offset)
    else:
        joints = _seen_from_the_chest(motion)
        turned = rotations.multiply(rotations.conjugate(turned[:, _SMPL["spine3"], None]), turned)
        anchor, rest_anchor = joints[:, _SMPL["spine3"]], at_rest[_SMPL["spine3"]]
        trunk_scale = _size_ratio(model, home, at_rest)
        home_anchor = origin = home[site["upper_body"]]
        positions[:, site["upper_body"]] = home_anchor

    for name, joint, segment in _TRUNK:
        if name == "upper_body" and not model.has_free_root:
            continue
        if name in site:
            difference = (home[site[name]] - home_anchor) - trunk_scale * (at_rest[_SMPL[joint]] - rest_anchor)
            carried = rotations.rotate(turned[:, _SMPL[segment]], difference)
            positions[:, site[name]] = origin + trunk_scale * (joints[:, _SMPL[joint]] - anchor) + carried
    for name, parent, first, second in _LIMBS:
        if name in site:
            direction = joints[:, _SMPL[second]] - joints[:, _SMPL[first]]
            direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
            length = np.linalg.norm(home[site[name]] - home[site[parent]])
            positions[:, site[name]] = positions[:, site[parent]] + length * direction
    for side in ("left", "right"):
        toes, ankle = f"{side}_toes", f"{side}_ankle"
        if toes in site:  # the recordings' toe joints are noisy: the foot is taken as one piece
            offset = rotations.rotate(turned[:, _SMPL[ankle]], home[site[toes]] - home[site[ankle]])
            positions[:, site[toes]] = positions[:, site[ankle]] + offset

    goal_rotations = np.full((frames, len(site), 4), np.nan)
    for name, joint in _ORIENTED:
        if name in site:
            goal_rotations[:, site[name]] = rotations.multiply(turned[:, _SMPL[joint]], home_rotation[site[name]])
    return Targets(positions, goal_rotations)


def scaled_joints(model: MuscleModel, motion: JointTrajectory, rest: JointTrajectory) -> Floats:
    """The person's own joints `(T, 24, 3)` m, where the targets are, all scaled alike: what a fit should be true to.

    By the length of the legs, with the floor at z = 0; for arms alone, by the length of the arms, in the thorax frame.
    """
    home = Kinematics(model)(torch.from_numpy(t_pose(model))[None], jacobian=False).position[0].numpy()
    ratio = _size_ratio(model, home, rest.positions[0])
    if model.has_free_root:
        return ratio * (motion.positions - [0.0, 0.0, _floor(motion)])
    return home[model.sites.index("upper_body")] + ratio * _seen_from_the_chest(motion)


def _size_ratio(model: MuscleModel, home: Floats, at_rest: Floats) -> float:
    """Length of the model's left leg (arm, where it has no legs) over the person's."""
    chain = ("hip", "knee", "ankle") if model.has_free_root else ("shoulder", "elbow", "hand")
    own = [model.sites.index(f"left_{site}") for site in chain]
    persons = [_SMPL[f"left_{'wrist' if site == 'hand' else site}"] for site in chain]
    return _length(home, own) / _length(at_rest, persons)


def _floor(motion: JointTrajectory) -> float:
    return float(motion.positions[:, [_SMPL["left_ankle"], _SMPL["right_ankle"]], 2].min())


def _seen_from_the_chest(motion: JointTrajectory) -> Floats:
    """Joints of a person whose thorax does not move."""
    chest = rotations.multiply(motion.orientations[:, _SMPL["spine3"], None], rotations.conjugate(_REST_TO_MODEL))
    return rotations.rotate(rotations.conjugate(chest), motion.positions - motion.positions[:, _SMPL["spine3"], None])


def _length(points: Floats, chain: list[int]) -> float:
    return float(np.linalg.norm(np.diff(points[chain], axis=0), axis=-1).sum())
