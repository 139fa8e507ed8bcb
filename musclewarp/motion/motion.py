"""`Motion`: what a person did, as joint rotations and root translation of the 24-joint SMPL skeleton."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from musclewarp.errors import FileError

SMPL_JOINTS = (
    "pelvis",
    "left_hip",
    "right_hip",
    "spine1",
    "left_knee",
    "right_knee",
    "spine2",
    "left_ankle",
    "right_ankle",
    "spine3",
    "left_foot",
    "right_foot",
    "neck",
    "left_collar",
    "right_collar",
    "head",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
    "left_hand",
    "right_hand",
)
SMPL_PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21)
GENDERS = ("male", "female", "neutral")
NUM_BETAS = 16
UNIT_TOLERANCE = 1e-6


@dataclass(frozen=True, eq=False)
class Motion:
    """A recording on the SMPL skeleton. The arrays are float64 copies that nobody can write to.

    By hand, somebody who stands and raises the left arm sideways for a second:

    >>> import numpy as np
    >>> from musclewarp.motion import rotations
    >>> turns = np.tile(rotations.IDENTITY, (51, 24, 1))
    >>> turns[:, 0] = rotations.from_rotvec([np.pi / 2, 0, 0])  # upright in a world with z up, facing -y
    >>> lowered = np.pi / 2 * np.linspace(-1, 0, 51)  # rad; the rest posture is a T-pose
    >>> turns[:, SMPL_JOINTS.index("left_shoulder")] = rotations.from_rotvec(lowered[:, None] * [0, 0, 1])
    >>> Motion("raise", turns, translation=np.zeros((51, 3)), fps=50.0).duration
    1.0

    Attributes:
        name: of the clip.
        rotations: `(T, 24, 4)` unit quaternions wxyz, each joint relative to its parent in the order of `SMPL_JOINTS`;
            the pelvis relative to the z-up world (SMPL's own rest frame is y up, x left, z forward).
        translation: `(T, 3)` m, SMPL's `trans`: added to the joints after they are posed about the rest pelvis.
        fps: frames per second.
        betas: up to 16 shape coefficients, in the space named by `shape_space`.
        gender: 'male', 'female' or 'neutral'.
        source: provenance (file name, sha256, layout, ...).
        shape_space: whose betas these are: 'smpl' (SMPL and SMPL-H), 'smplx', 'stand-in' or 'deepmimic'.

    Raises:
        FileError: a shape is wrong, a number is not finite, a quaternion is not unit (naming frame and joint),
            fps is not positive, or the gender is unknown.
    """

    name: str
    rotations: NDArray[np.float64]
    translation: NDArray[np.float64]
    fps: float
    betas: NDArray[np.float64] = field(default_factory=lambda: np.zeros(NUM_BETAS))
    gender: str = "neutral"
    source: Mapping[str, str] = field(default_factory=dict[str, str])
    shape_space: str = "smpl"

    def __post_init__(self) -> None:
        for key in ("rotations", "translation", "betas"):
            array = np.array(getattr(self, key), dtype=np.float64)
            array.flags.writeable = False
            object.__setattr__(self, key, array)
        object.__setattr__(self, "fps", float(self.fps))
        object.__setattr__(self, "source", dict(self.source))
        self._check()

    def _check(self) -> None:
        frames = self.rotations.shape[0] if self.rotations.ndim else 0
        if self.rotations.shape != (frames, len(SMPL_JOINTS), 4) or frames == 0:
            raise self._error(f"rotations have shape {self.rotations.shape}, expected (T > 0, 24, 4)")
        if self.translation.shape != (frames, 3):
            raise self._error(f"translation has shape {self.translation.shape}, expected ({frames}, 3)")
        if self.betas.ndim != 1 or self.betas.size > NUM_BETAS or not np.isfinite(self.betas).all():
            raise self._error(f"betas have shape {self.betas.shape}, expected at most {NUM_BETAS} finite numbers")
        if not (np.isfinite(self.fps) and self.fps > 0):
            raise self._error(f"fps is {self.fps}, expected a positive number")
        if self.gender not in GENDERS:
            raise self._error(f"gender is {self.gender!r}, expected one of {', '.join(GENDERS)}")
        with np.errstate(over="ignore"):
            # written so that NaN is not unit
            wrong = ~(np.abs(np.linalg.norm(self.rotations, axis=-1) - 1) <= UNIT_TOLERANCE)
        if wrong.any():
            frame, joint = np.argwhere(wrong)[0]
            what = f"rotation of {SMPL_JOINTS[joint]} in frame {frame} is {self.rotations[frame, joint]}"
            raise self._error(f"{what}, expected a unit quaternion")
        wrong = ~np.isfinite(self.translation).all(axis=-1)
        if wrong.any():
            frame = int(np.argmax(wrong))
            raise self._error(f"translation in frame {frame} is {self.translation[frame]}, expected finite metres")

    def _error(self, what: str) -> FileError:
        return FileError(f"motion {self.name!r}: {what}")

    @property
    def num_frames(self) -> int:
        """T."""
        return self.rotations.shape[0]

    @property
    def duration(self) -> float:
        """Seconds from the first frame to the last: `(T - 1) / fps`."""
        return (self.num_frames - 1) / self.fps

    def clip(self, start: int, end: int) -> Motion:
        """The frames `start` to `end - 1` as a motion of their own.

        Raises:
            FileError: not `0 <= start < end <= T`.
        """
        if not 0 <= start < end <= self.num_frames:
            raise self._error(f"frames {start} to {end} asked for, it has 0 to {self.num_frames}")
        return replace(self, rotations=self.rotations[start:end], translation=self.translation[start:end])
