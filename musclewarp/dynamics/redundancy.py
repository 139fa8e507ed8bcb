"""The muscle redundancy problem, for many worlds or frames at once: which activations produce given joint moments?

For each of N problems with K unknowns (activations, perhaps contact forces) and J joint moments,

    minimise  1/2 sum_k h_k x_k^2 + f_k x_k + 1/2 sum_j (r_j / s_j)^2
    subject to  A x + r = b,  0 <= x <= u,

where the reserves r are what no muscle produces. Given multipliers l of the balance, the best unknowns are
x = clip((A' l - f) / h, 0, u) and the best reserves r = s^2 l, so that only a concave function of the J multipliers is
left to maximise. Its gradient is piecewise linear, and Newton's method, with a line search by regula falsi, ends after
finitely many steps at the exact solution, also where b is far beyond what the unknowns can do.

A step takes batches of J x J and J x K products, in any precision on any device, and nothing waits for the device.
Source: Qi & Sun 1993 (Math. Program. 58:353), semismooth Newton; for the problem Crowninshield & Brand 1981
(J. Biomech. 14:793).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch

from musclewarp.errors import MusclewarpError

_ROUND = 6  # steps between two looks at which problems are solved
_SHORTEST, _HALVINGS = 2.0**-16, 4


@dataclass(frozen=True, eq=False)
class Redundancy:
    """N problems, in tensors of one precision on one device.

    Attributes:
        effect: A `(N, J, K)`, the moment of each unknown at 1, in Nm.
        goal: b `(N, J)`, the moment that is asked for, in Nm.
        upper: u `(N or 1, K)`, possibly infinite.
        weight: h `(N or 1, K)`, positive.
        linear: f `(N or 1, K)`.
        reserve: s `(J,)`, the moment that costs as much as an unknown of weight 1 at 1, in Nm.
    """

    effect: torch.Tensor
    goal: torch.Tensor
    upper: torch.Tensor
    weight: torch.Tensor
    linear: torch.Tensor
    reserve: torch.Tensor

    def __getitem__(self, rows: torch.Tensor) -> Redundancy:
        """The problems `rows`, by index."""
        fields = {name: getattr(self, name) for name in ("effect", "goal", "upper", "weight", "linear")}
        return replace(self, **{name: value[rows] if len(value) > 1 else value for name, value in fields.items()})

    def missing(self, unknowns: torch.Tensor) -> torch.Tensor:
        """Reserves `(N, J)`: what `unknowns (N, K)` leave of the goal, in Nm."""
        return self.goal - _moment(self.effect, unknowns)

    def optimality(self, unknowns: torch.Tensor) -> torch.Tensor:
        """How far `unknowns (N, K)` are from the conditions of Karush, Kuhn and Tucker, `(N,)`: zero at the solution.

        The largest projected gradient, |x - clip(x - gradient, 0, u)|.
        """
        multipliers = self.missing(unknowns) / self.reserve**2
        gradient = self.weight * unknowns + self.linear - _pull(self.effect, multipliers)
        return (unknowns - _clip(unknowns - gradient, self.upper)).abs().amax(dim=1)


class Balance(NamedTuple):
    """Solutions: `unknowns (N, K)`, and `multipliers (N, J)` to start a similar problem from."""

    unknowns: torch.Tensor
    multipliers: torch.Tensor


def balance(problem: Redundancy, start: torch.Tensor | None = None, iterations: int = 5, searches: int = 4) -> Balance:
    """Solve all problems by a fixed number of Newton steps, from the multipliers `start (N, J)`, else from zero.

    From the multipliers of the control step before, four to six steps are exact in nearly all worlds. `searches` more
    evaluations refine the length of each step; where moments are far out of reach, more of them save steps.
    """
    # in y = sqrt(h) x and m = s l the curvature is A A' over the free unknowns, plus 1
    root = problem.weight.sqrt()
    effect = problem.effect / (root[:, None] * problem.reserve[:, None])
    goal, upper = problem.goal / problem.reserve, problem.upper * root
    force = torch.zeros_like(goal) if start is None else start * problem.reserve
    pull = _pull(effect, force) - problem.linear / root
    scratch = torch.empty_like(effect)  # large temporaries cost a CPU more to allocate than to fill
    for _ in range(iterations):
        free = (pull >= 0.0) & (pull <= upper)
        curvature = torch.mul(effect, free[:, None], out=scratch) @ effect.mT
        curvature.diagonal(dim1=-2, dim2=-1).add_(1.0)
        factor, _ = torch.linalg.cholesky_ex(curvature)
        error = goal - force - torch.mul(effect, _clip(pull, upper)[:, None], out=scratch).sum(dim=-1)
        step = torch.cholesky_solve(error[..., None], factor)[..., 0]
        turn = _pull(effect, step)
        rise = ((goal - force) * step).sum(1, keepdim=True), step.square().sum(1, keepdim=True)
        share = _line_search(pull, turn, upper, *rise, searches)
        force = torch.addcmul(force, share, step)
        pull = torch.addcmul(pull, share, turn)
    return Balance(_clip(pull, upper) / root, force / problem.reserve)


def balance_to_the_end(
    problem: Redundancy, start: torch.Tensor | None = None, tolerance: float = 1e-7, limit: int = 400
) -> Balance:
    """Solve all problems until `optimality` is at most `tolerance`, going on with those that need more steps.

    Raises:
        MusclewarpError: some still miss the tolerance after `limit` steps; it names them. In float32, rounding alone
            may be larger than the default.
    """
    start = torch.zeros_like(problem.goal) if start is None else start
    unknowns, multipliers = torch.empty_like(problem.effect[:, 0]), start.clone()
    rows = torch.arange(len(start), device=start.device)
    left = problem
    for _ in range(0, limit, _ROUND):
        solution = balance(left, multipliers[rows], _ROUND, searches=10)
        unknowns[rows], multipliers[rows] = solution
        unsolved = ~(left.optimality(solution.unknowns) <= tolerance)
        if not unsolved.any():
            return Balance(unknowns, multipliers)
        rows, left = rows[unsolved], left[unsolved.nonzero()[:, 0]]
    raise MusclewarpError(
        f"{len(rows)} of {len(start)} muscle redundancy problems are unsolved after {limit} steps, the first being "
        f"number {int(rows[0])}, with moments up to {float(left.goal[0].abs().max()):.3g} Nm; look there for numbers "
        "that are not finite, or for a jump in the movement"
    )


def _line_search(
    pull: torch.Tensor,
    turn: torch.Tensor,
    upper: torch.Tensor,
    constant: torch.Tensor,
    linear: torch.Tensor,
    searches: int,
) -> torch.Tensor:
    """The share `(N, 1)` of a step at which the dual function is largest: 1, or where its slope vanishes."""

    def slope(share: torch.Tensor) -> torch.Tensor:
        unknowns = _clip(torch.addcmul(pull, share, turn), upper)
        return constant - linear * share - (unknowns * turn).sum(dim=1, keepdim=True)

    low, high = torch.full_like(constant, _SHORTEST), torch.ones_like(constant)
    rise, fall = linear, slope(high)  # the slope at zero bounds that at `low`
    whole = fall >= 0.0
    share = high
    for attempt in range(_HALVINGS + searches):
        if attempt < _HALVINGS:  # first the order of magnitude, which may be small where much is saturated
            share = (low * high).sqrt()
        else:
            share = low + (high - low) * rise / (rise - fall)
        found = slope(share)
        onward = found > 0.0
        # the end that stays counts half, so that both ends close in (Illinois)
        rise, fall = torch.where(onward, found, 0.5 * rise), torch.where(onward, 0.5 * fall, found)
        low, high = torch.where(onward, share, low), torch.where(onward, high, share)
    # at the solution the slope is zero but for rounding: a whole step there does not go anywhere
    return torch.where(whole | ~share.isfinite(), 1.0, share)


def _clip(value: torch.Tensor, upper: torch.Tensor) -> torch.Tensor:
    return value.clamp(min=0.0).minimum(upper)


def _moment(effect: torch.Tensor, unknowns: torch.Tensor) -> torch.Tensor:
    """A x; on a CPU several times faster than a batched product of matrix and vector."""
    return (effect * unknowns[:, None]).sum(dim=-1)


def _pull(effect: torch.Tensor, multipliers: torch.Tensor) -> torch.Tensor:
    """A' l."""
    return (multipliers[:, None] @ effect)[:, 0]
