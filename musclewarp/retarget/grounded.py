"""Whole bodies on their floor: where the recorded feet stand, the model's stand, and never below."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from musclewarp.models import MuscleModel
from musclewarp.references.quality import lowest_foot_heights
from musclewarp.retarget.contacts import SIDES, FootContacts
from musclewarp.retarget.ground import Ground, Soles
from musclewarp.retarget.ik import EVERY_STRIDE, STRIDE, IKConfig, Solution, between, roughly, solve
from musclewarp.retarget.targets import Targets


def solve_grounded(
    model: MuscleModel,
    targets: Targets,
    contacts: FootContacts,
    dt: float,
    config: IKConfig | None = None,
    on_iteration: Callable[[int, float], None] | None = None,
) -> tuple[Solution, Targets]:
    """Postures that fit `targets` on a floor at z = 0, and the targets, shifted to it.

    The recording's floor is known only by where its feet are. So some frames are fitted without a floor; as high as
    their standing feet are, so much are all targets lowered. From there the clip is fitted on the floor.
    """
    soles = Soles(model)
    stance = contacts.foot[:, [SIDES.index(foot) for foot in model.feet]]
    config = config or IKConfig()
    rough = solve(model, targets.at(EVERY_STRIDE), STRIDE * dt, roughly(config), on_iteration)
    lowest = np.stack([lowest_foot_heights(model, rough.qpos, foot) for foot in model.feet], axis=1)
    stands = stance[EVERY_STRIDE]
    standing = lowest[stands] if stands.any() else np.sort(lowest.min(axis=1))[: 1 + len(lowest) // 20]
    drop = np.array([0.0, 0.0, np.median(standing)])
    lowered = Targets(targets.positions - drop, targets.rotations)
    start, done, ground = rough.qpos.copy(), rough.iterations, Ground(soles, stance)
    start[:, :3] -= drop
    for frames, step, how in ((EVERY_STRIDE, STRIDE * dt, roughly(config)), (slice(None), dt, config)):
        if frames != EVERY_STRIDE:
            start = between(model, start, len(stance))
        report = on_iteration and (lambda k, cost, done=done: on_iteration(done + k, cost))
        solution = solve(model, lowered.at(frames), step, how, report, start, ground=ground.at(frames))
        start, done = solution.qpos, done + solution.iterations
    return replace(solution, iterations=done), lowered
