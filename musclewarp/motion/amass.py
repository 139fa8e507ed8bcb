"""Clips in the layout of AMASS (Mahmood et al., ICCV 2019): one npz with axis-angle poses, translations and betas."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from musclewarp.errors import FileError
from musclewarp.files import write_atomically
from musclewarp.motion import rotations
from musclewarp.motion.motion import GENDERS, NUM_BETAS, SMPL_JOINTS, Motion

LAYOUTS = {72: "SMPL", 156: "SMPL-H", 165: "SMPL-X"}
FPS_KEYS = ("mocap_framerate", "mocap_frame_rate", "fps")
TIME_KEYS = ("time", "times", "timestamps")
FPS_RANGE = (1.0, 10_000.0)
NUM_BODY_JOINTS = 22  # in every layout the pelvis to the wrists; then come SMPL's hands, or fingers and a face
LARGEST_ANGLE = 1e4  # rad; beyond it an axis-angle has lost its digits, or never was one
LARGEST_TRANSLATION = 1e6  # m
LARGEST_TURN = 4 * np.pi  # rad, of a joint from its parent; what is larger was written in degrees
LARGEST_HEIGHT = 20.0  # m; what is larger was written in centimetres or millimetres


def read_amass(path: str | Path) -> Motion:
    """Read an AMASS-layout npz: `poses` `(T, 72 | 156 | 165)` rad, `trans` `(T, 3)` m, z up.

    `betas` (the first 16 are kept) and `gender` are optional. The rate comes from `mocap_framerate`,
    `mocap_frame_rate` or `fps` (Hz), or from timestamps (`time`, s), which must increase uniformly and agree with it.
    The fingers of SMPL-H and SMPL-X are dropped: the hands follow the wrists. No pickle is ever loaded.

    Raises:
        FileError: no such file, not an npz, truncated, in degrees or millimetres, or a key is missing, of a wrong shape
            or kind, or not finite.
    """
    path = Path(path)
    arrays, sha256 = _open(path)
    poses = _numbers(path, arrays, "poses", 2, LARGEST_ANGLE)
    layout = LAYOUTS.get(poses.shape[1])
    if layout is None:
        widths = ", ".join(f"{width} ({name})" for width, name in LAYOUTS.items())
        raise FileError(f"{path}: 'poses' is {poses.shape[1]} wide, expected {widths}")
    if len(poses) == 0:
        raise FileError(f"{path}: empty, 'poses' has no frames")
    trans = _numbers(path, arrays, "trans", 2, LARGEST_TRANSLATION)
    if trans.shape != (len(poses), 3):
        raise FileError(f"{path}: 'trans' has shape {trans.shape}, expected {(len(poses), 3)} as 'poses' has frames")
    _refuse_other_units(path, poses, trans)
    betas = _numbers(path, arrays, "betas", 1)[:NUM_BETAS] if "betas" in arrays else np.zeros(NUM_BETAS)

    joints = len(SMPL_JOINTS) if layout == "SMPL" else NUM_BODY_JOINTS
    local = np.tile(rotations.IDENTITY, (len(poses), len(SMPL_JOINTS), 1))
    local[:, :joints] = rotations.from_rotvec(poses[:, : 3 * joints].reshape(len(poses), joints, 3))
    return Motion(
        name=path.stem,
        rotations=rotations.continuous(local),
        translation=trans,
        fps=_fps(path, arrays, len(poses)),
        betas=betas,
        gender=_gender(path, arrays),
        source={"file": path.name, "sha256": sha256, "layout": layout},
        shape_space="smplx" if layout == "SMPL-X" else "smpl",
    )


def write_amass(path: str | Path, motion: Motion) -> Path:
    """Write a motion that `read_amass` gives back: as SMPL-H or SMPL-X, or as SMPL where the hands are turned.

    The same motion gives the same bytes. The npz says in `source` (JSON) where the motion came from.

    Raises:
        FileError: no layout holds these betas: those of the stand-in, or of SMPL-X with turned hands.
    """
    rotvecs = rotations.to_rotvec(motion.rotations).reshape(motion.num_frames, -1)
    hands = bool(rotvecs[:, 3 * NUM_BODY_JOINTS :].any())
    if motion.shape_space == "smplx" and not hands:
        width = 165
    elif motion.shape_space == "smpl" or not motion.betas.any():
        width = 72 if hands else 156
    else:
        raise FileError(
            f"{path}: no layout holds {'turned hands and ' if hands else ''}betas of {motion.shape_space!r}; "
            "write the motion with betas of zero"
        )
    poses = np.zeros((motion.num_frames, width))
    poses[:, : rotvecs.shape[1]] = rotvecs
    arrays: dict[str, Any] = {
        "poses": poses,
        "trans": motion.translation,
        "betas": motion.betas,
        "gender": np.array(motion.gender),
        "mocap_framerate": np.array(motion.fps),
        "source": np.array(json.dumps(dict(motion.source), sort_keys=True)),
    }

    def write(temporary: Path) -> None:
        with open(temporary, "wb") as file:
            np.savez_compressed(file, **arrays)

    return write_atomically(path, write)


def _open(path: Path) -> tuple[NpzFile, str]:
    if path.is_dir():
        raise FileError(f"{path}: a folder, expected an AMASS npz file")
    if not path.is_file():
        raise FileError(f"{path}: no such file")
    data = path.read_bytes()
    try:
        arrays = np.load(io.BytesIO(data), allow_pickle=False)
    except Exception as error:  # zipfile, zlib and numpy raise a dozen kinds on broken bytes
        raise FileError(f"{path}: not an npz file, or truncated ({_reason(error)})") from error
    if not isinstance(arrays, NpzFile):
        raise FileError(f"{path}: a single array, expected an AMASS npz with 'poses', 'trans' and a frame rate")
    return arrays, hashlib.sha256(data).hexdigest()


def _array(path: Path, arrays: NpzFile, key: str) -> NDArray[np.generic]:
    if key not in arrays:
        raise FileError(
            f"{path}: no '{key}', expected an AMASS npz; it has {', '.join(arrays.files[:20]) or 'nothing'}"
        )
    try:
        array = arrays[key]
    except Exception as error:  # as above, and ValueError for a pickle
        raise FileError(
            f"{path}: '{key}' cannot be read: truncated, or a pickled object, which is never loaded ({_reason(error)})"
        ) from error
    if not isinstance(array, np.ndarray):  # a zip member that is not an npy file comes as bytes
        raise FileError(f"{path}: '{key}' is not an array")
    return array


def _numbers(path: Path, arrays: NpzFile, key: str, ndim: int, limit: float = np.inf) -> NDArray[np.float64]:
    array = _array(path, arrays, key)
    if array.dtype.kind not in "fiu":
        raise FileError(f"{path}: '{key}' has dtype {array.dtype}, expected real numbers")
    if ndim == 1 and array.ndim == 2 and len(array) == 1:  # betas are often kept as a batch of one
        array = array[0]
    if array.ndim != ndim:
        raise FileError(f"{path}: '{key}' has shape {array.shape}, expected {ndim} dimensions")
    with np.errstate(over="ignore"):
        numbers = array.astype(np.float64)
    wrong = ~(np.abs(numbers) < limit)
    if wrong.any():
        place = tuple(int(index) for index in np.argwhere(wrong)[0])
        where = f"at {place}"
        if key == "poses":
            joint = place[1] // 3
            where = f"in frame {place[0]}, joint {joint}"
            where += f" ({SMPL_JOINTS[joint]})" if joint < NUM_BODY_JOINTS else ""
        elif key == "trans":
            where = f"in frame {place[0]}"
        raise FileError(
            f"{path}: '{key}' is {numbers[place]} {where}, expected a finite number, its size below {limit:g}"
        )
    return numbers


def _refuse_other_units(path: Path, poses: NDArray[np.float64], trans: NDArray[np.float64]) -> None:
    # without the pelvis: that of a person who spins may have been unwrapped
    turns = np.linalg.norm(poses[:, 3 : 3 * NUM_BODY_JOINTS].reshape(len(poses), NUM_BODY_JOINTS - 1, 3), axis=-1)
    if turns.max() > LARGEST_TURN:
        frame, joint = np.unravel_index(turns.argmax(), turns.shape)
        raise FileError(
            f"{path}: {SMPL_JOINTS[joint + 1]} is turned by {turns.max():.4g} rad in frame {frame}, which looks like "
            "degrees; convert 'poses' to radians"
        )
    height = np.abs(trans[:, 2])
    if height.max() > LARGEST_HEIGHT:
        raise FileError(
            f"{path}: the root is {trans[height.argmax(), 2]:.4g} m high in frame {int(height.argmax())}, which looks "
            "like millimetres or centimetres; convert 'trans' to metres"
        )


def _fps(path: Path, arrays: NpzFile, frames: int) -> float:
    rates = {key: _scalar(path, arrays, key) for key in FPS_KEYS if key in arrays}
    for key in TIME_KEYS:
        if key in arrays:
            rates |= _rate_of_times(path, key, _numbers(path, arrays, key, 1), frames)
    if not rates:
        raise FileError(f"{path}: no frame rate, expected 'mocap_framerate' (Hz) or 'time' (s)")
    for key, rate in rates.items():
        if not FPS_RANGE[0] <= rate <= FPS_RANGE[1]:
            raise FileError(
                f"{path}: '{key}' gives {rate} frames per second, expected {FPS_RANGE[0]} to {FPS_RANGE[1]}"
            )
    fps = next(iter(rates.values()))
    if any(abs(rate / fps - 1) > 0.01 for rate in rates.values()):
        raise FileError(f"{path}: frame rates disagree: {', '.join(f'{key} {rate:g}' for key, rate in rates.items())}")
    return fps


def _rate_of_times(path: Path, key: str, times: NDArray[np.float64], frames: int) -> dict[str, float]:
    if len(times) != frames:
        raise FileError(f"{path}: '{key}' has {len(times)} entries, 'poses' has {frames} frames")
    if frames == 1:
        return {}
    backward = np.flatnonzero(~(np.diff(times) > 0))
    if backward.size:
        raise FileError(f"{path}: '{key}' does not increase after frame {backward[0]}")
    # one lost frame displaces some time by half a step or more, rounding to milliseconds by far less
    with np.errstate(over="ignore", invalid="ignore"):
        step = (times[-1] - times[0]) / (frames - 1)
        off = np.abs(times - times[0] - step * np.arange(frames)) / step
    if not off.max() < 0.25:
        raise FileError(f"{path}: '{key}' is not uniform (frame {np.argmax(off)} is off by {off.max():.2g} frames)")
    return {key: float(1 / step)}


def _scalar(path: Path, arrays: NpzFile, key: str) -> float:
    array = _array(path, arrays, key)
    if array.size != 1 or array.dtype.kind not in "fiu":
        raise FileError(f"{path}: '{key}' has shape {array.shape} and dtype {array.dtype}, expected one number")
    return float(array.reshape(())[()])


def _gender(path: Path, arrays: NpzFile) -> str:
    if "gender" not in arrays:
        return "neutral"
    array = _array(path, arrays, "gender")
    if array.size != 1 or array.dtype.kind not in "SU":
        raise FileError(f"{path}: 'gender' has shape {array.shape} and dtype {array.dtype}, expected one word")
    try:
        value = array.reshape(-1)[0]
        gender = (value.decode("latin1") if isinstance(value, bytes) else str(value)).strip().lower()
    except Exception as error:  # forged bytes need not be characters
        raise FileError(f"{path}: 'gender' is not text ({_reason(error)})") from error
    if gender not in GENDERS:
        raise FileError(f"{path}: 'gender' is {gender[:40]!r}, expected one of {', '.join(GENDERS)}")
    return gender


def _reason(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]
