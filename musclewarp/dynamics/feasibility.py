"""Which moments no muscles can produce, however hard they work."""

from __future__ import annotations

import daqp
import numpy as np
import torch
from numpy.typing import NDArray

from musclewarp.dynamics.redundancy import Redundancy

_UNBOUNDED = 1e30  # what daqp takes for infinity
_INFEASIBLE = -1


def impossible(problem: Redundancy, joints: NDArray[np.bool_], unknowns: torch.Tensor) -> NDArray[np.bool_]:
    """Whether no activations produce the moments of the N problems `(N,)`, for given forces of the ground.

    A problem is impossible if whatever bounded unknowns within their bounds, the activations, leave at least one of
    `joints (J,)` with more missing than its reserve's strength. Unbounded ones, the ground's forces, stay what they are
    in `unknowns (N, K)`, a solution of the problem: where that keeps within the reserves, nothing is left to ask.
    Elsewhere daqp, an active-set method, decides whether the set of such activations is empty.
    """
    missing = problem.missing(unknowns).numpy()[:, joints]
    strength = problem.reserve.numpy()[joints]
    muscles = problem.upper.isfinite().all(dim=0)
    effect = problem.effect[:, torch.from_numpy(joints)][:, :, muscles].numpy() / strength[:, None]
    upper, count = problem.upper[:, muscles].numpy(), int(muscles.sum())
    found = np.zeros(len(missing), dtype=bool)
    sense = np.zeros(count + len(strength), dtype=np.int32)
    for n in np.flatnonzero((np.abs(missing) > strength).any(axis=1)):
        own = unknowns[n, muscles].numpy()
        goal = missing[n] / strength + effect[n] @ own
        above = np.concatenate((np.broadcast_to(upper, (len(missing), count))[n], goal + 1.0))
        below = np.concatenate((np.zeros(count), goal - 1.0))
        *_, flag, _ = daqp.solve(np.eye(count), np.zeros(count), np.ascontiguousarray(effect[n]), above, below, sense)
        found[n] = flag == _INFEASIBLE
    return found
