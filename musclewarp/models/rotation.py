"""Batched wxyz rotations in torch, for what runs every step; `motion.rotations` has more of them, in NumPy."""

from __future__ import annotations

import torch


def rotate(quat: torch.Tensor, vector: torch.Tensor) -> torch.Tensor:
    """`vector (..., 3)` turned by unit `quat (..., 4)`; leading dimensions broadcast."""
    w, axis = quat[..., :1], quat[..., 1:]
    axis, vector = torch.broadcast_tensors(axis, vector)
    twice = 2.0 * torch.linalg.cross(axis, vector)
    return vector + w * twice + torch.linalg.cross(axis, twice)


def multiply(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """The rotation `(..., 4)` that turns by `second`, then by `first`."""
    (a, u), (b, v) = ((quat[..., :1], quat[..., 1:]) for quat in torch.broadcast_tensors(first, second))
    return torch.cat((a * b - (u * v).sum(-1, keepdim=True), a * v + b * u + torch.linalg.cross(u, v)), dim=-1)


def inverse(quat: torch.Tensor) -> torch.Tensor:
    """The inverse of unit `quat (..., 4)`."""
    return torch.cat((quat[..., :1], -quat[..., 1:]), dim=-1)


def angle_between(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Angle in rad `(...)` of the rotation from one unit quaternion to another.

    By atan2, which stays finite where acos of a rounded product would be NaN.
    """
    w = (first * second).sum(-1).abs()
    sine = (
        second[..., 1:] * first[..., :1]
        - first[..., 1:] * second[..., :1]
        - torch.linalg.cross(first[..., 1:], second[..., 1:])
    ).norm(dim=-1)
    return 2.0 * torch.atan2(sine, w)


def heading(quat: torch.Tensor) -> torch.Tensor:
    """The rotation about z, `(..., 3, 3)`, that comes nearest to a body with its x axis forward and its y axis up.

    It is the twist about z of the turn from standing, which is defined in every posture but upside down; the direction
    of the forward axis on the ground is lost already when lying. `vectors @ heading` sees world vectors in its frame.
    """
    w, x, y, z = quat.unbind(-1)
    a, b = w + x, y + z  # proportional to cosine and sine of half the angle
    norm = (a * a + b * b).clamp(min=torch.finfo(quat.dtype).tiny)
    sine, cosine = 2 * a * b / norm, 1 - 2 * b * b / norm
    zero, one = torch.zeros_like(sine), torch.ones_like(sine)
    rows = (cosine, -sine, zero, sine, cosine, zero, zero, zero, one)
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))


def matrix_to_quat(matrix: torch.Tensor) -> torch.Tensor:
    """Unit wxyz quaternions `(..., 4)`, w >= 0, of rotation matrices `(..., 3, 3)` (largest-pivot method)."""
    m = matrix
    xx, yy, zz = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    wx, wy, wz = m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]
    xy, xz, yz = m[..., 1, 0] + m[..., 0, 1], m[..., 0, 2] + m[..., 2, 0], m[..., 2, 1] + m[..., 1, 2]
    rows = torch.stack(
        (
            torch.stack((1 + xx + yy + zz, wx, wy, wz), -1),
            torch.stack((wx, 1 + xx - yy - zz, xy, xz), -1),
            torch.stack((wy, xy, 1 - xx + yy - zz, yz), -1),
            torch.stack((wz, xz, yz, 1 - xx - yy + zz), -1),
        ),
        dim=-2,
    )
    pivot = torch.diagonal(rows, dim1=-2, dim2=-1).argmax(-1)
    quat = torch.take_along_dim(rows, pivot[..., None, None], dim=-2).squeeze(-2)
    quat = quat / quat.norm(dim=-1, keepdim=True)
    return torch.where(quat[..., :1] < 0, -quat, quat)
