"""The least-squares problem of a clip: its cost, its normal equations, and steps that respect the bounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.linalg
import torch
from numpy.typing import NDArray

from musclewarp.dynamics.inverse import Inertia, accelerations, inertia, inverse_dynamics
from musclewarp.models import MuscleModel
from musclewarp.models.kinematics import Kinematics, SitePoses
from musclewarp.motion import rotations
from musclewarp.references.reference import differentiate
from musclewarp.retarget.bounds import independent_bounds, rest_posture
from musclewarp.retarget.ground import CLEARANCE, Ground, limb_sites
from musclewarp.retarget.ik_config import IKConfig, site_weights
from musclewarp.retarget.smoothness import acceleration_weights
from musclewarp.retarget.targets import Targets

Floats = NDArray[np.float64]
_CHUNK = 256  # frames
_BOX = 0.5  # rad or m that a joint may move in one step
_ACTIVE_SETS = 3  # tries to find which bounds, and where the floor, are met


class Equations(NamedTuple):
    """Normal equations of T frames with n unknowns each.

    `blocks`: `(T - k, n, n)`, or their diagonals `(T - k, n)`, between frames t and t + k, for k = 0, 1, 2;
    `tracking (T, n)`: what of their diagonal tracks the targets; `gradient (T, n)`: the descent direction.
    """

    blocks: list[Floats]
    tracking: Floats
    gradient: Floats


@dataclass(frozen=True, eq=False)
class Point:
    """Postures `qpos (T, nq)`, their cost, and what the normal equations need of them.

    `hessian (T, n, n)` and `gradient (T, n)`, the descent direction, are those of the terms that know one frame alone;
    `missing (T - 2, n)` are the moments to come near, less those of the movement; `heights (T, P)` and
    `slopes (T, P, n)` those of the parts of the body that may touch the floor.
    """

    qpos: torch.Tensor
    cost: float
    hessian: torch.Tensor
    gradient: torch.Tensor
    missing: Floats | None
    heights: torch.Tensor
    slopes: torch.Tensor


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
        self.model, self.config, self.dt, self.moments, self.ground = model, config, dt, moments, ground
        bodies, offsets = model.site_body_ids, model.mj_model.site_pos[model.site_ids]
        if ground is not None:
            bodies = np.concatenate((bodies, ground.surface.bodies))
            offsets = np.concatenate((offsets, ground.surface.centres))
        self.kinematics = Kinematics(model, bodies, offsets, independent=True)
        self.independent = torch.as_tensor(model.couplings.independent)
        self.goal = torch.from_numpy(targets.positions)
        self.oriented = np.flatnonzero(~np.isnan(targets.rotations[0, :, 0]))
        self.goal_rotation = torch.from_numpy(rotations.to_matrix(targets.rotations[:, self.oriented]))
        part = [site.removeprefix("left_").removeprefix("right_") for site in model.sites]
        position = site_weights(model, config)[:, None].repeat(len(self.goal), 1, 3)
        for limb, stands in enumerate(ground.stance.T if ground else ()):
            for site in limb_sites(model, limb):
                position[stands, site, :2] *= config.standing
        rotation = torch.tensor([config.rotation.get(part[s], 0.0) for s in self.oriented], dtype=torch.float64)
        self.position_scale, self.rotation_scale = position.sqrt(), rotation.sqrt()[:, None]
        self.rest = torch.from_numpy(rest_posture(model))
        self.lower, self.upper = (torch.from_numpy(b.copy()) for b in independent_bounds(model, config.limit_margin))
        frames, n = len(self.goal), len(self.independent)
        self.frames, self.n = frames, n
        self.smooth = acceleration_weights(model, config) / dt**4
        self.stencil = _second_difference_bands(frames)
        # the rest posture says nothing about where the person is
        scalar = np.isin(model.couplings.independent, model.joint_dofs)
        self.posture = torch.from_numpy(config.posture * scalar)
        self.scalar_qpos = torch.as_tensor(
            model.mj_model.jnt_qposadr[model.mj_model.dof_jntid[model.couplings.independent]]
        )
        self.scalar = torch.from_numpy(scalar)

    def initial_guess(self) -> torch.Tensor:
        """The relaxed posture, where and how the root should be."""
        qpos = self.rest.expand(self.frames, -1).clone()
        if self.model.has_free_root:
            root = self.oriented.tolist().index(0)
            qpos[:, :3] = self.goal[:, 0]
            site = self.kinematics(self.rest[None], jacobian=False).rotation[0, 0]
            base = torch.from_numpy(rotations.to_matrix(self.rest[3:7].numpy()))
            qpos[:, 3:7] = torch.from_numpy(
                rotations.continuous(rotations.from_matrix((self.goal_rotation[:, root] @ site.T @ base).numpy()))
            )
        return self.model.couplings.project_qpos(qpos)

    def admissible(self, qpos: torch.Tensor) -> torch.Tensor:
        """`qpos (T, nq)` within the bounds and on the couplings."""
        return self.move(qpos, torch.zeros(self.frames, self.n, dtype=torch.float64))

    def _joint_values(self, qpos: torch.Tensor) -> torch.Tensor:
        """Values of the independent hinge and slide joints `(T, n)`; zero for the root's dofs."""
        return torch.where(self.scalar, qpos[:, self.scalar_qpos], torch.zeros((), dtype=qpos.dtype))

    def _root_turns(self, qpos: torch.Tensor) -> torch.Tensor:
        """Rotation vectors `(T - 1, 3)` of the root from frame to frame, in its own axes."""
        quat = qpos[:, 3:7].numpy()
        return torch.from_numpy(rotations.to_rotvec(rotations.multiply(rotations.conjugate(quat[:-1]), quat[1:])))

    def _accelerations(self, qpos: torch.Tensor) -> torch.Tensor:
        """Second differences `(T - 2, n)` along time, the root's rotation by differences of rotation vectors."""
        values = self._joint_values(qpos)
        if self.model.has_free_root:
            values = values.clone()
            values[:, :3] = qpos[:, :3]
        difference = values[1:] - values[:-1]
        if self.model.has_free_root:
            difference[:, 3:6] = self._root_turns(qpos)
        return difference[1:] - difference[:-1]

    def at(self, qpos: torch.Tensor) -> Point:
        """The cost of `qpos (T, nq)` and its derivatives."""
        # a few frames at a time: their Jacobians stay in the cache
        chunks = [slice(start, start + _CHUNK) for start in range(0, self.frames, _CHUNK)]
        costs, *parts = zip(*(self._track(qpos[frames], frames) for frames in chunks), strict=True)
        hessian, gradient, heights, slopes = (torch.cat(part) for part in parts)
        missing, cost = None, sum(costs) + float((self.smooth * self._accelerations(qpos).square()).sum())
        if self.moments is not None:
            missing = self._missing_moments(qpos)
            cost += self.config.moment * float((missing**2).sum())
        return Point(qpos, cost, hessian, gradient, missing, heights, slopes)

    def _track(self, qpos: torch.Tensor, frames: slice) -> tuple[float, *tuple[torch.Tensor, ...]]:
        """Cost, Hessian of Gauss and Newton, descent direction of some frames; heights of what may touch the floor."""
        poses, sites = self.kinematics(qpos), len(self.model.sites)
        turn = self.goal_rotation[frames] @ poses.rotation[:, self.oriented].transpose(-1, -2)
        turn = torch.from_numpy(rotations.to_rotvec(rotations.from_matrix(turn.numpy())))
        place = self.position_scale[frames]
        constant, heights, rises = 0.0, qpos.new_empty(len(qpos), 0), qpos.new_empty(len(qpos), 0, self.n)
        errors = [(self.goal[frames] - poses.position[:, :sites]) * place, turn * self.rotation_scale]
        slopes = [
            poses.jacobian[:, :sites, :3] * place[..., None],
            poses.jacobian[:, self.oriented, 3:] * self.rotation_scale[..., None],
        ]
        if self.ground is not None:
            parts = SitePoses(*(part[:, sites:] for part in poses))
            heights = self.ground.surface.heights(parts.position, parts.rotation)
            rises = self.ground.surface.slopes(parts)
            pull = self.ground.at(frames).pull(heights, self.config.stance, self.config.penetration)
            scale, constant = pull.weight.sqrt()[..., None], pull.constant
            errors.append((pull.goal - heights)[..., None] * scale)
            slopes.append((rises * scale)[:, :, None])
        error = torch.cat([part.flatten(1) for part in errors], dim=1)
        slope = torch.cat([part.flatten(1, 2) for part in slopes], dim=1)
        off = self._joint_values(self.rest[None]) - self._joint_values(qpos)
        hessian = slope.transpose(1, 2) @ slope + torch.diag(self.posture)
        gradient = (error[:, None] @ slope).squeeze(1) + self.posture * off
        cost = constant + float(error.square().sum() + (self.posture * off.square()).sum())
        return cost, hessian, gradient, heights, rises

    def _missing_moments(self, qpos: torch.Tensor) -> Floats:
        """The moments to come near, less those of the movement, of all frames but the first and the last."""
        assert self.moments is not None
        posture, velocity = qpos.numpy(), differentiate(self.model, qpos.numpy(), self.dt)
        movement = posture[1:-1], velocity[1:-1], accelerations(posture, self.dt)[1:-1]
        return self.moments[1:-1] - inverse_dynamics(self.model, *movement).moments

    def normal_equations(self, here: Point) -> Equations:
        """Of Gauss and Newton, all terms together."""
        gradient = here.gradient.clone()
        if self.frames >= 3:
            acceleration = self.smooth * self._accelerations(here.qpos)
            gradient[:-2] -= acceleration
            gradient[1:-1] += 2 * acceleration
            gradient[2:] -= acceleration
            if self.model.has_free_root:  # rotation vectors change by J_r^-1 = 1 + [u]/2 + [u]^2/12, and its transpose
                turn, zero, pull = self._root_turns(here.qpos), torch.zeros(1, 3), acceleration[:, 3:6]
                force = torch.cat((pull, zero)) - torch.cat((zero, pull))
                first = torch.linalg.cross(turn, force) / 2
                second = torch.linalg.cross(turn, first) / 6
                gradient[1:, 3:6] += second - first
                gradient[:-1, 3:6] -= first + second
        blocks = [here.hessian.numpy().copy()]
        tracking = np.einsum("tii->ti", blocks[0]).copy()
        smooth = [self.stencil[k, : max(self.frames - k, 0), None] * self.smooth.numpy() for k in range(3)]
        if here.missing is None:  # what couples frames is diagonal, and kept so
            blocks += smooth[1:]
            smooth = smooth[:1]
        else:
            blocks += [np.zeros((len(diagonal), self.n, self.n)) for diagonal in smooth[1:]]
        for block, diagonal in zip(blocks, smooth, strict=False):
            np.einsum("tii->ti", block)[:] += diagonal
        if here.missing is not None:
            slopes = inertia(self.model, here.qpos.numpy()[1:-1])
            self._add_moments(slopes, here.missing, blocks, gradient.numpy())
        return Equations(blocks, tracking, gradient.numpy())

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

    def step(self, here: Point, equations: Equations, damping: float) -> tuple[torch.Tensor, float]:
        """Where the damped Gauss-Newton step within the bounds leads, all frames `(T, nq)`, and what it should gain.

        What would leave its bounds goes to the bound, what would fall through the floor lands on it, and the others
        adapt to that.
        """
        values = self._joint_values(here.qpos).numpy()
        to_lower = np.clip(self.lower.numpy() - values, -_BOX, 0.0)
        to_upper = np.clip(self.upper.numpy() - values, 0.0, _BOX)
        gradient = equations.gradient
        held = self.scalar.numpy() & (((to_lower == 0.0) & (gradient < 0)) | ((to_upper == 0.0) & (gradient > 0)))
        delta, below = np.zeros_like(values), (here.heights < CLEARANCE).numpy()
        for _ in range(_ACTIVE_SETS):
            delta = self._solve(equations, held, damping, np.where(held, delta, 0.0))
            leaves = self.scalar.numpy() & ~held & ((delta < to_lower) | (delta > to_upper))
            rise = (here.slopes @ torch.from_numpy(delta)[..., None]).squeeze(-1)
            lands = (here.heights + rise < CLEARANCE).numpy() & ~below
            if not leaves.any() and not lands.any():
                break
            equations, below = self._with_floor(equations, here, lands), below | lands
            delta = np.where(leaves, np.clip(delta, to_lower, to_upper), delta)
            held |= leaves
        return self.move(here.qpos, torch.from_numpy(delta)), float((gradient * delta).sum())

    def _with_floor(self, equations: Equations, here: Point, parts: NDArray[np.bool_]) -> Equations:
        """The same with the floor under parts `(T, P)` of the body, which are above it, and would be below."""
        if not parts.any():
            return equations
        frames = np.flatnonzero(parts.any(axis=1))
        slope = here.slopes[frames] * torch.from_numpy(parts[frames])[..., None]
        depth = self.config.penetration * (CLEARANCE - here.heights[frames])
        blocks, gradient = [equations.blocks[0].copy(), *equations.blocks[1:]], equations.gradient.copy()
        blocks[0][frames] += self.config.penetration * (slope.transpose(1, 2) @ slope).numpy()
        gradient[frames] += (depth[:, None] @ slope).squeeze(1).numpy()
        return equations._replace(blocks=blocks, gradient=gradient)

    def move(self, qpos: torch.Tensor, delta: torch.Tensor) -> torch.Tensor:
        """`qpos` moved by `delta (T, n)` of the independent dofs, clamped to the bounds, couplings restored."""
        moved = qpos.clone()
        values = torch.minimum(torch.maximum(self._joint_values(qpos) + delta, self.lower), self.upper)
        moved[:, self.scalar_qpos[self.scalar]] = values[:, self.scalar]
        if self.model.has_free_root:
            moved[:, :3] = qpos[:, :3] + delta[:, :3]
            turn = rotations.from_rotvec(delta[:, 3:6].numpy())
            moved[:, 3:7] = torch.from_numpy(rotations.normalize(rotations.multiply(qpos[:, 3:7].numpy(), turn)))
        return self.model.couplings.project_qpos(moved)

    def _solve(self, equations: Equations, held: NDArray[np.bool_], damping: float, given: Floats) -> Floats:
        """The step `(T, n)` that is `given` where it is `held`, and solves the equations elsewhere."""
        frames, n, free = self.frames, self.n, (~held).astype(float)
        width = 2 * n if self.moments is None else 3 * n - 1  # smoothness couples each joint only with itself
        banded = np.zeros((width + 1, frames * n))  # upper form: banded[width + i - j, j] = A[i, j]
        columns = banded.reshape(width + 1, frames, n)
        right = equations.gradient.copy()
        for k, block in enumerate(equations.blocks):
            if given.any():
                diagonal = block.ndim == 2
                right[: frames - k] -= block * given[k:] if diagonal else (block @ given[k:, :, None])[..., 0]
                if k:
                    before = given[: frames - k]
                    right[k:] -= block * before if diagonal else (before[:, None] @ block)[:, 0]
            if k == 0:
                block = block * free[:, :, None] * free[:, None, :]
                diagonal = np.einsum("tii->ti", block)
                diagonal += damping * np.maximum(equations.tracking, 1e-6)
                diagonal[held] = 1.0
            elif block.ndim == 2:
                columns[width - k * n, k:] = block * free[: frames - k] * free[k:]
                continue
            else:
                block = block * free[: frames - k, :, None] * free[k:, None, :]
            for offset in range(0 if k == 0 else max(1 - n, -k * n), min(n, width - k * n + 1)):
                low, high = max(offset, 0), n + min(offset, 0)  # column minus row within the block
                columns[width - k * n - offset, k:, low:high] = np.diagonal(block, offset, axis1=1, axis2=2)
        right = np.where(held, given, right)
        solution = scipy.linalg.solveh_banded(banded, right.ravel(), overwrite_ab=True, check_finite=False)
        return solution.reshape(frames, n)


def _second_difference_bands(frames: int) -> Floats:
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
