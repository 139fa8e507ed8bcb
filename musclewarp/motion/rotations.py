"""Rotations as wxyz quaternions: float64 arrays `(..., 4)`, a quaternion and its negative being the same rotation.

Every function broadcasts over the leading axes. Angles are radians. Functions that take quaternions expect unit ones.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

IDENTITY: Floats = np.array([1.0, 0.0, 0.0, 0.0])
IDENTITY.flags.writeable = False


def normalize(quaternion: ArrayLike) -> Floats:
    """Scale to unit length `(..., 4)`; a zero quaternion gives NaN, so that it cannot pass for a rotation."""
    quaternion = np.asarray(quaternion, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        return quaternion / np.linalg.norm(quaternion, axis=-1, keepdims=True)


def from_rotvec(rotvec: ArrayLike) -> Floats:
    """Rotation vectors `(..., 3)`, axis times angle, to quaternions `(..., 4)`."""
    rotvec = np.asarray(rotvec, dtype=np.float64)
    half = np.linalg.norm(rotvec, axis=-1, keepdims=True) / 2
    # np.sinc(x) is sin(pi x) / (pi x): finite at the identity
    return np.concatenate([np.cos(half), rotvec / 2 * np.sinc(half / np.pi)], axis=-1)


def to_rotvec(quaternion: ArrayLike) -> Floats:
    """Quaternions `(..., 4)` to the shortest rotation vectors `(..., 3)`, of length at most pi."""
    quaternion = np.asarray(quaternion, dtype=np.float64)
    quaternion = np.where(quaternion[..., :1] < 0, -quaternion, quaternion)
    vector = quaternion[..., 1:]
    sine = np.linalg.norm(vector, axis=-1, keepdims=True)
    angle = 2 * np.arctan2(sine, quaternion[..., :1])
    return vector * np.divide(angle, sine, out=np.full_like(sine, 2.0), where=sine > 1e-100)


def from_matrix(matrix: ArrayLike) -> Floats:
    """Rotation matrices `(..., 3, 3)` to quaternions `(..., 4)` with `w >= 0`.

    Of the four ways to divide, that with the largest divisor is taken (Shepperd 1978, J. Guidance and Control 1:223).
    """
    m = np.asarray(matrix, dtype=np.float64)
    xx, yy, zz = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    wx, wy, wz = m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]
    xy, xz, yz = m[..., 1, 0] + m[..., 0, 1], m[..., 0, 2] + m[..., 2, 0], m[..., 2, 1] + m[..., 1, 2]
    # rows: 4 w q, 4 x q, 4 y q, 4 z q, all multiples of the same quaternion q
    rows = np.stack(
        [
            np.stack([1 + xx + yy + zz, wx, wy, wz], axis=-1),
            np.stack([wx, 1 + xx - yy - zz, xy, xz], axis=-1),
            np.stack([wy, xy, 1 - xx + yy - zz, yz], axis=-1),
            np.stack([wz, xz, yz, 1 - xx - yy + zz], axis=-1),
        ],
        axis=-2,
    )
    largest = np.argmax(np.diagonal(rows, axis1=-2, axis2=-1), axis=-1)
    quaternion = normalize(np.take_along_axis(rows, largest[..., None, None], axis=-2)[..., 0, :])
    return np.where(quaternion[..., :1] < 0, -quaternion, quaternion)


def to_matrix(quaternion: ArrayLike) -> Floats:
    """Quaternions `(..., 4)` to rotation matrices `(..., 3, 3)`, whose columns are the rotated axes."""
    quaternion = np.asarray(quaternion, dtype=np.float64)
    return np.stack([rotate(quaternion, axis) for axis in np.eye(3)], axis=-1)


def conjugate(quaternion: ArrayLike) -> Floats:
    """The inverse rotations `(..., 4)`."""
    return np.asarray(quaternion, dtype=np.float64) * np.array([1.0, -1.0, -1.0, -1.0])


def multiply(first: ArrayLike, second: ArrayLike) -> Floats:
    """Hamilton product `(..., 4)`: the rotation `second`, followed by the rotation `first` (as matrices multiply)."""
    first, second = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    w1, v1, w2, v2 = first[..., :1], first[..., 1:], second[..., :1], second[..., 1:]
    w = w1 * w2 - np.sum(v1 * v2, axis=-1, keepdims=True)
    return np.concatenate([w, w1 * v2 + w2 * v1 + np.cross(v1, v2)], axis=-1)


def rotate(quaternion: ArrayLike, vector: ArrayLike) -> Floats:
    """Vectors `(..., 3)` turned by quaternions `(..., 4)`."""
    quaternion, vector = np.asarray(quaternion, dtype=np.float64), np.asarray(vector, dtype=np.float64)
    axis = quaternion[..., 1:]
    twice = 2 * np.cross(axis, vector)
    return vector + quaternion[..., :1] * twice + np.cross(axis, twice)


def slerp(start: ArrayLike, end: ArrayLike, fraction: ArrayLike) -> Floats:
    """The rotation `fraction` `(...)` of the shortest way from `start` to `end` (Shoemake 1985), as `(..., 4)`."""
    start = np.asarray(start, dtype=np.float64)
    step = to_rotvec(multiply(conjugate(start), end))
    return multiply(start, from_rotvec(np.asarray(fraction, dtype=np.float64)[..., None] * step))


def continuous(quaternion: ArrayLike) -> Floats:
    """Choose signs so that neighbours along the first axis (time) lie in the same hemisphere; the first is kept."""
    quaternion = np.asarray(quaternion, dtype=np.float64)
    flips = np.where(np.sum(quaternion[1:] * quaternion[:-1], axis=-1, keepdims=True) < 0, -1.0, 1.0)
    return np.concatenate([quaternion[:1], quaternion[1:] * np.cumprod(flips, axis=0)])
