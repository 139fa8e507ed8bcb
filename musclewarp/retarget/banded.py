"""Normal equations of a clip, in which a frame only meets its two neighbours on either side."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.linalg
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Equations(NamedTuple):
    """Normal equations of T frames with n unknowns each.

    `blocks`: `(T - k, n, n)` between frames t (rows) and t + k (columns), for k = 0, 1, 2, the latter two as their
    diagonals `(T - k, n)` where they are diagonal; `tracking (T, n)`: what of the diagonal tracks the targets;
    `gradient (T, n)`: the descent direction.
    """

    blocks: list[Floats]
    tracking: Floats
    gradient: Floats

    def at(self, frames: NDArray[np.intp]) -> Equations:
        """Those of some frames, in their order, while the others stay as they are."""
        beside = self.blocks[1:]
        some = [np.zeros((max(len(frames) - k, 0), *block.shape[1:])) for k, block in enumerate(beside, 1)]
        for apart in (1, 2):
            for k in range(1, apart + 1):  # with frames left out, two that are 2 apart may follow each other
                here = np.flatnonzero(frames[k:] - frames[:-k] == apart)
                some[k - 1][here] = beside[apart - 1][frames[here]]
        return Equations([self.blocks[0][frames], *some], self.tracking[frames], self.gradient[frames])

    def residual(self, step: Floats, damping: Floats) -> Floats:
        """What of the gradient `(T, n)` is left after a `step (T, n)`."""
        left, frames = self.gradient - self._damped(damping) * step, len(step)
        for k, block in enumerate(self.blocks):
            left[: frames - k] -= _times(block, step[k:])
            if k:
                left[k:] -= _times(block if block.ndim == 2 else block.mT, step[: frames - k])
        return left

    def solve(self, right: Floats, held: NDArray[np.bool_], damping: Floats) -> Floats:
        """The step `(T, n)` for which the damped equations give `right`, zero and without equation where it is `held`.

        `damping (T,)` adds a share of what tracks to the diagonal (Marquardt's), in each frame its own.
        """
        frames, n = right.shape
        free = ~held
        width = 2 * n if self.blocks[1].ndim == 2 else 3 * n - 1  # of the band below the diagonal
        band = np.zeros((frames, n, width + 1))  # its columns: band[t, j, i] = A[t n + j + i, t n + j]
        for k, block in enumerate(self.blocks):
            if block.ndim == 2:
                band[: frames - k, :, k * n] = block * free[: frames - k] * free[k:]
                continue
            # the block's own row i and column j are row k n + j and column i of the lower triangle
            strides = (n * (width + 1) * band.itemsize, width * band.itemsize, band.itemsize)
            place = as_strided(band.reshape(-1)[k * n :], block.shape, strides)
            if k == 0:  # what is written beside the triangle lies in other columns, in places that come later
                np.multiply(block, np.triu(np.ones((n, n))), out=place)
                frame, unknown = np.nonzero(held)
                place[frame, unknown] = 0.0
                place[frame, :, unknown] = 0.0
                band[:, :, 0] = np.where(held, 1.0, band[:, :, 0] + self._damped(damping))
            else:
                place[:] = block * free[: frames - k, :, None] * free[k:, None, :]
        matrix, right = band.reshape(-1, width + 1).T, (right * free).ravel()
        solution = scipy.linalg.solveh_banded(matrix, right, overwrite_ab=True, lower=True, check_finite=False)
        return solution.reshape(frames, n)

    def _damped(self, damping: Floats) -> Floats:
        return damping[:, None] * np.maximum(self.tracking, 1e-6)


def _times(block: Floats, vectors: Floats) -> Floats:
    return block * vectors if block.ndim == 2 else (block @ vectors[..., None])[..., 0]


def second_difference_bands(frames: int) -> Floats:
    """Diagonals 0, 1 and 2 `(3, T)` of D'D for the second-difference matrix D `(T - 2, T)`."""
    bands = np.zeros((3, frames))
    if frames < 3:
        return bands
    for shift, weight in enumerate((1.0, -2.0, 1.0)):
        bands[0, shift : frames - 2 + shift] += weight**2
    for shift in (0, 1):
        bands[1, shift : frames - 2 + shift] += -2.0
    bands[2, : frames - 2] = 1.0
    return bands
