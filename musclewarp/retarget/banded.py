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

    def step(self, held: NDArray[np.bool_], damping: float, given: Floats) -> Floats:
        """The step `(T, n)` that is `given` where it is `held`, and solves the damped equations elsewhere.

        Damping adds to the diagonal by a share of what tracks (Marquardt's).
        """
        frames, n = self.gradient.shape
        free, right = ~held, self.gradient.copy()
        width = 2 * n if self.blocks[1].ndim == 2 else 3 * n - 1  # of the band below the diagonal
        band = np.zeros((frames, n, width + 1))  # its columns: band[t, j, i] = A[t n + j + i, t n + j]
        for k, block in enumerate(self.blocks):
            if given.any():
                right[: frames - k] -= _times(block, given[k:])
                if k:
                    right[k:] -= _times(block if block.ndim == 2 else block.mT, given[: frames - k])
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
                band[:, :, 0] = np.where(held, 1.0, band[:, :, 0] + damping * np.maximum(self.tracking, 1e-6))
            else:
                place[:] = block * free[: frames - k, :, None] * free[k:, None, :]
        right = np.where(held, given, right)
        matrix = band.reshape(-1, width + 1).T
        solution = scipy.linalg.solveh_banded(matrix, right.ravel(), overwrite_ab=True, lower=True, check_finite=False)
        return solution.reshape(frames, n)


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
