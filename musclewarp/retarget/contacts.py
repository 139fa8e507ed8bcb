"""When a recorded person's feet stand on the floor, and where that floor is, from the SMPL joints alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

from musclewarp.errors import ConfigError, FileError
from musclewarp.motion.motion import SMPL_JOINTS

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
SIDES = ("left", "right")
_TOES, _HEELS = ([SMPL_JOINTS.index(f"{side}_{joint}") for side in SIDES] for joint in ("foot", "ankle"))


@dataclass(frozen=True)
class ContactConfig:
    """What counts as contact; the default is the plain published definition (GMR-Fit's).

    Attributes:
        height: m that a joint may be above its usual lowest height.
        percentile: of the joint's heights over the clip, in percent, that is its usual lowest.
        speed: m/s that a joint in contact may have.
        release_height: m above which a contact ends once it has begun; None: `height`, no hysteresis.
        release_speed: m/s above which a contact ends once it has begun; None: `speed`.
        debounce: s; shorter gaps within a contact are closed, and then shorter contacts dropped.

    Raises:
        ConfigError: a number is out of its range.
    """

    height: float = 0.030
    percentile: float = 2.0
    speed: float = 0.40
    release_height: float | None = None
    release_speed: float | None = None
    debounce: float = 0.0

    def __post_init__(self) -> None:
        for name, least in (
            ("height", 0.0),
            ("speed", 0.0),
            ("debounce", 0.0),
            ("release_height", self.height),
            ("release_speed", self.speed),
        ):
            value = getattr(self, name)
            if value is not None and not least <= value < np.inf:
                raise ConfigError(f"contacts.{name} is {value}; choose a number of at least {least:g}")
        if not 0 <= self.percentile <= 100:
            raise ConfigError(f"contacts.percentile is {self.percentile}; choose one in [0, 100]")


@dataclass(frozen=True, eq=False)
class FootContacts:
    """Which parts of the feet stand, over T frames; columns are `SIDES`: left, right.

    Attributes:
        toe: `(T, 2)`, by SMPL's foot joint, the ball of the foot.
        heel: `(T, 2)`, by the ankle joint.
        toe_level: `(2,)` m, the usual lowest height of each foot joint.
        heel_level: `(2,)` m, of each ankle.
        floor: m, the height at which foot joints stand: the median while they do, or the lower `toe_level` if neither
            ever does. The sole lies below by as much as the body's foot is thick there.
        fps: frames per second.
    """

    toe: Bools
    heel: Bools
    toe_level: Floats
    heel_level: Floats
    floor: float
    fps: float

    @property
    def foot(self) -> Bools:
        """`(T, 2)`: toe or heel."""
        return self.toe | self.heel

    def at(self, times: Floats) -> FootContacts:
        """The labels of the frames nearest to `times (T',)` s from the first frame, at their rate."""
        frames = np.clip(np.round(times * self.fps).astype(int), 0, len(self.toe) - 1)
        rate = self.fps if len(times) < 2 else 1.0 / float(times[1] - times[0])
        return FootContacts(self.toe[frames], self.heel[frames], self.toe_level, self.heel_level, self.floor, rate)


def foot_contacts(positions: Floats, fps: float, config: ContactConfig | None = None) -> FootContacts:
    """Label the feet of a recording.

    Args:
        positions: of the joints, in the order of `SMPL_JOINTS`, `(T, 24, 3)` m, z up.
        fps: frames per second, at which speeds are central differences.
        config: thresholds.

    Raises:
        FileError: fewer than two frames, so that nothing has a speed.
    """
    config = config or ContactConfig()
    if len(positions) < 2:
        raise FileError(f"{len(positions)} frames have no foot contacts; speeds need at least two")
    toe, toe_level = _labels(positions[:, _TOES], fps, config)
    heel, heel_level = _labels(positions[:, _HEELS], fps, config)
    standing = positions[:, _TOES, 2][toe]
    floor = float(np.median(standing) if len(standing) else toe_level.min())
    return FootContacts(toe, heel, toe_level, heel_level, floor, fps)


def _labels(joints: Floats, fps: float, config: ContactConfig) -> tuple[Bools, Floats]:
    """Of `joints (T, K, 3)`: contact `(T, K)`, and usual lowest heights `(K,)`."""
    level = np.percentile(joints[..., 2], config.percentile, axis=0)
    height = joints[..., 2] - level
    speed = np.linalg.norm(np.gradient(joints, 1.0 / fps, axis=0), axis=-1)
    begins = (height < config.height) & (speed < config.speed)
    release_height, release_speed = config.release_height, config.release_speed
    lasts = (height < (config.height if release_height is None else release_height)) & (
        speed < (config.speed if release_speed is None else release_speed)
    )
    frame = np.arange(len(joints))[:, None]
    last_begin = np.maximum.accumulate(np.where(begins, frame, -1))
    last_end = np.maximum.accumulate(np.where(lasts, -1, frame))
    return _debounced(last_begin > last_end, round(config.debounce * fps)), level


def _debounced(contact: Bools, frames: int) -> Bools:
    """`contact (T, K)` with gaps shorter than `frames` closed, then contacts shorter than that dropped.

    The clip is taken to have been going on as it begins and ends.
    """
    if frames < 2:
        return contact
    line, pad = np.ones((frames, 1), bool), 2 * frames
    padded = np.pad(contact, ((pad, pad), (0, 0)), mode="edge")
    padded = scipy.ndimage.binary_opening(scipy.ndimage.binary_closing(padded, line), line)
    return np.asarray(padded[pad:-pad], dtype=np.bool_)
