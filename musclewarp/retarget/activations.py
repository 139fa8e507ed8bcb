"""The muscle activations of a reference, and how far they are from producing it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from musclewarp.dynamics import Trajectory, accelerations, optimize_activations
from musclewarp.models import MuscleModel
from musclewarp.references.reference import Reference

CUTOFF_HZ = 6.0  # of a whole body's accelerations: second differences of measured postures are mostly noise


def with_activations(model: MuscleModel, reference: Reference) -> Reference:
    """`reference` with the activations of static optimisation, frame by frame.

    The ground under a whole body, which recordings do not measure, pushes as the balance asks: its forces, at the
    points of the feet near the floor and within friction cones, are found together with the activations (a
    person who leans on the hands is not so explained: the feet alone push). Its
    accelerations are low-passed at 6 Hz, those of arms alone are not, for they were fitted to what muscles can do.

    The quality gains

    - `missing_moment_nm`: mean over frames of the largest joint moment that these activations leave missing;
    - `impossible_frames`: share of frames whose moments no activations in [0, 1] can produce: whichever are chosen, the
      ground pushing as here, at least one joint lacks more than a reserve's strength, 0.3 Nm (N of a slide);
    - `missing_root_force_n` (whole bodies): mean over frames of the force on the root that neither muscles nor ground
      explain: feet off the floor, or a movement that gravity does not allow.
    """
    free, qacc = model.has_free_root, reference_accelerations(model, reference)
    found = optimize_activations(model, Trajectory(reference.qpos, reference.qvel, qacc))
    joints = np.isin(model.couplings.independent, model.joint_dofs)
    quality = {
        "missing_moment_nm": float(np.abs(found.residual[:, joints]).max(axis=1).mean()),
        "impossible_frames": float(found.impossible.mean()),
    }
    if free:
        quality["missing_root_force_n"] = float(np.linalg.norm(found.residual[:, :3], axis=1).mean())
    return replace(reference, activations=found.activations, quality={**reference.quality, **quality})


def reference_accelerations(model: MuscleModel, reference: Reference) -> NDArray[np.float64]:
    """`(T, nv)` of a reference, as `with_activations` takes them: low-passed of a whole body."""
    if model.has_free_root:
        return accelerations(reference.qpos, reference.dt, model, CUTOFF_HZ)
    return accelerations(reference.qpos, reference.dt)
