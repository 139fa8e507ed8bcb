"""The solvers of a quadratic muscle redundancy problem, by name."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from musclewarp.dynamics.redundancy import Balance, Redundancy, balance_to_the_end
from musclewarp.errors import MusclewarpError

Solve = Callable[[Redundancy, torch.Tensor | None], Balance]
_UNBOUNDED = 1e30  # what daqp takes for infinity


def balance_by_daqp(problem: Redundancy, start: torch.Tensor | None = None) -> Balance:
    """Solve one problem after the other by daqp, a dual active-set method; on the CPU in float64, without `start`.

    Unknowns and reserves are its variables, in units in which its Hessian is the identity, and the balance an equality.
    Source: Arnström, Bemporad & Axehill 2022 (IEEE Trans. Autom. Control 67:4362).

    Raises:
        MusclewarpError: daqp does not solve one of them, or is not installed.
    """
    try:
        import daqp
    except ImportError as error:
        raise MusclewarpError("the solver 'daqp' is not installed; pip install daqp, or choose 'newton'") from error
    count, rows, size = problem.effect.shape
    root = problem.weight.sqrt().expand(count, size).numpy()
    reserve = problem.reserve.numpy()
    effect = problem.effect.numpy() / (root[:, None] * reserve[:, None])
    goal = problem.goal.numpy() / reserve
    upper = np.minimum(problem.upper.numpy() * root, _UNBOUNDED)
    linear = problem.linear.numpy() / root
    anything, balanced = np.full(rows, _UNBOUNDED), np.full(rows, 5)  # 5: an equality
    sense = np.concatenate((np.zeros(size + rows), balanced)).astype(np.int32)
    hessian = np.eye(size + rows)
    solution = np.empty((count, size))
    for n in range(count):
        found, _, flag, _ = daqp.solve(
            hessian,
            np.concatenate((linear[n], np.zeros(rows))),
            np.hstack((effect[n], np.eye(rows))),
            np.concatenate((upper[n], anything, goal[n])),
            np.concatenate((np.zeros(size), -anything, goal[n])),
            sense,
            primal_tol=1e-10,
        )
        if flag != 1:
            raise MusclewarpError(f"daqp gave up on problem {n} (exit flag {flag}): moments up to {goal[n]}")
        solution[n] = found[:size]
    unknowns = torch.from_numpy(solution / root).clamp_(min=0.0).minimum(problem.upper)
    return Balance(unknowns, problem.missing(unknowns) / problem.reserve**2)


SOLVERS: dict[str, Solve] = {"newton": balance_to_the_end, "daqp": balance_by_daqp}
