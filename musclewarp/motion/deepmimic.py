"""Clips of DeepMimic's `humanoid3d` (Peng et al. 2018, ACM Trans Graph 37:143): JSON, y up, 13 joints.

Its joints become those of SMPL that they are named after, and the other joints of SMPL are stiff. Its arms hang at
rest and SMPL's are stretched sideways: each arm's rotations are taken from there, so that the same posture comes out.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musclewarp.errors import FileError
from musclewarp.motion import rotations
from musclewarp.motion.motion import SMPL_JOINTS, SMPL_PARENTS, Motion

SHAPE_SPACE = "deepmimic"
FRAME_WIDTH = 44
FPS_RANGE = (1.0, 1_000.0)
LARGEST_POSITION = 1e3  # m, of the root; clips in centimetres stay below it, and are told by their height
LARGEST_HEIGHT = 10.0  # m
LARGEST_ANGLE = 2 * np.pi  # rad, of a knee or an elbow
QUATERNION_LENGTH = (0.5, 1.5)  # hand-edited clips have unnormalised ones, kick down to 0.58

# Where a frame has what; DeepMimicCore/anim/KinTree: duration (s), root position (m), quaternions wxyz, angles (rad).
_QUATERNIONS = {
    "pelvis": 4, "spine1": 8, "neck": 12, "right_hip": 16, "right_ankle": 21, "right_shoulder": 25,
    "left_hip": 30, "left_ankle": 35, "left_shoulder": 39,
}  # fmt: skip
_HINGES = {"right_knee": 20, "right_elbow": 29, "left_knee": 34, "left_elbow": 43}

# Each joint from its parent in m, in T-pose and SMPL's frame (x left, y up, z forward; DeepMimic's own has x forward
# and z right). Published ("AttachX, Y, Z" in data/characters/humanoid3d.txt): hips, knees, ankles, chest (spine1), neck
# and shoulders from the chest, elbows, wrists. Ours: the points between them, and head, hands and balls of the feet.
_OFFSETS = {
    "spine1": (0.0, 0.236151, 0.0),
    "spine2": (0.0, 0.075, 0.0),
    "spine3": (0.0, 0.075, 0.0),
    "neck": (0.0, 0.073894, 0.0),
    "head": (0.0, 0.09, 0.0),
    "left_hip": (0.084887, 0.0, 0.0),
    "left_knee": (0.0, -0.421546, 0.0),
    "left_ankle": (0.0, -0.409870, 0.0),
    "left_foot": (0.0, -0.03, 0.09),
    "left_collar": (0.05, 0.05, 0.0),
    "left_shoulder": (0.13311, 0.0435, -0.02405),
    "left_elbow": (0.274788, 0.0, 0.0),
    "left_wrist": (0.258947, 0.0, 0.0),
    "left_hand": (0.08, 0.0, 0.0),
}
_UP = rotations.from_rotvec([np.pi / 2, 0.0, 0.0])  # from DeepMimic's y-up world to one with z up
_FROM_SMPL = rotations.from_rotvec([0.0, np.pi / 2, 0.0])  # from SMPL's rest frame to DeepMimic's
_LOWERED = {  # the arm, from stretched sideways to hanging
    "left": rotations.from_rotvec([0.0, 0.0, -np.pi / 2]),
    "right": rotations.from_rotvec([0.0, 0.0, np.pi / 2]),
}


def rest_joints() -> NDArray[np.float64]:
    """DeepMimic's rest joints `(24, 3)` m on SMPL's skeleton, in SMPL's frame and T-pose, the pelvis at the origin."""
    joints = np.zeros((len(SMPL_JOINTS), 3))
    for joint, name in enumerate(SMPL_JOINTS[1:], start=1):
        mirror = np.array([-1.0, 1.0, 1.0]) if name.startswith("right") else np.ones(3)
        joints[joint] = joints[SMPL_PARENTS[joint]] + mirror * _OFFSETS[name.replace("right", "left")]
    return joints


def read_deepmimic(path: str | Path) -> Motion:
    """Read a `humanoid3d` clip: JSON with `Frames`, 44 numbers each, and `Loop` ("wrap" or "none").

    The motion is one of the body that `load_body(kind="deepmimic")` gives; `source["loop"]` says whether it is
    periodic. Quaternions are normalised, as DeepMimic does.

    Raises:
        FileError: no such file, not JSON, truncated, of another character, in other units, or of uneven frame rate;
            it names the frame and the joint.
    """
    path = Path(path)
    content, sha256 = _load(path)
    frames = _numbers(path, content)
    local = np.tile(rotations.IDENTITY, (len(frames), len(SMPL_JOINTS), 1))
    back = rotations.conjugate(_FROM_SMPL)
    for name, start in _QUATERNIONS.items():
        turn = _quaternions(path, name, frames[:, start : start + 4])
        local[:, SMPL_JOINTS.index(name)] = rotations.multiply(rotations.multiply(back, turn), _FROM_SMPL)
    for name, column in _HINGES.items():
        # about z, to the right, which is -x in SMPL's frame
        angle = _within(path, name, frames[:, column], LARGEST_ANGLE, "rad")
        local[:, SMPL_JOINTS.index(name)] = rotations.from_rotvec(angle[:, None] * [-1.0, 0.0, 0.0])
    for side, lowered in _LOWERED.items():
        shoulder, elbow = (SMPL_JOINTS.index(f"{side}_{joint}") for joint in ("shoulder", "elbow"))
        local[:, shoulder] = rotations.multiply(local[:, shoulder], lowered)
        bent = rotations.multiply(local[:, elbow], lowered)
        local[:, elbow] = rotations.multiply(rotations.conjugate(lowered), bent)
    # DeepMimic's world too is turned: its pelvis faces x
    local[:, 0] = rotations.multiply(rotations.multiply(_UP, _FROM_SMPL), local[:, 0])
    position = _within(path, "root position", frames[:, 1:4], LARGEST_POSITION, "m")
    _within(path, "root height", frames[:, 2], LARGEST_HEIGHT, "m")
    return Motion(
        name=path.stem,
        rotations=rotations.continuous(rotations.normalize(local)),
        translation=rotations.rotate(_UP, position),
        fps=_fps(path, frames[:, 0]),
        source={"file": path.name, "sha256": sha256, "layout": "DeepMimic humanoid3d", "loop": _loop(path, content)},
        shape_space=SHAPE_SPACE,
    )


def _load(path: Path) -> tuple[dict[str, Any], str]:
    if not path.is_file():
        raise FileError(f"{path}: {'a folder' if path.is_dir() else 'no such file'}, expected a DeepMimic clip")
    data = path.read_bytes()
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:  # also of bytes that are not UTF-8, and of brackets without end
        raise FileError(f"{path}: not JSON, or truncated ({error})") from error
    if not isinstance(content, dict) or not isinstance(content.get("Frames"), list):
        raise FileError(f"{path}: no list 'Frames', expected a DeepMimic clip")
    return content, hashlib.sha256(data).hexdigest()


def _numbers(path: Path, content: dict[str, Any]) -> NDArray[np.float64]:
    frames = content["Frames"]
    if not frames:
        raise FileError(f"{path}: empty, 'Frames' has no frames")
    for index, frame in enumerate(frames):
        if not isinstance(frame, list) or len(frame) != FRAME_WIDTH:
            found = f"{len(frame)} numbers" if isinstance(frame, list) else type(frame).__name__
            raise FileError(f"{path}: frame {index} is {found}, expected the {FRAME_WIDTH} numbers of humanoid3d")
        if any(not isinstance(number, (int, float)) or isinstance(number, bool) for number in frame):
            raise FileError(f"{path}: frame {index} holds something else than numbers")
    try:
        numbers = np.array(frames, dtype=np.float64)
    except OverflowError as error:  # JSON's integers have no end
        raise FileError(f"{path}: a number in 'Frames' is beyond double precision") from error
    wrong = ~np.isfinite(numbers)
    if wrong.any():
        frame, column = np.argwhere(wrong)[0]
        raise FileError(f"{path}: number {column} of frame {frame} is {numbers[frame, column]}, expected a finite one")
    return numbers


def _quaternions(path: Path, name: str, given: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(over="ignore"):
        length = np.linalg.norm(given, axis=-1)
    low, high = QUATERNION_LENGTH
    wrong = ~((low <= length) & (length <= high))
    if wrong.any():
        frame = int(np.argmax(wrong))
        raise FileError(
            f"{path}: the quaternion of {name} in frame {frame} has length {length[frame]:.3g}, expected about 1"
        )
    return rotations.normalize(given)


def _within(path: Path, what: str, given: NDArray[np.float64], limit: float, unit: str) -> NDArray[np.float64]:
    wrong = (np.abs(given) > limit).reshape(len(given), -1).any(axis=1)
    if wrong.any():
        frame = int(np.argmax(wrong))
        raise FileError(f"{path}: {what} in frame {frame} is {given[frame]}, expected {unit}, at most {limit:.4g}")
    return given


def _fps(path: Path, durations: NDArray[np.float64]) -> float:
    """From the durations of all frames but the last, which leads nowhere and is often 0."""
    durations = durations[:-1] if len(durations) > 1 else durations
    low, high = FPS_RANGE
    step = float(np.median(durations))
    if not 1 / high <= step <= 1 / low:
        raise FileError(f"{path}: frames last {step} s, expected {1 / high:g} to {1 / low:g}")
    uneven = np.abs(durations / step - 1) > 0.01
    if uneven.any():
        frame = int(np.argmax(uneven))
        raise FileError(f"{path}: frame {frame} lasts {durations[frame]} s, the others {step}; resample it evenly")
    return 1 / step


def _loop(path: Path, content: dict[str, Any]) -> str:
    loop = content.get("Loop", "none")
    if loop not in ("wrap", "none"):
        raise FileError(f"{path}: 'Loop' is {str(loop)[:40]!r}, expected 'wrap' or 'none'")
    return loop
