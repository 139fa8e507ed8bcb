"""Inverse kinematics of a whole clip at once.

The unknowns are the independent coordinates of all frames. Levenberg-Marquardt minimises

    sum_t  sum_s  w_s |p*_s - p_s(q_t)|^2 + v_s |log(R*_s R_s(q_t)^T)|^2   track the sites
         + w_q |q_t - q_rest|^2                                           resolve what they leave open
         + w_a |(q_{t+1} - 2 q_t + q_{t-1}) / dt^2|^2                     move smoothly
         + w_h h_t^2 where a limb stands + w_p sum_p min(0, h_tp - c)^2   stand on the floor, never in it
         + w_m |tau_t - tau*_t|^2                                         near moments that muscles can produce

(h: heights of the parts of the whole body, of a foot or hand that stands the lowest, c: half a millimetre; the last one
where `retarget.feasible` asks for it). Coupled coordinates follow their polynomials exactly (their columns are folded
into their drivers' by the chain rule), joint limits are bounds on the step (projected Newton with an active set,
Bertsekas 1982), and because a frame only meets its neighbours, the normal equations are banded and solved by one banded
Cholesky factorisation. Long clips are first solved at a few frames a second, which is where all but the last steps are
taken.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import scipy.ndimage
import torch
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.spatial.transform import Rotation, Slerp
from threadpoolctl import threadpool_limits

from musclewarp.errors import FileError
from musclewarp.models import MuscleModel
from musclewarp.motion import rotations
from musclewarp.retarget.ground import Ground
from musclewarp.retarget.ik_config import IKConfig
from musclewarp.retarget.ik_problem import NEAR, Problem, around
from musclewarp.retarget.targets import Targets
from musclewarp.threads import one_torch_thread

__all__ = ["IKConfig", "Solution", "solve"]

Floats = NDArray[np.float64]
_COARSE = 0.1  # s between the frames that are solved first: a somersault's coarser ones are no start for the rest
_MIN_COARSE = 8  # of these
ROUGHLY = 10.0  # times the tolerance, for what is only a start
_MAX_REJECTED = 8  # steps in a row, each with thirty times the damping


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
    ground: Ground | None = None,
) -> Solution:
    """Fit postures to `targets`, frames `dt` seconds apart; `on_iteration(step, cost)` reports progress.

    The costs reported are of few frames first, of all in the end.

    From `start (T, nq)` if given; with `moments (T, J)`, of the independent coordinates of a model with a fixed root,
    towards a movement that needs these; with `ground`, on it.

    Raises:
        FileError: a target is not finite.
    """
    config = config or IKConfig()
    # threads of the BLAS gain nothing on blocks this small, and spin when something else runs
    with one_torch_thread(), threadpool_limits(1, "blas"):
        done = 0
        stride = stride_of(dt)
        if start is None and stride > 1 and len(targets.positions) >= stride * _MIN_COARSE:
            rough = solve(model, targets.at(slice(None, None, stride)), stride * dt, roughly(config), on_iteration)
            start, done = between(model, rough.qpos, len(targets.positions), stride), rough.iterations
        problem = Problem(model, targets, dt, config, moments, ground)
        qpos = problem.tracking.initial_guess() if start is None else problem.admissible(torch.from_numpy(start))
        solution = _minimise(problem, qpos, on_iteration and (lambda step, cost: on_iteration(done + step, cost)))
        return replace(solution, iterations=done + solution.iterations)


def _minimise(problem: Problem, qpos: torch.Tensor, on_iteration: Callable[[int, float], None] | None) -> Solution:
    here, tolerance = problem.at(qpos), problem.config.tolerance
    damping = np.full(problem.frames, 0.1 if problem.tracking.ground else 1e-3)
    if not np.isfinite(here.cost):
        raise FileError("the targets of the inverse kinematics are not all finite; look at the recording")
    for iteration in range(problem.config.max_iterations):
        slope, rejected = problem.slope(here), 0
        while True:
            candidate, gain = problem.step(here, slope, damping)
            # what is small only because steps have been refused is no convergence, but there is nothing left to do
            if abs(gain) <= tolerance * here.cost or rejected > _MAX_REJECTED:
                return Solution(here.qpos.numpy(), iteration, rejected <= 1)
            there = problem.at(candidate)
            # a step that is too long for some frames need not be so for others
            worse = around(_over_neighbours(there.costs - here.costs) > 0)
            if there.cost < here.cost:
                break
            damping, rejected = np.where(worse | ~worse.any(), 30.0 * damping, damping), rejected + 1
        decrease, here = (here.cost - there.cost) / here.cost, there
        damping = np.where(worse, 30.0 * damping, np.maximum(damping / 10.0, 1e-6))
        if on_iteration is not None:
            on_iteration(iteration + 1, here.cost)
        if decrease < tolerance and rejected <= 1:
            return Solution(here.qpos.numpy(), iteration + 1, True)
    return Solution(here.qpos.numpy(), problem.config.max_iterations, False)


def _over_neighbours(costs: Floats) -> Floats:
    """Sums of `costs (T,)` over each frame and those near it."""
    return scipy.ndimage.uniform_filter1d(costs, 2 * NEAR + 1, mode="constant")


def roughly(config: IKConfig) -> IKConfig:
    """For a solution that another one starts from."""
    return replace(config, tolerance=ROUGHLY * config.tolerance)


def stride_of(dt: float) -> int:
    """How many frames, `dt` s apart, lie between those that are solved first."""
    return max(1, round(_COARSE / dt))


def between(model: MuscleModel, qpos: Floats, frames: int, stride: int) -> Floats:
    """Every frame `(frames, nq)` from every `stride`-th; those after the last of them stay where it is."""
    if len(qpos) == 1:
        return np.repeat(qpos, frames, axis=0)
    known = stride * np.arange(len(qpos))
    time = np.minimum(np.arange(frames), known[-1])
    dense = CubicSpline(known, qpos)(time)
    if model.has_free_root:
        turns = Rotation.from_quat(qpos[:, 3:7], scalar_first=True)
        dense[:, 3:7] = rotations.continuous(Slerp(known, turns)(time).as_quat(scalar_first=True))
    return dense
