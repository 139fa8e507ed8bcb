"""The open stand-in body: the arrays of an SMPL model file, made from published segment lengths alone.

Its rest pelvis is the origin whatever the shape, so that a motion's translation is where the pelvis is. Its mesh is a
tetrahedron around each joint (the joint is the mean of its corners), and skin points at face, feet and finger tips.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from musclewarp.motion.motion import NUM_BETAS, SMPL_JOINTS, SMPL_PARENTS

STATURE = {"male": 1.82, "neutral": 1.75, "female": 1.68}
"""m; the three bodies differ in nothing else."""

SHAPE_AXES = (
    "stature",  # all lengths + 4 %
    "leg",  # thigh and shank + 3 %
    "arm",  # upper arm and forearm + 3 %
    "trunk",  # pelvis to neck and collars + 3 %
    "shoulder_width",  # each shoulder 10 mm outwards
    "hip_width",  # each hip 5 mm outwards
    "knee_height",  # knee 10 mm upwards, hip and ankle stay
    "elbow_distance",  # elbow 10 mm outwards, shoulder and wrist stay
    "foot_length",  # ball of the foot 5 mm forwards
    "neck_length",  # head 10 mm upwards
)
"""What one unit of each beta does to the rest joints; linear. What hangs on a joint moves with it."""

# Rest joints (x left, y above the sole, z forward) as fractions of stature. Heights of ankle, knee, hip and shoulder,
# and lengths of upper arm, forearm, hand and foot: Drillis & Contini (1966), as in Winter, Biomechanics and Motor
# Control of Human Movement, fig. 4.1. Their breadths are outer ones; the joint centres lie further in, here 0.103
# (shoulder) and 0.049 (hip) from the midline. Spine, clavicle and skin points are our own round numbers.
_JOINTS = {
    "pelvis": (0.0, 0.570, 0.0),
    "left_hip": (0.049, 0.530, 0.0),
    "spine1": (0.0, 0.625, 0.0),
    "left_knee": (0.049, 0.285, 0.0),
    "spine2": (0.0, 0.690, 0.0),
    "left_ankle": (0.049, 0.039, 0.0),
    "spine3": (0.0, 0.740, 0.0),
    "left_foot": (0.049, 0.012, 0.073),
    "neck": (0.0, 0.845, 0.0),
    "left_collar": (0.035, 0.810, 0.0),
    "head": (0.0, 0.900, 0.010),
    "left_shoulder": (0.103, 0.818, 0.0),
    "left_elbow": (0.103 + 0.186, 0.818, 0.0),
    "left_wrist": (0.103 + 0.186 + 0.146, 0.818, 0.0),
    "left_hand": (0.103 + 0.186 + 0.146 + 0.054, 0.818, 0.0),
}
# The points that smplx selects by name: their joint, and how far from it they are.
_SKIN = {
    "nose": ("head", (0.0, 0.015, 0.060)),
    "leye": ("head", (0.018, 0.036, 0.050)),
    "lear": ("head", (0.042, 0.025, 0.0)),
    "LBigToe": ("left_foot", (-0.012, -0.012, 0.041)),
    "LSmallToe": ("left_foot", (0.022, -0.012, 0.020)),
    "LHeel": ("left_ankle", (0.0, -0.039, -0.038)),
    "lthumb": ("left_hand", (-0.006, 0.0, 0.040)),
    "lindex": ("left_hand", (0.050, 0.0, 0.013)),
    "lmiddle": ("left_hand", (0.054, 0.0, 0.0)),
    "lring": ("left_hand", (0.050, 0.0, -0.013)),
    "lpinky": ("left_hand", (0.040, 0.0, -0.025)),
}
_MIRROR = np.array([-1.0, 1.0, 1.0])
_TETRAHEDRON = 0.02 * np.array([[1.0, 1.0, 1.0], [1.0, -1.0, -1.0], [-1.0, 1.0, -1.0], [-1.0, -1.0, 1.0]])
_FACES = np.array([[0, 1, 2], [0, 3, 1], [0, 2, 3], [1, 3, 2]])


def _both_sides() -> dict[str, tuple[str, NDArray[np.float64]]]:
    points = {name: (joint, np.array(offset)) for name, (joint, offset) in _SKIN.items()}
    for name, (joint, offset) in tuple(points.items()):
        if name != "nose":
            points["rR"[name[0] == "L"] + name[1:]] = (joint.replace("left", "right"), offset * _MIRROR)
    return points


_POINTS = _both_sides()
_CORNERS = len(SMPL_JOINTS) * len(_TETRAHEDRON)
VERTEX_IDS = {name: _CORNERS + index for index, name in enumerate(_POINTS)}
"""The skin points in the mesh, under the names that `smplx` wants."""


def rest_joints(gender: str) -> NDArray[np.float64]:
    """Rest joints `(24, 3)` m of the mean shape: y up, x left, z forward, the pelvis at the origin."""
    points = [
        np.array(_JOINTS[name]) if name in _JOINTS else np.array(_JOINTS[name.replace("right", "left")]) * _MIRROR
        for name in SMPL_JOINTS
    ]
    return STATURE[gender] * (np.array(points) - points[0])


def shape_axes(joints: NDArray[np.float64]) -> NDArray[np.float64]:
    """Displacement of the rest joints `(24, 3)` by one unit of each axis: `(10, 24, 3)` m, as `SHAPE_AXES` says."""
    offsets = joints - np.where(np.array(SMPL_PARENTS)[:, None] < 0, 0.0, joints[np.array(SMPL_PARENTS)])
    side = np.array([("left" in name) - 1.0 * ("right" in name) for name in SMPL_JOINTS])[:, None]
    out, up, forward = np.array([1.0, 0.0, 0.0]) * side, np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, 1.0])

    def at(joints: str, change: ArrayLike) -> NDArray[np.float64]:
        """A change `(3,)` or `(24, 3)` of the offsets of some joints from their parents."""
        chosen = [name.removeprefix("left_").removeprefix("right_") in joints.split() for name in SMPL_JOINTS]
        return np.where(np.array(chosen)[:, None], change, 0.0)

    changes = np.array(
        [
            0.04 * offsets,
            at("knee ankle", 0.03 * offsets),
            at("elbow wrist", 0.03 * offsets),
            at("spine1 spine2 spine3 neck collar", 0.03 * offsets * up),
            at("shoulder", 0.010 * out),
            at("hip", 0.005 * out),
            at("knee", 0.010 * up) - at("ankle", 0.010 * up),
            at("elbow", 0.010 * out) - at("wrist", 0.010 * out),
            at("foot", 0.005 * forward),
            at("head", 0.010 * up),
        ]
    )
    for joint, parent in enumerate(SMPL_PARENTS[1:], start=1):
        changes[:, joint] += changes[:, parent]
    return changes


def model_arrays(gender: str, joints: NDArray[np.float64] | None = None) -> dict[str, NDArray[np.generic]]:
    """The arrays of an SMPL model file, as `pickles.read_body_file` gives them, with 16 shape dimensions.

    Around rest joints `(24, 3)` m of its own, in T-pose with the pelvis at the origin, or those of `gender`.
    """
    joints = rest_joints(gender) if joints is None else joints
    skin = [SMPL_JOINTS.index(joint) for joint, _ in _POINTS.values()]
    owner = np.array([*np.repeat(np.arange(len(joints)), len(_TETRAHEDRON)), *skin])
    around = np.array([*np.tile(_TETRAHEDRON, (len(joints), 1)), *(STATURE[gender] * o for _, o in _POINTS.values())])
    axes = shape_axes(joints)[:, owner]
    axes[SHAPE_AXES.index("stature")] += 0.04 * around
    shapedirs = np.zeros((len(owner), 3, NUM_BETAS))
    shapedirs[..., : len(axes)] = np.moveaxis(axes, 0, -1)
    weights = np.eye(len(joints))[owner]
    return {
        "v_template": joints[owner] + around,
        "shapedirs": shapedirs,
        "posedirs": np.zeros((len(owner), 3, 9 * (len(joints) - 1))),
        "J_regressor": weights.T * (np.arange(len(owner)) < _CORNERS) / len(_TETRAHEDRON),
        "weights": weights,
        "kintree_table": np.array([SMPL_PARENTS, range(len(joints))]),
        "f": (len(_TETRAHEDRON) * np.arange(len(joints))[:, None, None] + _FACES).reshape(-1, 3),
    }
