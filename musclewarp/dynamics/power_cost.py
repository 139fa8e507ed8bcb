"""Muscle redundancy with a cost other than the quadratic one: a sequence of quadratic problems."""

from __future__ import annotations

from dataclasses import replace

import torch

from musclewarp.dynamics.quadratic import Solve
from musclewarp.dynamics.redundancy import Redundancy
from musclewarp.errors import MusclewarpError

_FLATTEST = 1e-3  # the least curvature of a model of the cost, which vanishes at zero where p > 2
_LIMIT = 100


def balance_by_power(
    problem: Redundancy, muscles: int, power: float, solve: Solve, tolerance: float = 1e-7
) -> torch.Tensor:
    """Unknowns `(N, K)` that minimise 1/2 sum_k w_k x_k^p over the first `muscles`, and as `problem` says the others.

    `problem.weight` is w. Newton's method on the cost: each quadratic problem has its slope and curvature at the last
    solution, and a line search keeps the true cost from rising.

    Raises:
        MusclewarpError: a problem is not solved to `tolerance` (see `Redundancy.optimality`) in a hundred rounds.
    """
    solution = solve(problem, None)
    unknowns, multipliers = solution
    shares = 2.0 ** -torch.arange(12, dtype=unknowns.dtype, device=unknowns.device)[:, None, None]
    unsolved = 0
    for _ in range(_LIMIT):
        model = _quadratic_model(problem, unknowns, muscles, power)
        unsolved = int((model.optimality(unknowns) > tolerance).sum())
        if not unsolved:
            return unknowns
        aim, multipliers = solve(model, multipliers)
        candidates = unknowns + shares * (aim - unknowns)
        costs = torch.stack([_cost(problem, candidate, muscles, power) for candidate in candidates])
        best = costs.argmin(dim=0)
        unknowns = candidates[best, torch.arange(len(best), device=best.device)]
    raise MusclewarpError(
        f"muscle redundancy with power {power}: {unsolved} of "
        f"{len(unknowns)} problems unsolved after {_LIMIT} rounds; a power nearer to 2 is easier"
    )


def _quadratic_model(problem: Redundancy, unknowns: torch.Tensor, muscles: int, power: float) -> Redundancy:
    weight, linear = (value.expand_as(unknowns).clone() for value in (problem.weight, problem.linear))
    active = unknowns[:, :muscles]
    slope = 0.5 * power * weight[:, :muscles] * active ** (power - 1)
    curvature = 0.5 * power * (power - 1) * weight[:, :muscles] * active ** (power - 2)
    weight[:, :muscles] = curvature.clamp(min=_FLATTEST)
    linear[:, :muscles] = slope - weight[:, :muscles] * active
    return replace(problem, weight=weight, linear=linear)


def _cost(problem: Redundancy, unknowns: torch.Tensor, muscles: int, power: float) -> torch.Tensor:
    reserves = (problem.missing(unknowns) / problem.reserve).square().sum(dim=1)
    active, other = unknowns[:, :muscles], unknowns[:, muscles:]
    weight = problem.weight.expand_as(unknowns)
    quadratic = (weight[:, muscles:] * other.square()).sum(dim=1)
    return 0.5 * (reserves + quadratic + (weight[:, :muscles] * active**power).sum(dim=1))
