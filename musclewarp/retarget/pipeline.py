"""From a recording to a reference: body, targets, inverse kinematics, ground, velocities, quality."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import scipy.interpolate
import scipy.signal
from numpy.typing import NDArray

from musclewarp.errors import FileError
from musclewarp.models import MuscleModel
from musclewarp.motion import rotations
from musclewarp.motion.body import Body, body_of
from musclewarp.motion.motion import Motion
from musclewarp.references.quality import reference_quality
from musclewarp.references.reference import Reference, make_reference
from musclewarp.retarget.activations import with_activations
from musclewarp.retarget.contacts import STEADY, find_contacts, floor_slope
from musclewarp.retarget.feasible import solve_feasible
from musclewarp.retarget.grounded import solve_grounded
from musclewarp.retarget.ik import IKConfig, Solution
from musclewarp.retarget.person import arms_of_size, person_of_size, rest_motion
from musclewarp.retarget.quality import recording_quality
from musclewarp.retarget.targets import Targets, make_targets

Floats = NDArray[np.float64]


def retarget(
    motion: Motion,
    model: MuscleModel,
    dt: float | None = None,
    body: Body | None = None,
    config: IKConfig | None = None,
    on_iteration: Callable[[int, float], None] | None = None,
    activations: bool = True,
) -> Reference:
    """Fit a person's motion to a muscle model.

    The reference's quality has the numbers of `reference_quality` and `recording_quality`, `ik_iterations` and
    `ik_converged` (1 or 0), of whole bodies `floor_slope_rad` (how the recording's floor is tilted, of which up
    to 3 degrees are levelled), and those of `with_activations`.

    Args:
        motion: the recording.
        model: a whole body, or MyoBimanualArm (in the thorax frame).
        dt: s between frames of the reference; default: the model's control step.
        body: whose skeleton `motion` drives; default: its own, see `body_of`.
        config: weights of the inverse kinematics.
        on_iteration: called with (step, cost) as the inverse kinematics proceeds.
        activations: add those of the muscles, see `with_activations`, at some hundred frames a second for a whole body.

    Raises:
        FileError: the clip is too short for the control rate.
    """
    dt = dt or model.physics.control_dt
    body = body or body_of(motion)
    solution, targets = fit_postures(model, body, resample(motion, dt), config, on_iteration)
    reference = make_reference(
        model,
        solution.qpos,
        dt,
        name=motion.name,
        target_positions=targets.positions,
        source={
            **motion.source,
            "body": body.name,
            "fps": motion.fps,
            "gender": motion.gender,
            "shape_space": motion.shape_space,
        },
    )
    recording = (person_of_size if model.has_free_root else arms_of_size)(model, body, motion)
    quality = reference_quality(model, reference)
    quality |= recording_quality(model, reference, recording, targets.rotations)
    fit = {"ik_iterations": float(solution.iterations), "ik_converged": float(solution.converged)}
    if model.has_free_root:
        fit["floor_slope_rad"] = floor_slope(body.joints(motion).positions, motion.fps)
    reference = replace(reference, quality={**quality, **fit})
    return with_activations(model, reference) if activations else reference


def fit_postures(
    model: MuscleModel,
    body: Body,
    motion: Motion,
    config: IKConfig | None = None,
    on_iteration: Callable[[int, float], None] | None = None,
) -> tuple[Solution, Targets]:
    """The model's postures in a motion at the control rate, and the targets that they fit: see `retarget`."""
    if model.has_free_root:
        person = person_of_size(model, body, motion)
        contacts = find_contacts(person.positions, person.fps, STEADY)
        return solve_grounded(
            model, make_targets(model, person, person), contacts, 1 / motion.fps, config, on_iteration
        )
    targets = make_targets(model, body.joints(motion), body.joints(rest_motion(motion)))
    return solve_feasible(model, targets, 1 / motion.fps, config, on_iteration), targets


def resample(motion: Motion, dt: float) -> Motion:
    """`motion` at 1 / `dt` Hz: cubic splines through its frames, after a zero-phase low-pass for a lower rate.

    The low-pass, Butterworth's of order 8 there and back, keeps 99 % of an amplitude at 0.3 of the new rate, half of it
    at 0.4, and 2.7 % at 0.5. Splines keep 98 % at a quarter of the old rate, with 1 % of images, and have no jumps of
    acceleration; straight lines and arcs keep 81 %, with 9 % of images, and turn a corner at every frame. Rotations are
    taken as continuous quaternions, normalised afterwards.

    Raises:
        FileError: fewer than two frames remain.
    """
    rate, last = 1.0 / dt, motion.num_frames - 1
    frames = int(np.floor(motion.duration * rate + 1e-6)) + 1
    if frames < 2:
        raise FileError(f"motion '{motion.name}' lasts {motion.duration:.3f} s: too short for frames every {dt:.3f} s")
    quaternion, translation = rotations.continuous(motion.rotations), motion.translation
    if rate < motion.fps * 0.999:
        sections = scipy.signal.butter(8, 0.4 * rate, fs=motion.fps, output="sos")
        pad = min(27, last)  # scipy's own for this order, or as much as there is
        quaternion = rotations.normalize(scipy.signal.sosfiltfilt(sections, quaternion, axis=0, padlen=pad))
        translation = scipy.signal.sosfiltfilt(sections, translation, axis=0, padlen=pad)
    time = np.minimum(np.arange(frames) * dt * motion.fps, last)
    turned, moved = (
        scipy.interpolate.CubicSpline(np.arange(last + 1), values)(time) for values in (quaternion, translation)
    )
    return replace(motion, rotations=rotations.normalize(turned), translation=moved, fps=rate)
