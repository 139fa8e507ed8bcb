"""The least-squares problem of a clip: its cost, its normal equations, and steps that respect the bounds."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import scipy.ndimage
import torch
from numpy.typing import NDArray

from musclewarp.dynamics.inverse import Inertia, accelerations, inertia, inverse_dynamics
from musclewarp.dynamics.trajectory import Trajectory
from musclewarp.models import MuscleModel
from musclewarp.motion import rotations
from musclewarp.references.reference import differentiate
from musclewarp.retarget.banded import Equations, second_difference_bands
from musclewarp.retarget.bounds import independent_bounds
from musclewarp.retarget.ground import Ground, Pull
from musclewarp.retarget.ik_config import IKConfig
from musclewarp.retarget.smoothness import acceleration_weights
from musclewarp.retarget.targets import Targets
from musclewarp.retarget.tracking import Frames, Tracking

Floats = NDArray[np.float64]
_CHUNK = 128  # frames
NEAR = 4  # frames, beyond which what happens in one is hardly felt
_BOX = 0.5  # rad or m that a joint may move in one step
_ACTIVE_SETS = 3  # tries to find which bounds are met, and what touches the floor


@dataclass(frozen=True, eq=False)
class Point:
    """Postures `qpos (T, nq)`, their cost, and the parts `(T,)` of the frames in it.

    `pieces` are the frames, a few at a time; `missing (T - 2, n)` the moments to come near, less those of the movement.
    """

    qpos: torch.Tensor
    costs: Floats
    pieces: list[Frames]
    missing: Floats | None

    @functools.cached_property
    def cost(self) -> float:
        """Of all frames."""
        return float(self.costs.sum())


@dataclass(frozen=True, eq=False)
class Slope:
    """What is known of the cost near a point.

    `gradient (T, n)` is the descent direction there. `equations` are of what a step is thought to meet, for it may put
    other parts of the body on the floor than stand there now; of each piece, `pulls` are the floor's and `screws` the
    bodies'. `Problem.step` changes equations and pulls.
    """

    gradient: Floats
    equations: Equations
    screws: list[torch.Tensor]
    pulls: list[Pull]


class Problem:
    """The cost of a clip, its derivatives, and steps that respect the bounds."""

    def __init__(
        self,
        model: MuscleModel,
        targets: Targets,
        dt: float,
        config: IKConfig,
        moments: Floats | None = None,
        ground: Ground | None = None,
    ) -> None:
        self.model, self.config, self.dt, self.moments = model, config, dt, moments
        self.tracking = Tracking(model, targets, config, ground)
        self.scalar = self.tracking.scalar
        self.lower, self.upper = (torch.from_numpy(b.copy()) for b in independent_bounds(model, config.limit_margin))
        self.frames, self.n = len(targets.positions), len(self.scalar)
        self.smooth = acceleration_weights(model, config) / dt**4
        self.stencil = second_difference_bands(self.frames)[:, :, None] * self.smooth.numpy()

    def admissible(self, qpos: torch.Tensor) -> torch.Tensor:
        """`qpos (T, nq)` within the bounds and on the couplings."""
        return self.move(qpos, torch.zeros(self.frames, self.n, dtype=torch.float64))

    def _root_turns(self, qpos: torch.Tensor) -> torch.Tensor:
        """Rotation vectors `(T - 1, 3)` of the root from frame to frame, in its own axes."""
        quat = qpos[:, 3:7].numpy()
        return torch.from_numpy(rotations.to_rotvec(rotations.multiply(rotations.conjugate(quat[:-1]), quat[1:])))

    def _accelerations(self, qpos: torch.Tensor) -> torch.Tensor:
        """Second differences `(T - 2, n)` along time, the root's rotation by differences of rotation vectors."""
        values = self.tracking.joint_values(qpos)
        if self.model.has_free_root:
            values = values.clone()
            values[:, :3] = qpos[:, :3]
        difference = values[1:] - values[:-1]
        if self.model.has_free_root:
            difference[:, 3:6] = self._root_turns(qpos)
        return difference[1:] - difference[:-1]

    def at(self, qpos: torch.Tensor) -> Point:
        """The cost of `qpos (T, nq)`."""
        # a few frames at a time stay in the cache
        chunks = [slice(start, min(start + _CHUNK, self.frames)) for start in range(0, self.frames, _CHUNK)]
        pieces = [self.tracking.at(qpos[chunk], chunk) for chunk in chunks]
        costs = torch.cat([piece.cost for piece in pieces]).numpy()
        costs[1:-1] += (self.smooth * self._accelerations(qpos).square()).sum(1).numpy()
        missing = None
        if self.moments is not None:
            missing = self._missing_moments(qpos)
            costs[1:-1] += self.config.moment * (missing**2).sum(axis=1)
        return Point(qpos, costs, pieces, missing)

    def _missing_moments(self, qpos: torch.Tensor) -> Floats:
        """The moments to come near, less those of the movement, of all frames but the first and the last."""
        assert self.moments is not None
        posture, velocity = qpos.numpy(), differentiate(self.model, qpos.numpy(), self.dt)
        movement = Trajectory(posture, velocity, accelerations(posture, self.dt))[1:-1]
        return self.moments[1:-1] - inverse_dynamics(self.model, movement).moments

    def slope(self, here: Point) -> Slope:
        """Of Gauss and Newton, all terms together."""
        hessian, gradient = np.empty((self.frames, self.n, self.n)), np.empty((self.frames, self.n))
        screws, pulls = list[torch.Tensor](), list[Pull]()
        for piece in here.pieces:
            slopes = self.tracking.slopes(piece)
            hessian[piece.frames], gradient[piece.frames] = slopes.hessian, slopes.gradient
            screws.append(slopes.screws)
            pulls += [slopes.pull] if slopes.pull else []
        tracking = np.einsum("tii->ti", hessian).copy()
        np.einsum("tii->ti", hessian)[:] += self.stencil[0]
        gradient += self._smoothing(here.qpos)
        blocks = [hessian]
        if here.missing is None:  # what couples frames is diagonal, and kept so
            blocks += [self.stencil[k, : max(self.frames - k, 0)] for k in (1, 2)]
        else:
            blocks += [self.stencil[k, : max(self.frames - k, 0), :, None] * np.eye(self.n) for k in (1, 2)]
            self._add_moments(inertia(self.model, here.qpos.numpy()[1:-1]), here.missing, blocks, gradient)
        return Slope(gradient.copy(), Equations(blocks, tracking, gradient), screws, pulls)

    def _smoothing(self, qpos: torch.Tensor) -> Floats:
        """The descent direction `(T, n)` of the accelerations."""
        gradient = torch.zeros(self.frames, self.n, dtype=torch.float64)
        if self.frames < 3:
            return gradient.numpy()
        acceleration = self.smooth * self._accelerations(qpos)
        gradient[:-2] -= acceleration
        gradient[1:-1] += 2 * acceleration
        gradient[2:] -= acceleration
        if self.model.has_free_root:  # rotation vectors change by J_r^-1 = 1 + [u]/2 + [u]^2/12, and its transpose
            turn, zero, pull = self._root_turns(qpos), torch.zeros(1, 3), acceleration[:, 3:6]
            force = torch.cat((pull, zero)) - torch.cat((zero, pull))
            first = torch.linalg.cross(turn, force) / 2
            second = torch.linalg.cross(turn, first) / 6
            gradient[1:, 3:6] += second - first
            gradient[:-1, 3:6] -= first + second
        return gradient.numpy()

    def _add_moments(self, dynamics: Inertia, error: Floats, blocks: list[Floats], gradient: Floats) -> None:
        """The term of the moments, linear in the accelerations and velocities of three neighbouring frames."""
        weight = self.config.moment
        mass, drag = dynamics.mass / self.dt**2, np.eye(self.n) * dynamics.damping[:, None] / (2 * self.dt)
        slopes = (mass - drag, -2 * mass, mass + drag)
        frames = len(error)
        for first, left in enumerate(slopes):
            gradient[first : first + frames] += weight * np.einsum("tji,tj->ti", left, error)
            for second, right in enumerate(slopes[first:], first):
                blocks[second - first][first : first + frames] += weight * left.transpose(0, 2, 1) @ right

    def step(self, here: Point, slope: Slope, damping: Floats) -> tuple[torch.Tensor, float]:
        """Where the damped Gauss-Newton step within the bounds leads, all frames `(T, nq)`, and what it should gain.

        What would leave its bounds goes to the bound, and the others adapt to that; likewise to what the step would put
        into the floor, or lift from it: `slope` becomes that of the contacts so foreseen, so that a next try, with
        another damping, begins with them.
        """
        values, scalar = self.tracking.joint_values(here.qpos).numpy(), self.scalar.numpy()
        to_lower = np.clip(self.lower.numpy() - values, -_BOX, 0.0)
        to_upper = np.clip(self.upper.numpy() - values, 0.0, _BOX)
        gradient, equations = slope.gradient, slope.equations
        held = scalar & (((to_lower == 0.0) & (gradient < 0)) | ((to_upper == 0.0) & (gradient > 0)))
        delta, frames = np.zeros_like(values), np.arange(self.frames)
        for _ in range(_ACTIVE_SETS):
            right = equations.residual(delta, damping)[frames]
            some = equations if len(frames) == self.frames else equations.at(frames)
            delta[frames] += some.solve(right, held[frames], damping[frames])
            leaves = scalar & ~held & ((delta < to_lower) | (delta > to_upper))
            delta = np.where(leaves, np.clip(delta, to_lower, to_upper), delta)
            held |= leaves
            changed = leaves.any(axis=1) | self._foresee_contacts(here, slope, delta)
            if not changed.any():
                break
            near = around(changed)
            frames = np.flatnonzero(near) if near.mean() < 0.8 else np.arange(self.frames)
        return self.move(here.qpos, torch.from_numpy(delta)), float((gradient * delta).sum())

    def _foresee_contacts(self, here: Point, slope: Slope, delta: Floats) -> NDArray[np.bool_]:
        """The frames in which a step puts other parts of the body on the floor; what `slope` knows becomes theirs."""
        changed = np.zeros(self.frames, dtype=bool)
        if self.tracking.ground is None:
            return changed
        hessian, gradient = map(torch.from_numpy, (slope.equations.blocks[0], slope.equations.gradient))
        for k, (piece, screws, before) in enumerate(zip(here.pieces, slope.screws, slope.pulls, strict=True)):
            heights = self.tracking.heights_after(piece, screws, torch.from_numpy(delta[piece.frames]))
            after = slope.pulls[k] = self.tracking.pull(piece.frames, heights)
            frame, part = ((after.weight != before.weight) | (after.goal != before.goal)).nonzero(as_tuple=True)
            if not len(frame):
                continue
            lowest, rows = piece.lowest[:, 2].T, self.tracking.height_slopes(piece, screws, frame, part)
            weight = (after.weight - before.weight)[frame, part, None]
            force = (after.weight * (after.goal - lowest) - before.weight * (before.goal - lowest))[frame, part, None]
            frame = frame + piece.frames.start
            hessian.index_add_(0, frame, (weight * rows)[:, :, None] * rows[:, None])
            gradient.index_add_(0, frame, force * rows)
            changed[frame.numpy()] = True
        return changed

    def move(self, qpos: torch.Tensor, delta: torch.Tensor) -> torch.Tensor:
        """`qpos` moved by `delta (T, n)` of the independent dofs, clamped to the bounds, couplings restored."""
        moved, places = qpos.clone(), self.tracking.scalar_qpos[self.scalar]
        values = self.tracking.joint_values(qpos) + delta
        moved[:, places] = torch.minimum(torch.maximum(values, self.lower), self.upper)[:, self.scalar]
        if self.model.has_free_root:
            moved[:, :3] = qpos[:, :3] + delta[:, :3]
            turn = rotations.from_rotvec(delta[:, 3:6].numpy())
            moved[:, 3:7] = torch.from_numpy(rotations.normalize(rotations.multiply(qpos[:, 3:7].numpy(), turn)))
        return self.model.couplings.project_qpos(moved)


def around(frames: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """`frames (T,)` and those near them."""
    return np.asarray(scipy.ndimage.binary_dilation(frames, np.ones(2 * NEAR + 1)), dtype=np.bool_)
