"""Inverse kinematics of a whole clip at once.

The unknowns are the independent coordinates of all frames. Levenberg-Marquardt minimises

    sum_t  sum_s  w_s |p*_s - p_s(q_t)|^2 + v_s |log(R*_s R_s(q_t)^T)|^2   track the sites
         + w_q |q_t - q_rest|^2                                           resolve what they leave open
         + w_a |(q_{t+1} - 2 q_t + q_{t-1}) / dt^2|^2                     move smoothly
         + w_m |tau_t - tau*_t|^2                                         near moments that muscles can produce

(the last one where `retarget.feasible` asks for it). Coupled coordinates follow their polynomials exactly (their
columns are folded into their drivers' by the chain rule), joint limits are bounds on the step (projected Newton with
an active set, Bertsekas 1982), and because a frame only meets its neighbours, the normal equations are banded and
solved by one banded Cholesky factorisation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import scipy.linalg
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from musclewarp.dynamics.inverse import Inertia, accelerations, inertia, inverse_dynamics
from musclewarp.errors import ConfigError
from musclewarp.models import MuscleModel
from musclewarp.models.kinematics import Kinematics
from musclewarp.models.muscles import joint_group
from musclewarp.motion import rotations
from musclewarp.references.reference import differentiate
from musclewarp.retarget.targets import Targets
from musclewarp.threads import one_torch_thread

Floats = NDArray[np.float64]
_POSITION = {
    "pelvis": 1.0, "upper_body": 0.1, "head": 0.2, "shoulder": 0.3, "elbow": 1.0, "hand": 1.0,
    "hip": 0.5, "knee": 1.0, "ankle": 1.0, "toes": 0.3,
}  # fmt: skip
_ROTATION = {"pelvis": 0.1, "hand": 0.003, "ankle": 0.01}


@dataclass(frozen=True)
class IKConfig:
    """Weights of the inverse kinematics; a site is known by its name without the side.

    Attributes:
        position: weight of each site's squared position error in m²; a site that is not named keeps its default.
        rotation: weight of each site's squared rotation error in rad², for sites that have one; likewise.
        posture: weight of squared distance from the rest posture in rad².
        acceleration: weight of squared joint acceleration in rad²/s⁴.
        shoulder_acceleration: the same for the shoulder, whose joints carry twenty times the inertia of an elbow, and
            turn fast for nothing where an arm hangs down (its elevation plane is then undefined).
        moment: weight of squared joint moment in (Nm)² beyond what the muscles can produce (models with a fixed root).
        max_activation: activation that these moments may take, so that something is left to correct errors with.
        feasibility_rounds: how often the moments and the postures are fitted to each other in turn.
        limit_margin: rad (or m, scaled) that references keep from the joint limits, which are soft in simulation.
        max_iterations: Levenberg-Marquardt steps.
        tolerance: relative decrease of the cost at which the solution is accepted.

    Raises:
        ConfigError: a site is unknown, or a number out of its range.
    """

    position: Mapping[str, float] = field(default_factory=dict[str, float])
    rotation: Mapping[str, float] = field(default_factory=dict[str, float])
    posture: float = 1e-5
    acceleration: float = 1e-7
    shoulder_acceleration: float = 2e-6
    moment: float = 1e-4
    max_activation: float = 0.75
    feasibility_rounds: int = 4
    limit_margin: float = 0.01
    max_iterations: int = 60
    tolerance: float = 1e-4

    def __post_init__(self) -> None:
        for name, defaults in (("position", _POSITION), ("rotation", _ROTATION)):
            given = getattr(self, name)
            if unknown := sorted(given.keys() - defaults.keys()):
                raise ConfigError(f"ik.{name} has no site '{unknown[0]}'; choose among {', '.join(defaults)}")
            object.__setattr__(self, name, defaults | dict(given))
            for site, weight in given.items():
                _check(f"{name}.{site}", weight)
        for name in ("posture", "acceleration", "shoulder_acceleration", "moment", "limit_margin", "tolerance"):
            _check(name, getattr(self, name))
        _check("feasibility_rounds", self.feasibility_rounds)
        _check("max_iterations", self.max_iterations, least=1)
        if not 0 < self.max_activation <= 1:
            raise ConfigError(f"ik.max_activation is {self.max_activation}; choose one in (0, 1]")


def _check(name: str, value: float, least: float = 0) -> None:
    if not least <= value < np.inf:
        raise ConfigError(f"ik.{name} is {value}; choose a number of at least {least}")


@dataclass(frozen=True, eq=False)
class Solution:
    """`qpos (T, nq)`, on the couplings and inside the limits; steps taken; whether the tolerance was reached."""

    qpos: Floats
    iterations: int
    converged: bool


def solve(
    model: MuscleModel,
    targets: Targets,
    dt: float,
    config: IKConfig | None = None,
    on_iteration: Callable[[int, float], None] | None = None,
    start: Floats | None = None,
    moments: Floats | None = None,
) -> Solution:
    """Fit postures to `targets`, frames `dt` seconds apart; `on_iteration(step, cost)` reports progress.

    From `start (T, nq)` if given; with `moments (T, J)`, of the independent coordinates of a model with a fixed root,
    towards a movement that needs these.
    """
    # threads of the BLAS gain nothing on blocks this small, and spin when something else runs
    with one_torch_thread(), threadpool_limits(1, "blas"):
        problem = _Problem(model, targets, dt, config or IKConfig(), moments)
        qpos = problem.initial_guess() if start is None else torch.from_numpy(start)
        return _minimise(problem, qpos, on_iteration)


def _minimise(problem: _Problem, qpos: torch.Tensor, on_iteration: Callable[[int, float], None] | None) -> Solution:
    cost, damping = problem.cost(qpos), 1e-3
    for iteration in range(problem.config.max_iterations):
        equations = problem.normal_equations(qpos)
        while True:
            candidate = problem.step(qpos, equations, damping)
            new_cost = problem.cost(candidate)
            if new_cost < cost or damping > 1e6:
                break
            damping *= 8.0
        if new_cost >= cost:
            return Solution(qpos.numpy(), iteration, True)  # no descent left in float64
        decrease, qpos, cost, damping = (cost - new_cost) / cost, candidate, new_cost, max(damping / 5.0, 1e-9)
        if on_iteration is not None:
            on_iteration(iteration + 1, cost)
        if decrease < problem.config.tolerance:
            return Solution(qpos.numpy(), iteration + 1, True)
    return Solution(qpos.numpy(), problem.config.max_iterations, False)


class _Equations(NamedTuple):
    """Normal equations of T frames with n unknowns each.

    `blocks`: `(T - k, n, n)` between frames t and t + k, for k = 0, 1, 2; `tracking (T, n)`: what of their diagonal
    tracks the targets; `gradient (T, n)`: the descent direction.
    """

    blocks: list[Floats]
    tracking: Floats
    gradient: Floats


class _Problem:
    """The cost of a clip, its derivatives, and steps that respect the bounds."""

    def __init__(
        self, model: MuscleModel, targets: Targets, dt: float, config: IKConfig, moments: Floats | None = None
    ) -> None:
        self.model, self.config, self.dt, self.moments = model, config, dt, moments
        self.kinematics = Kinematics(model)
        self.independent = torch.as_tensor(model.couplings.independent)
        self.goal = torch.from_numpy(targets.positions)
        self.oriented = np.flatnonzero(~np.isnan(targets.rotations[0, :, 0]))
        self.goal_rotation = torch.from_numpy(rotations.to_matrix(targets.rotations[:, self.oriented]))
        part = [site.removeprefix("left_").removeprefix("right_") for site in model.sites]
        self.position_weight = torch.tensor([config.position[p] for p in part], dtype=torch.float64)
        self.rotation_weight = torch.tensor(
            [config.rotation.get(part[s], 0.0) for s in self.oriented], dtype=torch.float64
        )
        self.rest = torch.from_numpy(rest_posture(model))
        self.lower, self.upper = (torch.from_numpy(b) for b in independent_bounds(model, config.limit_margin))
        frames, n = len(self.goal), len(self.independent)
        self.frames, self.n = frames, n
        names = [model.dof_names[dof] for dof in model.couplings.independent]
        weight = [config.shoulder_acceleration if joint_group(n) == "shoulder" else config.acceleration for n in names]
        self.smooth = torch.tensor(weight, dtype=torch.float64) / dt**4
        self.stencil = _second_difference_bands(frames)
        # the rest posture says nothing about where the person is
        scalar = np.isin(model.couplings.independent, model.joint_dofs)
        self.posture = torch.from_numpy(config.posture * scalar)
        self.scalar_qpos = torch.as_tensor(
            model.mj_model.jnt_qposadr[model.mj_model.dof_jntid[model.couplings.independent]]
        )
        self.scalar = torch.from_numpy(scalar)

    def initial_guess(self) -> torch.Tensor:
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

    def _joint_values(self, qpos: torch.Tensor) -> torch.Tensor:
        """Values of the independent hinge and slide joints `(T, n)`; zero for the root's dofs."""
        return torch.where(self.scalar, qpos[:, self.scalar_qpos], torch.zeros((), dtype=qpos.dtype))

    def _accelerations(self, qpos: torch.Tensor) -> torch.Tensor:
        """Second differences `(T - 2, n)` along time, the root's rotation by differences of rotation vectors."""
        values = self._joint_values(qpos)
        if self.model.has_free_root:
            values = values.clone()
            values[:, :3] = qpos[:, :3]
        difference = values[1:] - values[:-1]
        if self.model.has_free_root:
            quat = qpos[:, 3:7].numpy()
            turn = rotations.to_rotvec(rotations.multiply(rotations.conjugate(quat[:-1]), quat[1:]))
            difference[:, 3:6] = torch.from_numpy(turn)
        return difference[1:] - difference[:-1]

    def _errors(self, position: torch.Tensor, rotation: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        turn = self.goal_rotation @ rotation[:, self.oriented].transpose(-1, -2)
        return self.goal - position, torch.from_numpy(rotations.to_rotvec(rotations.from_matrix(turn.numpy())))

    def cost(self, qpos: torch.Tensor) -> float:
        poses = self.kinematics(qpos, jacobian=False)
        position, rotation = self._errors(poses.position, poses.rotation)
        total = (self.position_weight * position.square().sum(-1)).sum()
        total += (self.rotation_weight * rotation.square().sum(-1)).sum()
        total += (self.posture * (self._joint_values(qpos) - self._joint_values(self.rest[None])).square()).sum()
        total += (self.smooth * self._accelerations(qpos).square()).sum()
        if self.moments is not None:
            total += self.config.moment * (self._missing_moments(qpos) ** 2).sum()
        return float(total)

    def _missing_moments(self, qpos: torch.Tensor) -> Floats:
        """The moments to come near, less those of the movement, of all frames but the first and the last."""
        assert self.moments is not None
        posture, velocity = qpos.numpy(), differentiate(self.model, qpos.numpy(), self.dt)
        movement = posture[1:-1], velocity[1:-1], accelerations(posture, self.dt)[1:-1]
        return self.moments[1:-1] - inverse_dynamics(self.model, *movement).moments

    def normal_equations(self, qpos: torch.Tensor) -> _Equations:
        """Of Gauss and Newton, at `qpos (T, nq)`."""
        poses = self.kinematics(qpos)
        position, rotation = self._errors(poses.position, poses.rotation)
        jacobian = poses.jacobian
        linear = jacobian[:, :, :3] * self.position_weight.sqrt()[:, None, None]
        angular = jacobian[:, self.oriented, 3:] * self.rotation_weight.sqrt()[:, None, None]
        stacked = torch.cat((linear.flatten(1, 2), angular.flatten(1, 2)), dim=1)
        reduced = self.model.couplings.reduce_columns(qpos, stacked)
        residual = torch.cat(
            (
                (position * self.position_weight.sqrt()[:, None]).flatten(1),
                (rotation * self.rotation_weight.sqrt()[:, None]).flatten(1),
            ),
            dim=1,
        )
        hessian = reduced.transpose(1, 2) @ reduced + torch.diag(self.posture)
        gradient = (reduced.transpose(1, 2) @ residual[..., None]).squeeze(-1)
        gradient += self.posture * (self._joint_values(self.rest[None]) - self._joint_values(qpos))
        if self.frames >= 3:
            acceleration = self.smooth * self._accelerations(qpos)
            gradient[:-2] -= acceleration
            gradient[1:-1] += 2 * acceleration
            gradient[2:] -= acceleration
        blocks = [hessian.numpy(), *(np.zeros((max(self.frames - k, 0), self.n, self.n)) for k in (1, 2))]
        tracking = np.einsum("tii->ti", blocks[0]).copy()
        for k, block in enumerate(blocks):
            block += self.stencil[k, : len(block), None, None] * np.diag(self.smooth.numpy())
        if self.moments is not None:
            slopes, error = inertia(self.model, qpos.numpy()[1:-1]), self._missing_moments(qpos)
            self._add_moments(slopes, error, blocks, gradient.numpy())
        return _Equations(blocks, tracking, gradient.numpy())

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

    def step(self, qpos: torch.Tensor, equations: _Equations, damping: float) -> torch.Tensor:
        """The damped Gauss-Newton step within the bounds, for all frames."""
        values, gradient = self._joint_values(qpos), torch.from_numpy(equations.gradient)
        blocked = self.scalar & (((values <= self.lower) & (gradient < 0)) | ((values >= self.upper) & (gradient > 0)))
        return self.move(qpos, torch.from_numpy(self._solve(equations, blocked.numpy(), damping)))

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

    def _solve(self, equations: _Equations, blocked: NDArray[np.bool_], damping: float) -> Floats:
        frames, n, free = self.frames, self.n, (~blocked).astype(float)
        width = 2 * n if self.moments is None else 3 * n - 1  # smoothness couples each joint only with itself
        banded = np.zeros((width + 1, frames * n))  # upper form: banded[width + i - j, j] = A[i, j]
        columns = banded.reshape(width + 1, frames, n)
        for k, block in enumerate(equations.blocks):
            block = block * free[: frames - k, :, None] * free[k:, None, :]
            if k == 0:
                diagonal = np.einsum("tii->ti", block)
                diagonal += damping * np.maximum(equations.tracking, 1e-6)
                diagonal[blocked] = 1.0
            for offset in range(max(1 - n, -k * n), min(n, width - k * n + 1)):  # column minus row within the block
                low, high = max(offset, 0), n + min(offset, 0)
                columns[width - k * n - offset, k:, low:high] = np.diagonal(block, offset, axis1=1, axis2=2)
        gradient = (equations.gradient * free).ravel()
        solution = scipy.linalg.solveh_banded(banded, gradient, overwrite_ab=True, check_finite=False)
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


def rest_posture(model: MuscleModel) -> Floats:
    """A relaxed posture `(nq,)`, away from the shoulder's singularity with hanging arms."""
    return model.posture(model.layout.rest)


def independent_bounds(model: MuscleModel, margin: float) -> tuple[Floats, Floats]:
    """Bounds `(n,)` on the independent coordinates that also keep the coupled ones in their ranges; root unbounded.

    `margin` is kept from each limit, at most a tenth of the range. A driver's interval is searched on a grid: the
    widest run around the default posture in which every coupled joint is within its range, to 1 mm or 1 mrad (some
    polynomials of the models leave their ranges by less than that at the very ends).
    """
    m, couplings = model.mj_model, model.couplings
    lower, upper = np.full(m.nv, -np.inf), np.full(m.nv, np.inf)
    for dof in model.joint_dofs:
        joint = m.dof_jntid[dof]
        if not m.jnt_limited[joint]:
            continue
        low, high = m.jnt_range[joint]
        grid = np.linspace(low, high, 2001)
        qpos = np.tile(m.qpos0, (len(grid), 1))
        qpos[:, m.jnt_qposadr[joint]] = grid
        projected = couplings.project_qpos(torch.from_numpy(qpos)).numpy()
        inside = np.ones(len(grid), bool)
        for dependent in couplings.dependent[couplings.driver == dof]:
            other = m.dof_jntid[dependent]
            value = projected[:, m.jnt_qposadr[other]]
            inside &= (value >= m.jnt_range[other, 0] - 1e-3) & (value <= m.jnt_range[other, 1] + 1e-3)
        home = int(np.abs(grid - m.qpos0[m.jnt_qposadr[joint]]).argmin())
        outside = np.flatnonzero(~inside)
        low = grid[outside[outside < home].max() + 1] if (outside < home).any() else low
        high = grid[outside[outside > home].min() - 1] if (outside > home).any() else high
        keep = min(margin, 0.1 * (high - low))
        lower[dof], upper[dof] = low + keep, high - keep
    return lower[couplings.independent], upper[couplings.independent]
