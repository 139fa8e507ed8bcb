"""A periodic part of a reference, cut from heel strike to heel strike, that can be followed for ever."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d, maximum_filter1d

from musclewarp.errors import FileError
from musclewarp.models import MuscleModel
from musclewarp.models.kinematics import Kinematics
from musclewarp.motion import rotations
from musclewarp.references.cycle import cycle_of
from musclewarp.references.heel_strikes import heel_strikes
from musclewarp.references.quality import lowest_foot_heights, reference_quality
from musclewarp.references.reference import Reference, differentiate
from musclewarp.references.seam import Seam, close_numbers, close_postures, lead_on

Floats = NDArray[np.float64]
_FADE = 0.25
"""Seconds before and after the seam over which one end of a loop fades into the other; a quarter of a short cycle."""
_LIFT = 0.1
"""Seconds before and after a foot that is too deep in which the root rises and falls again."""
_NEAR = 0.1
"""Seconds before and after the seam that are called near to it."""


def cut_loop(
    model: MuscleModel,
    reference: Reference,
    times: tuple[float, float] | None = None,
    *,
    straight: bool = False,
    name: str = "",
) -> Reference:
    """The part of a reference that repeats, closed: its last frame is its first one, turned and displaced.

    One end fades into the other, so that velocities and accelerations close, too (`seam`); elsewhere the loop is its
    recording. Feet stand as they did, and joints stay in their ranges, for what lies between two postures of the
    recording does; where the two are so unlike that a foot would still get deeper than it was recorded, the root is
    smoothly lifted. Independent coordinates are closed, coupled ones follow. Quality has the numbers of
    `reference_quality`, and

    - `seam_mismatch_m`: mean distance of the sites, relative to the root, between what was to be the same at both ends;
    - `seam_speed_ratio`, `seam_acceleration_ratio`: the largest root mean square over joints within 0.1 s of the seam,
      relative to the largest in the recording of this cycle;
    - `cycle_yaw_rad` and `cycle_distance_m` (models with a free root) that a cycle leads on.

    Args:
        model: whose movement it is.
        reference: the recording; where it does not go on beyond the ends, these go on as each other.
        times: from when to when, s; default: from a heel strike to the next of the same foot, of all those whose
            surroundings are most alike.
        straight: take the turn of a cycle out of the path, evenly, so that the loop leads straight on.
        name: of the loop; default: the reference's with "_loop".

    Raises:
        FileError: the reference is a loop already or of another model, the times are not in it, or it has too few heel
            strikes.
    """
    reference.check_model(model)
    if reference.loop:
        raise FileError(f"reference '{reference.name}' is a loop already; cut it from what it was made of")
    seam = _best_seam(model, reference) if times is None else _seam_at(reference, *times)
    qpos = _straightened(reference.qpos, seam) if straight and model.has_free_root else reference.qpos
    closed = model.couplings.project_qpos(torch.from_numpy(close_postures(model, qpos, seam))).numpy()
    if model.feet:
        closed = _lifted(model, closed, float(lowest_foot_heights(model, seam.frames(qpos)).min()), reference.dt)
    cycle = cycle_of(closed) if model.has_free_root else None
    before, after = lead_on(cycle, closed[-2:-1], -1), lead_on(cycle, closed[1:2], 1)
    qvel = differentiate(model, np.concatenate((before, closed, after)), reference.dt)[1:-1]
    targets = close_numbers(_from_root(model, reference.qpos, reference.target_positions), seam)
    activations = reference.activations
    loop = replace(
        reference,
        name=name or f"{reference.name}_loop",
        loop=True,
        qpos=closed,
        qvel=qvel,
        site_positions=Kinematics(model)(torch.from_numpy(closed), jacobian=False).position.numpy(),
        target_positions=_to_world(model, closed, targets),
        activations=None if activations is None else close_numbers(activations, seam),
        source={
            **reference.source,
            "loop_of": reference.name,
            "loop_frames": [seam.first, seam.last],
            "loop_straight": straight,
        },
    )
    quality = {"seam_mismatch_m": _mismatch(model, reference, seam)}
    quality |= _seam_quality(model, seam.frames(qpos), closed, reference.dt)
    return replace(loop, quality=reference_quality(model, loop) | quality)


def _seam_quality(model: MuscleModel, recorded: Floats, closed: Floats, dt: float) -> dict[str, float]:
    joints = closed[:-1, model.joint_qpos]
    frame = np.arange(len(joints))
    near = np.minimum(frame, len(joints) - frame) <= round(_NEAR / dt)
    around = np.concatenate((joints[-1:], joints, joints[:1]))
    quality = {}
    for key, order in (("speed", 1), ("acceleration", 2)):
        sizes = [
            np.sqrt(((np.gradient(q, axis=0)[1:-1] if order == 1 else np.diff(q, n=2, axis=0)) ** 2).mean(axis=1))
            for q in (around, recorded[:, model.joint_qpos])
        ]
        largest = sizes[1].max()
        quality[f"seam_{key}_ratio"] = float(sizes[0][near].max() / largest) if largest > 0 else 1.0
    if model.has_free_root:
        cycle = cycle_of(closed)
        quality["cycle_yaw_rad"] = float(cycle.yaw)
        quality["cycle_distance_m"] = float(cycle.displacement.norm())
    return quality


def _seam_at(reference: Reference, start: float, end: float) -> Seam:
    """The seam from `start` to `end` s.

    Raises:
        FileError: they are not in the reference.
    """
    first, last, final = round(start / reference.dt), round(end / reference.dt), reference.num_frames - 1
    if not 0 <= first < last - 1 < final:
        raise FileError(
            f"reference '{reference.name}' lasts {reference.duration:g} s; a loop from {start:g} to {end:g} s is not "
            f"in it, or shorter than two frames of {reference.dt:g} s"
        )
    fade = min(round(_FADE / reference.dt), (last - first) // 4)
    before = min(first, max(fade, 2 * fade - (final - last)))
    after = min(final - last, 2 * fade - before)
    return Seam(first, last, before, after, lacking=fade - (before + after) // 2)


def _best_seam(model: MuscleModel, reference: Reference) -> Seam:
    """From a heel strike to the next of the same foot, where the recording comes nearest to repeating itself.

    Raises:
        FileError: no foot strikes twice.
    """
    strikes = heel_strikes(model, reference)
    pairs = [pair for frames in strikes.values() for pair in itertools.pairwise(frames)]
    if not pairs:
        found = ", ".join(f"{foot} {len(frames)}" for foot, frames in strikes.items()) or "the model has no feet"
        raise FileError(
            f"reference '{reference.name}' has too few heel strikes ({found}), needed are two of one foot; "
            "say from when to when it repeats itself, in seconds"
        )
    # a strike is known to a frame
    ends = [
        (first, last + shift) for first, last in pairs for shift in (-1, 0, 1) if last + shift < len(reference.qpos)
    ]
    seams = [_seam_at(reference, first * reference.dt, last * reference.dt) for first, last in ends]
    return min(seams, key=lambda seam: _mismatch(model, reference, seam))


def _mismatch(model: MuscleModel, reference: Reference, seam: Seam) -> float:
    """Mean distance in m of the sites, as the root sees them, between what is to be the same around both ends.

    Sites and not joints: an arm that hangs can have any elevation plane.
    """
    start, end = seam.overlap(_from_root(model, reference.qpos, reference.site_positions))
    return float(np.linalg.norm(end - start, axis=-1).mean())


def _straightened(qpos: Floats, seam: Seam) -> Floats:
    """`qpos (T, nq)` with the turn of one cycle taken out evenly, way and orientation; the seam's start stays."""
    yaw = float(cycle_of(qpos[[seam.first, seam.last]]).yaw)
    angle = -yaw * (np.arange(len(qpos)) - seam.first) / seam.period
    turned, steps = qpos.copy(), np.diff(qpos[:, :2], axis=0)
    c, s = np.cos((angle[1:] + angle[:-1]) / 2), np.sin((angle[1:] + angle[:-1]) / 2)
    turned[1:, 0] = np.cumsum(c * steps[:, 0] - s * steps[:, 1])
    turned[1:, 1] = np.cumsum(s * steps[:, 0] + c * steps[:, 1])
    turned[0, :2] = 0.0
    turned[:, :2] += qpos[seam.first, :2] - turned[seam.first, :2]
    half = np.stack((np.cos(angle / 2), 0 * angle, 0 * angle, np.sin(angle / 2)), axis=1)
    turned[:, 3:7] = rotations.multiply(half, qpos[:, 3:7])
    return turned


def _lifted(model: MuscleModel, closed: Floats, floor: float, dt: float) -> Floats:
    """One cycle `(period + 1, nq)` with its root smoothly as much higher as a foot is below `floor` m."""
    reach = max(1, round(_LIFT / dt))
    lack = np.maximum(0.0, floor - lowest_foot_heights(model, closed[:-1]))
    # a mean over no more than `reach` of what is the most within `reach` is nowhere too little
    lift = gaussian_filter1d(maximum_filter1d(lack, 2 * reach + 1, mode="wrap"), reach / 2, mode="wrap", radius=reach)
    lifted = closed.copy()
    lifted[:, 2] += np.append(lift, lift[0])
    return lifted


def _from_root(model: MuscleModel, qpos: Floats, points: Floats) -> Floats:
    """World points `(T, S, 3)` as the root at `qpos` sees them: numbers that repeat themselves."""
    if not model.has_free_root:
        return points
    return rotations.rotate(rotations.conjugate(qpos[:, None, 3:7]), points - qpos[:, None, :3])


def _to_world(model: MuscleModel, qpos: Floats, points: Floats) -> Floats:
    """What `_from_root` saw, in the world."""
    return rotations.rotate(qpos[:, None, 3:7], points) + qpos[:, None, :3] if model.has_free_root else points
