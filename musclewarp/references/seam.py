"""How the ends of a periodic movement are made to meet."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np
import torch
from numpy.typing import NDArray

from musclewarp.models import MuscleModel
from musclewarp.references.cycle import Cycle, cycle_of

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Seam:
    """Frames `first` to `last` of a recording become one cycle; `before` and `after` more are there to fade over.

    Where that is short, `lacking` more at either side are made up.
    """

    first: int
    last: int
    before: int
    after: int
    lacking: int = 0

    @property
    def period(self) -> int:
        """Frames of a cycle."""
        return self.last - self.first

    def frames(self, values: Floats) -> Floats:
        """Those of the recording `values (T, ...)` that matter."""
        return values[self.first - self.before : self.last + self.after + 1]

    def overlap(self, values: Floats) -> tuple[Floats, Floats]:
        """What is to be the same: the frames around `first` and those around `last`."""
        kept, width = self.frames(values), self.before + self.after + 1
        return kept[:width], kept[self.period :]


def close_numbers(values: Floats, seam: Seam) -> Floats:
    """One cycle `(period + 1, ...)` of a recording of numbers `(T, ...)`, whose last frame is its first one."""
    return _close(_Numbers(), values, seam)


def close_postures(model: MuscleModel, qpos: Floats, seam: Seam) -> Floats:
    """One cycle `(period + 1, nq)` of postures `(T, nq)`: the last is the first, turned and displaced.

    A cycle leads on by the turn about z and the horizontal way from `first` to `last`. Coupled joints are not restored.
    """
    return _close(_Postures(model, qpos[[seam.first, seam.last]]), qpos, seam)


def lead_on(cycle: Cycle | None, qpos: Floats, count: int) -> Floats:
    """`qpos (T, nq)` after `count` more cycles; the same if the root is fixed and there is no `cycle`."""
    if cycle is None:
        return qpos
    zero = torch.zeros(len(qpos), dtype=torch.int64)
    return cycle.after(zero, zero + count).place_qpos(torch.from_numpy(qpos)).numpy()


def seam_gap(model: MuscleModel, qpos: Floats) -> float:
    """How far the last of `qpos (T, nq)` is from the first, a cycle on, in rad or m."""
    space = _Postures(model, qpos)
    return float(np.abs(space.change(space.lead(qpos[:1], 1), qpos[-1:])).max())


class _Numbers:
    """What closing needs to know of values `(T, ...)` and of changes to them."""

    def lead(self, values: Floats, count: int) -> Floats:
        """The same `count` cycles on."""
        return values

    def change(self, start: Floats, end: Floats) -> Floats:
        """From one to the other."""
        return end - start

    def add(self, start: Floats, change: Floats) -> Floats:
        """The other from the one."""
        return start + change

    def within(self, values: Floats, known: Floats) -> Floats:
        """No more and no less than what is `known (T, ...)`."""
        return values.clip(known.min(axis=0), known.max(axis=0))


class _Postures(_Numbers):
    """`qpos (T, nq)`, changed as by velocities `(T, nv)`."""

    def __init__(self, model: MuscleModel, ends: Floats) -> None:
        self.model, self.joints = model.mj_model, model.joint_qpos
        self.cycle = cycle_of(ends) if model.has_free_root else None

    def lead(self, values: Floats, count: int) -> Floats:
        return lead_on(self.cycle, values, count)

    def change(self, start: Floats, end: Floats) -> Floats:
        change = np.zeros((len(end), self.model.nv))
        for row, a, b in zip(change, start, end, strict=True):
            mujoco.mj_differentiatePos(self.model, row, 1.0, a, b)
        return change

    def add(self, start: Floats, change: Floats) -> Floats:
        end = start.copy()
        for row, step in zip(end, change, strict=True):
            mujoco.mj_integratePos(self.model, row, step, 1.0)
        return end

    def within(self, values: Floats, known: Floats) -> Floats:
        inside = values.copy()
        inside[:, self.joints] = super().within(values[:, self.joints], known[:, self.joints])
        return inside


def _close(space: _Numbers, values: Floats, seam: Seam) -> Floats:
    # Between two postures that stand on the floor lies one that stands on it; what the ends differ by, spread over the
    # cycle, would lift or sink feet that stand elsewhere.
    values, n = _led_on(space, seam.frames(values), seam), seam.period
    before, after = seam.before + seam.lacking, seam.after + seam.lacking
    width = before + after
    x = (np.arange(width + 1) / max(width, 1)).reshape(-1, *(1 for _ in values.shape[1:]))
    of_end = 1 - x**3 * (10 - 15 * x + 6 * x**2)  # begins and ends without velocity and acceleration
    start = space.lead(values[: width + 1], 1)
    faded = space.add(start, of_end * space.change(start, values[n:]))
    closed = values[before : before + n + 1].copy()
    closed[n - before :] = faded[: before + 1]
    closed[: after + 1] = space.lead(faded[before:], -1)
    return closed


def _led_on(space: _Numbers, values: Floats, seam: Seam) -> Floats:
    """The recording with `lacking` more frames at both ends: those of the other end, as far from them as it was.

    How fast the ends part, over what is known of it, comes to rest by then.
    """
    if not seam.lacking:
        return values
    width, n = seam.before + seam.after, seam.period
    apart = space.change(space.lead(values[: width + 1], 1), values[n:])
    parting = (apart[-1] - apart[0]) / max(width, 1)
    k = np.arange(1, seam.lacking + 1)
    way = (k - k**2 / (2 * seam.lacking)).reshape(-1, *(1 for _ in apart.shape[1:])) * parting
    later = space.add(space.lead(values[width + k], 1), apart[-1] + way)
    earlier = space.lead(space.add(values[n - k], way - apart[0]), -1)[::-1]
    return np.concatenate((space.within(earlier, values), values, space.within(later, values)))
