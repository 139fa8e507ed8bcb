"""Rows of many clips at any time, for all worlds at once: positions linearly, rotations along the shortest arc.

Clips are data: no gradient reaches them, nor the time.
"""

# pyright: reportGeneralTypeIssues=false, reportArgumentType=false, reportCallIssue=false, reportOperatorIssue=false
# pyright: reportIndexIssue=false, reportAssignmentType=false, reportAttributeAccessIssue=false
# ruff: noqa: ANN202 (Warp infers what its functions return)
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import warp as wp

from musclewarp.errors import ConfigError
from musclewarp.kernels.launch import check_alike, launch, per_precision


@dataclass(frozen=True, eq=False)
class Clips:
    """Where C clips lie in a table of F frames, on the table's device.

    Attributes:
        start: the clip's first row in the table `(C,)`, int64.
        length: its frames `(C,)`, int64, at least one.
        dt: s between them `(C,)`, float64.
        loop: whether it starts again `(C,)`, bool. A loop's last frame is its first one again: its period is
            `(length - 1) dt`, before time 0 too. Other clips hold their first frame before, their last one after.
    """

    start: torch.Tensor
    length: torch.Tensor
    dt: torch.Tensor
    loop: torch.Tensor

    def __post_init__(self) -> None:
        wanted = {"start": torch.int64, "length": torch.int64, "dt": torch.float64, "loop": torch.bool}
        for name, dtype in wanted.items():
            value = getattr(self, name)
            alike = value.shape == self.start.shape and value.device == self.start.device
            if value.dtype != dtype or value.ndim != 1 or not alike:
                raise ConfigError(
                    f"Clips: '{name}' is {value.dtype} {tuple(value.shape)} on {value.device}; needed are (C,) of "
                    f"{dtype}, all on one device"
                )


@wp.func
def _phase(
    start: wp.array[wp.int64],
    length: wp.array[wp.int64],
    dt: wp.array[wp.float64],
    loop: wp.array[wp.bool],
    rows: wp.int32,
    clip: wp.int64,
    time: wp.float64,
):
    """Rows before and after a time and the way between them in [0, 1); -1 for rows that are not there."""
    before = wp.int64(-1)
    after = wp.int64(-1)
    part = wp.float64(0.0)
    if clip >= wp.int64(0) and clip < wp.int64(start.shape[0]):
        first = start[clip]
        last = length[clip] - wp.int64(1)
        frame = time / dt[clip]
        if first >= wp.int64(0) and last >= wp.int64(0) and first + last < wp.int64(rows) and wp.isfinite(frame):
            end = wp.float64(last)
            if loop[clip] and last > wp.int64(0):
                frame = frame - wp.floor(frame / end) * end
            frame = wp.clamp(frame, wp.float64(0.0), end)
            before = first + wp.int64(frame)
            after = wp.min(before + wp.int64(1), first + last)
            part = frame - wp.floor(frame)
    return before, after, part


@per_precision
@wp.kernel(enable_backward=False)
def _linear(
    table: wp.array2d[Any],
    start: wp.array[wp.int64],
    length: wp.array[wp.int64],
    dt: wp.array[wp.float64],
    loop: wp.array[wp.bool],
    clip: wp.array[wp.int64],
    time: wp.array[wp.float64],
    values: wp.array2d[Any],
) -> None:
    i, j = wp.tid()
    before, after, part = _phase(start, length, dt, loop, table.shape[0], clip[i], time[i])
    value = values.dtype(wp.nan)
    if before >= wp.int64(0):
        value = table[before, j] + values.dtype(part) * (table[after, j] - table[before, j])
    values[i, j] = value


@per_precision
@wp.kernel(enable_backward=False)
def _slerp(
    table: wp.array3d[Any],
    start: wp.array[wp.int64],
    length: wp.array[wp.int64],
    dt: wp.array[wp.float64],
    loop: wp.array[wp.bool],
    clip: wp.array[wp.int64],
    time: wp.array[wp.float64],
    values: wp.array3d[Any],
) -> None:
    i, j, k = wp.tid()
    before, after, part = _phase(start, length, dt, loop, table.shape[0], clip[i], time[i])
    value = values.dtype(wp.nan)
    if before >= wp.int64(0):
        p = wp.vector(table[before, j, 0], table[before, j, 1], table[before, j, 2], table[before, j, 3])
        q = wp.vector(table[after, j, 0], table[after, j, 1], table[after, j, 2], table[after, j, 3])
        if wp.dot(p, q) < values.dtype(0.0):
            q = -q
        # the arc tangent of the chords keeps small angles, which the arc cosine of the product loses
        angle = values.dtype(2.0) * wp.atan2(wp.length(q - p), wp.length(q + p))
        s = values.dtype(part)
        r = p
        if angle > values.dtype(0.0):
            r = wp.normalize(wp.sin((values.dtype(1.0) - s) * angle) * p + wp.sin(s * angle) * q)
        value = r[k]
    values[i, j, k] = value


def interpolate(table: torch.Tensor, clips: Clips, clip: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
    """Rows `(N, W)` of a table of numbers `(F, W)`, linear between frames.

    Args:
        table: float32 or float64.
        clips: where the clips lie in it.
        clip: `(N,)` int64, which one each world follows.
        time: `(N,)` s since the clip's first frame; taken in float64.

    Returns:
        NaN where a clip or its frames are not there, or a time is not finite: the device cannot raise.

    Raises:
        ConfigError: shapes, types or devices do not fit together.
    """
    return _linear_op(table, clips.start, clips.length, clips.dt, clips.loop, clip, time.double())


def interpolate_rotations(table: torch.Tensor, clips: Clips, clip: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
    """Unit quaternions `(N, Q, 4)` of a table `(F, Q, 4)`, wxyz: spherical linear interpolation along the shorter arc.

    Shoemake 1985, "Animating rotation with quaternion curves", SIGGRAPH 19:245. See `interpolate` for the rest.
    """
    return _slerp_op(table, clips.start, clips.length, clips.dt, clips.loop, clip, time.double())


def rounds(clips: Clips, clip: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
    """How often a loop has begun again `(N,)`, int64, so that its displacement can be added up; 0 for other clips."""
    # divided as `_phase` divides, so that both agree about the side of a seam
    count = torch.floor(time.double() / clips.dt[clip] / (clips.length[clip] - 1).double())
    count = count.nan_to_num(0.0, 0.0, 0.0).long()  # a loop of one frame has no period
    return torch.where(clips.loop[clip], count, 0)


@torch.library.custom_op("musclewarp::interpolate", mutates_args=())
def _linear_op(
    table: torch.Tensor,
    start: torch.Tensor,
    length: torch.Tensor,
    dt: torch.Tensor,
    loop: torch.Tensor,
    clip: torch.Tensor,
    time: torch.Tensor,
) -> torch.Tensor:
    _check("interpolate", table, start, clip, time, 2)
    values = table.new_empty(len(clip), table.shape[1])
    launch(_linear, [table, start, length, dt, loop, clip, time], [values])
    return values


@_linear_op.register_fake
def _(table: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
    return table.new_empty(others[-1].shape[0], table.shape[1])


@torch.library.custom_op("musclewarp::interpolate_rotations", mutates_args=())
def _slerp_op(
    table: torch.Tensor,
    start: torch.Tensor,
    length: torch.Tensor,
    dt: torch.Tensor,
    loop: torch.Tensor,
    clip: torch.Tensor,
    time: torch.Tensor,
) -> torch.Tensor:
    _check("interpolate_rotations", table, start, clip, time, 3)
    values = table.new_empty(len(clip), table.shape[1], 4)
    launch(_slerp, [table, start, length, dt, loop, clip, time], [values])
    return values


@_slerp_op.register_fake
def _(table: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
    return table.new_empty(others[-1].shape[0], table.shape[1], 4)


def _check(
    op: str, table: torch.Tensor, start: torch.Tensor, clip: torch.Tensor, time: torch.Tensor, ndim: int
) -> None:
    check_alike(op, table)
    if table.ndim != ndim or (ndim == 3 and table.shape[2] != 4):
        raise ConfigError(
            f"{op}: the table has shape {tuple(table.shape)}, needed is (F, {'W' if ndim == 2 else 'Q, 4'})"
        )
    if clip.dtype != torch.int64 or clip.ndim != 1 or clip.shape != time.shape:
        raise ConfigError(
            f"{op}: 'clip' is {clip.dtype} {tuple(clip.shape)}, 'time' has shape {tuple(time.shape)}; both are (N,), "
            "and clips are int64"
        )
    if not table.device == start.device == clip.device == time.device:
        raise ConfigError(
            f"{op}: the table is on {table.device}, the clips on {start.device}, 'clip' on {clip.device}, 'time' on "
            f"{time.device}; bring them to one device"
        )
