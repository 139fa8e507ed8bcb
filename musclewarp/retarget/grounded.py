"""Whole bodies on their floor: where the recorded feet and hands stand, the model's stand, and nothing is below."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator
from scipy.ndimage import gaussian_filter1d

from musclewarp.models import MuscleModel
from musclewarp.models.kinematics import Kinematics
from musclewarp.retarget.contacts import CARRYING_HEIGHT, LIMBS, Contacts
from musclewarp.retarget.ground import Ground, Surface, limb_sites
from musclewarp.retarget.hands import carrying, prop
from musclewarp.retarget.ik import IKConfig, Solution, between, roughly, solve, stride_of
from musclewarp.retarget.targets import Targets

Floats = NDArray[np.float64]
_NEAR = 0.10  # m
_FALL = 50.0  # m/s²
_HANDS = [limb for limb, name in enumerate(LIMBS) if name.endswith("hand")]


def solve_grounded(
    model: MuscleModel,
    targets: Targets,
    contacts: Contacts,
    dt: float,
    config: IKConfig | None = None,
    on_iteration: Callable[[int, float], None] | None = None,
) -> tuple[Solution, Targets]:
    """Postures that fit `targets` on a floor at z = 0, and the targets, shifted to it.

    The recording's floor is known only by where its feet are. So some frames are fitted without a floor; as high as
    their standing feet are, so much are all targets lowered. From there the clip is fitted on the floor, with what of
    the body comes near it in these frames (between them, nothing falls by more than at 50 m/s²: 6 cm where they are
    a tenth of a second apart), towards limbs that are lifted out of it; where hands carry the body, all targets are.
    """
    surface, feet = Surface(model), len(model.feet)
    stance = contacts.limbs & surface.stands
    config = config or IKConfig()
    stride = stride_of(dt)
    every = slice(None, None, stride)
    rough = solve(model, targets.at(every), stride * dt, roughly(config), on_iteration)
    carry = carrying(stance[:, _HANDS], dt)
    targets, posture = prop(model, targets, rough.qpos, stride, carry)
    kinematics = Kinematics(model, surface.bodies, surface.centres)
    heights = surface.lowest(*kinematics.points(kinematics.walk(torch.from_numpy(posture))))[:, 2].T.numpy()
    lowest = np.stack([heights[:, surface.limb == limb].min(axis=1, initial=np.inf) for limb in range(len(LIMBS))], 1)
    stands = stance[every, :feet]
    standing = (
        lowest[:, :feet][stands] if stands.any() else np.sort(lowest[:, :feet].min(axis=1))[: 1 + len(lowest) // 20]
    )
    drop = float(np.median(standing))
    lowered = Targets(targets.positions - [0.0, 0.0, drop], targets.rotations)
    reach = max(_NEAR, _FALL * (stride * dt) ** 2 / 8 + _NEAR / 3)
    near = (heights.min(axis=0) < drop + reach) | np.isin(surface.limb, np.flatnonzero(stance.any(axis=0)))
    raised, goal = _lifted(model, lowered, drop - lowest, carry[every], stride)
    ground = Ground(surface.only(near), stance)
    start, done = posture.copy(), rough.iterations
    start[:, 2] -= drop
    if (drop - lowest).max() > _NEAR:  # what is that deep is not pushed out, but led out: pushed, wrists turn over
        report = on_iteration and (lambda k, cost, done=done: on_iteration(done + k, cost))
        led = solve(model, goal.at(every), stride * dt, roughly(config), report, start)
        start, done = led.qpos, done + led.iterations
    for frames, step, how in ((every, stride * dt, roughly(config)), (slice(None), dt, config)):
        if frames == slice(None):
            start = between(model, start, len(stance), stride)
        report = on_iteration and (lambda k, cost, done=done: on_iteration(done + k, cost))
        solution = solve(model, goal.at(frames), step, how, report, start, ground=ground.at(frames))
        start, done = solution.qpos, done + solution.iterations
    return replace(solution, iterations=done), raised


def _lifted(model: MuscleModel, targets: Targets, depth: Floats, carry: Floats, stride: int) -> tuple[Targets, Targets]:
    """`targets`, smoothly higher where hands are in the floor, and the same with limbs that are in it as high as that.

    What was recorded sinks where bodies differ: hands by a foot's length in a cartwheel, for the wrist of a muscle
    model bends less than ninety degrees. Pushed out by the floor alone, they would jump as they reach it. So by their
    `depth (T / stride, 4)` m, hands lift the whole body, as much as they are lower than the feet, or elbows would bend
    by a right angle; what any limb still is too deep, only itself. What is on the floor stays there, and hands come
    down to it as much as they `carry (T / stride, 2)`: bent back, they reach less far than as they were recorded.
    """
    deep = np.maximum(0.0, depth)
    weight = np.exp((depth - depth.max(axis=1, keepdims=True)) / CARRYING_HEIGHT)
    whole = gaussian_filter1d((weight * deep)[:, _HANDS].sum(axis=1) / weight.sum(axis=1), 1.0)
    height = np.clip(-depth, 0.0, CARRYING_HEIGHT)
    own = deep + whole[:, None] * height / CARRYING_HEIGHT
    own[:, _HANDS] += carry * (deep - height - own)[:, _HANDS]
    lift = np.column_stack((own, whole))
    known = stride * np.arange(len(depth))
    time = np.minimum(np.arange(len(targets.positions)), known[-1])
    lift = PchipInterpolator(known, lift)(time) if len(known) > 1 else np.repeat(lift, len(time), axis=0)
    raised = targets.positions.copy()
    raised[..., 2] += lift[:, -1:]
    goal = raised.copy()
    for limb in range(len(LIMBS)):
        goal[:, limb_sites(model, limb), 2] += lift[:, limb, None] - lift[:, -1:]
    return Targets(raised, targets.rotations), Targets(goal, targets.rotations)
