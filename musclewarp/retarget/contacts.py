"""When a recorded person's feet and hands stand on the floor, and where that floor is, from the SMPL joints alone."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

from musclewarp.errors import ConfigError, FileError, require
from musclewarp.motion.motion import SMPL_JOINTS

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
SIDES = ("left", "right")
LIMBS = ("left_foot", "right_foot", "left_hand", "right_hand")  # what a person can stand on
CARRYING_HEIGHT = 0.10  # m over which what carries the body comes to do so
_TOES, _HEELS, _HANDS, _WRISTS = (
    [SMPL_JOINTS.index(f"{side}_{joint}") for side in SIDES] for joint in ("foot", "ankle", "hand", "wrist")
)
_FLOOR_NOISE = 0.010  # m by which the balls of standing feet differ in height
_STEEPEST = np.tan(np.radians(3.0))  # slope of a floor that a calibration may have tilted
_STRAIGHT = 0.8  # correlation of height and way of footfalls that climb
_FLOOR_LEVER = 0.35  # m around the middle of the way up to which the floor is taken to be level


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
        require(self, "contacts.percentile", 0 <= self.percentile <= 100, "choose one in [0, 100]")


# once begun, a contact lasts until it is clearly over, so that postures are not drawn to the floor and let go in turns
STEADY = ContactConfig(release_height=0.045, release_speed=0.60, debounce=0.06)


@dataclass(frozen=True, eq=False)
class Contacts:
    """Which parts of the body stand, over T frames; columns are `SIDES`: left, right.

    Attributes:
        toe: `(T, 2)`, by SMPL's foot joint, the ball of the foot.
        heel: `(T, 2)`, by the ankle joint.
        hand: `(T, 2)`, by the hand joint or the wrist.
    """

    toe: Bools
    heel: Bools
    hand: Bools

    @property
    def foot(self) -> Bools:
        """`(T, 2)`: toe or heel."""
        return self.toe | self.heel

    @property
    def limbs(self) -> Bools:
        """`(T, 4)`: which of `LIMBS` stand."""
        return np.concatenate((self.foot, self.hand), axis=1)


def find_contacts(positions: Floats, fps: float, config: ContactConfig | None = None) -> Contacts:
    """Label the feet and hands of a recording.

    The lowest that toes and ankles usually are is the floor to them. To hands, which mostly hang, it is where the balls
    of the feet stand (the median of their labelled heights, or the lower one's usual lowest).

    Args:
        positions: of the joints, in the order of `SMPL_JOINTS`, `(T, 24, 3)` m, z up.
        fps: frames per second, at which speeds are central differences.
        config: thresholds.

    Raises:
        FileError: fewer than two frames, so that nothing has a speed.
    """
    config = config or ContactConfig()
    if len(positions) < 2:
        raise FileError(f"{len(positions)} frames have no contacts; speeds need at least two")
    lowest = np.percentile(positions[..., 2], config.percentile, axis=0)
    toe, heel = (_labels(positions[:, part], lowest[part], fps, config) for part in (_TOES, _HEELS))
    standing = positions[:, _TOES, 2][toe]
    floor = np.median(standing) if len(standing) else lowest[_TOES].min()
    hand, wrist = (_labels(positions[:, part], floor, fps, config) for part in (_HANDS, _WRISTS))
    return Contacts(toe, heel, hand | wrist)


def floor_heights(positions: Floats, fps: float, places: Floats) -> Floats:
    """Height `(...,)` m of a recording's floor at the `places (..., 2)` m: where the balls of its feet stand.

    The floor is a plane, for calibrations of recordings tilt it (CMU's subjects 2, 7 and 8 walk up by 1.1 degrees). It
    is fitted to the lower foot of each frame in which that is slower than 0.4 m/s, with a Cauchy loss of 1 cm
    (iteratively reweighted), for not all that is slow stands; what the feet are too close together to tell is level.
    No calibration is off by more than 3 degrees: where feet climb more steeply, over stairs or a ramp, that is warned
    of, and the plane rises by no more.

    Args:
        positions: of the joints, in the order of `SMPL_JOINTS`, `(T, 24, 3)` m, z up; T >= 2.
        fps: frames per second.
        places: horizontal coordinates.
    """
    steepest = floor_slope(positions, fps)
    if np.tan(steepest) > _STEEPEST:
        warnings.warn(  # in whole degrees, for at another rate the same recording rises as much and is told of once
            f"the feet rise at {np.degrees(steepest):.0f} degrees, as on stairs or a ramp, which are not retargeted: "
            "the floor is flat, and feet will float or sink",
            stacklevel=2,
        )
    height, middle, slope = _floor_plane(positions, fps)
    return height + (places - middle) @ slope * min(1.0, _STEEPEST / max(float(np.hypot(*slope)), 1e-9))


def floor_slope(positions: Floats, fps: float) -> float:
    """By how many rad the floor of a recording is tilted, or its way leads up, as its feet tell (see `floor_heights`).

    What is steep is not found by the plane, to which feet at other heights are outliers, but by the footfalls.
    """
    return max(float(np.arctan(np.hypot(*_floor_plane(positions, fps)[2]))), _climb(_footfalls(positions, fps)))


def _footfalls(positions: Floats, fps: float) -> Floats:
    """Where the lower foot is slow for a tenth of a second or more: median places of its ball `(K, 3)` m."""
    toes = positions[:, _TOES]
    lower = toes[..., 2] <= toes[..., 2].min(axis=1, keepdims=True) + _FLOOR_NOISE
    slow = np.linalg.norm(np.gradient(toes, 1.0 / fps, axis=0), axis=-1) < ContactConfig.speed
    places = [np.empty((0, 3))]
    for foot, stands in enumerate((slow & lower).T):
        found: Any = scipy.ndimage.label(stands)
        labels, count = found
        falls = (toes[labels == k, foot] for k in range(1, count + 1))
        places += [np.median(fall, axis=0)[None] for fall in falls if len(fall) >= 0.1 * fps]
    return np.concatenate(places)


def _climb(places: Floats) -> float:
    """The slope in rad of the way through footfalls `(K, 3)` that rise, or fall, along a line; 0 where they do not.

    That takes three heights: one who lies down has the feet at two.
    """
    heights = np.sort(places[:, 2])
    if (np.diff(heights) > 2 * _FLOOR_NOISE).sum() < 2:
        return 0.0
    way = places[:, :2] - places[:, :2].mean(axis=0)
    along = way @ np.linalg.svd(way, full_matrices=False)[2][0]
    if np.ptp(along) < _FLOOR_LEVER or abs(np.corrcoef(along, places[:, 2])[0, 1]) < _STRAIGHT:
        return 0.0
    return float(np.arctan(abs(np.polyfit(along, places[:, 2], 1)[0])))


def _floor_plane(positions: Floats, fps: float) -> tuple[float, Floats, Floats]:
    """Its height in m at a place `(2,)` in m, that place, and its slope `(2,)`."""
    toes = positions[:, _TOES]
    slow = np.linalg.norm(np.gradient(toes, 1.0 / fps, axis=0), axis=-1) < ContactConfig.speed
    frame, lower = np.arange(len(toes)), toes[..., 2].argmin(axis=1)
    chosen = slow[frame, lower]
    points = toes[frame, lower][chosen if chosen.any() else slice(None)]
    middle = points[:, :2].mean(axis=0)
    terms = np.column_stack((np.ones(len(points)), points[:, :2] - middle))
    plane = np.array([np.median(points[:, 2]), 0.0, 0.0])
    for _ in range(50):
        off = (points[:, 2] - terms @ plane) / _FLOOR_NOISE
        weighted = terms.T / (1.0 + off**2)
        level = np.diag([0.0, 1.0, 1.0]) * weighted[0].sum() * _FLOOR_LEVER**2
        before, plane = plane, np.linalg.solve(weighted @ terms + level, weighted @ points[:, 2])
        if np.abs(plane - before).max() < 1e-6:
            break
    return float(plane[0]), middle, plane[1:]


def _labels(joints: Floats, level: Floats | float, fps: float, config: ContactConfig) -> Bools:
    """Contact `(T, K)` of `joints (T, K, 3)` with a floor at `level (K,)`."""
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
    return _debounced(last_begin > last_end, round(config.debounce * fps))


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
