"""Where the tracking sites of a model should be, given how a person moved.

Directions of the limbs are the person's, lengths the model's. Rest postures are matched in a T-pose.
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

SMPL_INDEX = {name: index for index, name in enumerate(SMPL_JOINTS)}
# SMPL's rest frame (y up, z forward) in the frame in which the models' default posture stands (z up, facing -y)
REST_TO_MODEL = rotations.from_rotvec([np.pi / 2, 0.0, 0.0])

# site -> the SMPL joint that is at the same place in the body
SITE_JOINTS = {"pelvis": "pelvis", "head": "head"} | {
    f"{side}_{site}": f"{side}_{joint}"
    for side in ("left", "right")
    for site, joint in (
        ("shoulder", "shoulder"),
        ("elbow", "elbow"),
        ("hand", "wrist"),
        ("hip", "hip"),
        ("knee", "knee"),
        ("ankle", "ankle"),
        ("toes", "foot"),
    )
}
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

    def at(self, frames: slice) -> Targets:
        """The same of some frames."""
        return Targets(self.positions[frames], self.rotations[frames])


def t_pose(model: MuscleModel) -> Floats:
    """The model's posture `(nq,)` that matches SMPL's rest: arms stretched to the sides, palms down."""
    return model.posture(model.layout.t_pose)


def at_t_pose(model: MuscleModel) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """Places `(3,)` m and rotations `(4,)` wxyz of the tracking sites in the T-pose, by their names."""
    pose = Kinematics(model)(torch.from_numpy(t_pose(model))[None], jacobian=False)
    turned = rotations.from_matrix(pose.rotation[0].numpy())
    places = pose.position[0].numpy()
    return dict(zip(model.sites, places, strict=True)), dict(zip(model.sites, turned, strict=True))


def make_targets(model: MuscleModel, motion: JointTrajectory, rest: JointTrajectory) -> Targets:
    """Targets of every tracking site.

    Args:
        model: with a free root, `motion` is of a person of its size (see `retarget.person`), and its joints are the
            targets; with a fixed root (arms alone), everything is taken in the thorax frame.
        motion: the person's joints over T frames, in the z-up world.
        rest: the same person's joints at rest, one frame, in SMPL's own frame.
    """
    home, home_rotation = at_t_pose(model)
    # how far each segment has turned from the models' default posture
    turned = rotations.multiply(motion.orientations, rotations.conjugate(REST_TO_MODEL))
    if model.has_free_root:
        places = _whole_body(home, motion.positions, turned)
    else:
        chest = turned[:, SMPL_INDEX["spine3"], None]  # the thorax does not move: see the person from its chest
        turned = rotations.multiply(rotations.conjugate(chest), turned)
        joints = motion.positions - motion.positions[:, SMPL_INDEX["spine3"], None]
        at_rest = rotations.rotate(REST_TO_MODEL, rest.positions[0])
        places = _arms(home, rotations.rotate(rotations.conjugate(chest), joints), at_rest, turned)
    positions = np.stack([places[site] for site in model.sites], axis=1)
    goal_rotations = np.full((*positions.shape[:2], 4), np.nan)
    for name, joint in _ORIENTED:
        if name in model.sites:
            at = model.sites.index(name)
            goal_rotations[:, at] = rotations.multiply(turned[:, SMPL_INDEX[joint]], home_rotation[name])
    return Targets(positions, goal_rotations)


def _whole_body(home: dict[str, Floats], joints: Floats, turned: Floats) -> dict[str, Floats]:
    """Places `(T, 3)` of the sites: the joints themselves, and the loins, which are no joint of the person's."""
    places = {site: joints[:, SMPL_INDEX[joint]] for site, joint in SITE_JOINTS.items()}
    hips = (places["left_hip"] + places["right_hip"]) / 2
    offset = home["upper_body"] - (home["left_hip"] + home["right_hip"]) / 2
    return places | {"upper_body": hips + rotations.rotate(turned[:, SMPL_INDEX["pelvis"]], offset)}


def _arms(home: dict[str, Floats], joints: Floats, at_rest: Floats, turned: Floats) -> dict[str, Floats]:
    """Places `(T, 3)` of the sites as seen from the chest: directions the person's, lengths the model's."""
    origin = home["upper_body"]
    chain = [[home[f"left_{site}"] for site in ("shoulder", "elbow", "hand")]]
    chain.append([at_rest[SMPL_INDEX[f"left_{joint}"]] for joint in ("shoulder", "elbow", "wrist")])
    scale, own = (float(np.linalg.norm(np.diff(points, axis=0), axis=-1).sum()) for points in chain)
    scale /= own
    places = {"upper_body": np.broadcast_to(origin, (len(joints), 3))}
    for side in ("left", "right"):
        shoulder = SMPL_INDEX[f"{side}_shoulder"]
        difference = home[f"{side}_shoulder"] - origin - scale * (at_rest[shoulder] - at_rest[SMPL_INDEX["spine3"]])
        carried = rotations.rotate(turned[:, SMPL_INDEX["spine3"]], difference)
        places[f"{side}_shoulder"] = origin + scale * joints[:, shoulder] + carried
        for site, parent, joint, parent_joint in (
            ("elbow", "shoulder", "elbow", "shoulder"),
            ("hand", "elbow", "wrist", "elbow"),
        ):
            direction = joints[:, SMPL_INDEX[f"{side}_{joint}"]] - joints[:, SMPL_INDEX[f"{side}_{parent_joint}"]]
            direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
            length = np.linalg.norm(home[f"{side}_{site}"] - home[f"{side}_{parent}"])
            places[f"{side}_{site}"] = places[f"{side}_{parent}"] + length * direction
    return places
