"""Movements that the muscles can produce, as near as possible to the recorded one.

A recording knows nothing of the model's strength. Where an arm swings past hanging, its elevation plane turns over
within a few frames, and the model's joint damping alone then asks for moments that muscles, whose moment arms vanish
there, do not have. So in turn, the moments of the movement are projected on what the muscles can produce, frame by
frame (static optimisation), and the inverse kinematics of the whole clip is solved again, near those moments. That is a
heuristic: what is missing decreases in practice, but nothing guarantees it, for what muscles can produce changes with
the posture, and the projection also weighs effort.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from musclewarp.dynamics import Criterion, Trajectory, accelerations, optimize_activations
from musclewarp.models import MuscleModel
from musclewarp.references.reference import differentiate
from musclewarp.retarget.ik import Floats, IKConfig, Solution, solve
from musclewarp.retarget.targets import Targets


def solve_feasible(
    model: MuscleModel,
    targets: Targets,
    dt: float,
    config: IKConfig | None = None,
    on_iteration: Callable[[int, float], None] | None = None,
) -> Solution:
    """Postures that fit `targets`; those of a model with a fixed root need moments that its muscles can produce.

    A model with a free root is only fitted: its moments depend on the ground's forces, which are not recorded.
    """
    config = config or IKConfig()
    solution = solve(model, targets, dt, config, on_iteration)
    if model.has_free_root or len(solution.qpos) < 3:
        return solution
    for _ in range(config.feasibility_rounds):
        done = solution.iterations
        solution = solve(
            model,
            targets,
            dt,
            config,
            on_iteration and (lambda step, cost, done=done: on_iteration(done + step, cost)),
            start=solution.qpos,
            moments=producible_moments(model, solution.qpos, dt, config.max_activation),
        )
        solution = replace(solution, iterations=done + solution.iterations)
    return solution


def producible_moments(model: MuscleModel, qpos: Floats, dt: float, max_activation: float) -> Floats:
    """The moments `(T, J)` nearest to those that `qpos (T, nq)` needs which the muscles can produce there."""
    trajectory = Trajectory(qpos, differentiate(model, qpos, dt), accelerations(qpos, dt))
    found = optimize_activations(model, trajectory, Criterion(max_activation=max_activation))
    return found.needed.moments + found.residual
