"""How true a reference is to its recording; `references.quality` has what needs no recording."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from musclewarp.files import write_text
from musclewarp.models import MuscleModel
from musclewarp.models.kinematics import Kinematics
from musclewarp.motion import rotations
from musclewarp.motion.body import JointTrajectory
from musclewarp.motion.motion import SMPL_JOINTS
from musclewarp.references.quality import derivative, lowest_foot_heights, resample_spline, rms
from musclewarp.references.reference import Reference
from musclewarp.retarget.contacts import SIDES, Contacts, find_contacts
from musclewarp.retarget.targets import SITE_JOINTS

Floats = NDArray[np.float64]
QUALITY_FILE = "quality.json"
QUALITY_KEYS = (
    "position_rmse_m",
    "coupling_residual_max",
    "joint_limit_violation_fraction",
    "penetration_fraction",
    "tendon_jump_fraction",
    "stance_floating_m",
    "skate_mps",
    "recording_skate_mps",
    "jerk_ratio",
    "missing_moment_nm",
    "impossible_frames",
    "missing_root_force_n",
    "frames_per_s",
)
FLOATING = 0.010  # m, above which a foot in stance is said to float


def recording_quality(
    model: MuscleModel, reference: Reference, recording: JointTrajectory, target_rotations: Floats | None = None
) -> dict[str, float]:
    """Quality numbers of a reference against the recording that it was made from.

    - `position_rmse_m`: root mean square distance, over frames and raw joints (pelvis, femur, tibia, talus, toes,
      humerus, ulna and lunate of both sides, head: 16), relative to the pelvis, which counts with its zero;
    - `orientation_rmse_rad`: root mean square angle to `target_rotations`, where there are some;
    - `site_acceleration_rms_m_s2`, `site_jerk_rms_m_s3` and the same of the recording: of these bodies in the world, at
      30 Hz, without a filter; `acceleration_ratio`, `jerk_ratio` to the recording (absent if that does not move);
    - models with feet, where the recording's feet have any contact (`contacts`, the plain published definition):
      `stance_floating_m` and `stance_floating_fraction`: how far the lowest point of a foot's geoms is above the floor
      while its toe or heel is labelled, mean, and share over 10 mm; `skate_mps`: mean horizontal speed of toe bodies
      while the toe, of ankles while the heel is labelled; `recording_skate_mps`: the same of the recording's joints.

    Args:
        model: of the reference.
        reference: whose first frame is at the recording's first frame.
        recording: joints of the person at the model's size, at any rate and not filtered.
        target_rotations: wxyz, `(T, S, 4)`, of each frame and site; NaN for sites without.
    """
    table = site_quality(model, reference, recording, target_rotations)
    quality = {"position_rmse_m": rms(table["position_rmse_m"].dropna().to_numpy())}
    if target_rotations is not None:
        quality["orientation_rmse_rad"] = rms(table["orientation_rmse_rad"].dropna().to_numpy())
    for name, unit in (("acceleration", "m_s2"), ("jerk", "m_s3")):
        own, recorded = (rms(table[f"{who}{name}_rms"].dropna().to_numpy()) for who in ("", "recording_"))
        quality |= {f"site_{name}_rms_{unit}": own, f"recording_{name}_rms_{unit}": recorded}
        if recorded > 1e-6:
            quality[f"{name}_ratio"] = own / recorded
    if model.feet:
        quality |= _stance(model, reference, recording)
    return quality


def site_quality(
    model: MuscleModel, reference: Reference, recording: JointTrajectory, target_rotations: Floats | None = None
) -> pd.DataFrame:
    """One row per tracking site: its part in the numbers of `recording_quality`, NaN where it has none.

    Columns: `position_rmse_m`, `orientation_rmse_rad`, `acceleration_rms` (m/s²) and `jerk_rms` (m/s³) at 30 Hz, and
    `recording_acceleration_rms`, `recording_jerk_rms`.
    """
    pairs = _pairs(model)
    sites, joints = (np.array(column) for column in zip(*pairs, strict=True))
    times = np.arange(reference.num_frames) * reference.dt
    raw = recording.positions[:, joints]
    recorded = resample_spline(raw, 1.0 / recording.fps, times)
    own = reference.site_positions[:, sites]
    error = np.linalg.norm((own - own[:, :1]) - (recorded - recorded[:, :1]), axis=-1)
    columns = {"position_rmse_m": _rms_over_frames(error)}
    last = min(int(times[-1] * recording.fps + 1.5), len(raw))  # what the recording did afterwards is not asked for
    for order, name in ((2, "acceleration"), (3, "jerk")):
        columns[f"{name}_rms"] = _size(derivative(own, reference.dt, order))
        columns[f"recording_{name}_rms"] = _size(derivative(raw[:last], 1.0 / recording.fps, order))
    table = pd.DataFrame(columns, index=pd.Index([model.sites[s] for s in sites])).reindex(model.sites)
    table.index.name = "site"
    angle = np.full(len(model.sites), np.nan)
    if target_rotations is not None:
        oriented = ~np.isnan(target_rotations[0, :, 0])
        poses = Kinematics(model)(torch.from_numpy(reference.qpos), jacobian=False)
        turned = rotations.from_matrix(poses.rotation.numpy()[:, oriented])
        turn = rotations.multiply(target_rotations[:, oriented], rotations.conjugate(turned))
        angle[oriented] = _rms_over_frames(np.linalg.norm(rotations.to_rotvec(turn), axis=-1))
    table.insert(1, "orientation_rmse_rad", angle)
    return table


def _pairs(model: MuscleModel) -> list[tuple[int, int]]:
    """(site, SMPL joint) of all sites that have one, the root first; thorax and chest for arms alone."""
    names = SITE_JOINTS if model.has_free_root else SITE_JOINTS | {"upper_body": "spine3"}
    return [(i, SMPL_JOINTS.index(names[site])) for i, site in enumerate(model.sites) if site in names]


def _stance(model: MuscleModel, reference: Reference, recording: JointTrajectory) -> dict[str, float]:
    times = np.arange(reference.num_frames) * reference.dt
    recorded = resample_spline(recording.positions, 1.0 / recording.fps, times)
    contacts = find_contacts(recorded, 1.0 / reference.dt)
    if not contacts.foot.any():
        return {}
    heights = np.stack([lowest_foot_heights(model, reference.qpos, side) for side in SIDES], axis=1)
    floating = np.maximum(0.0, heights[contacts.foot])
    own = [[model.sites.index(f"{side}_{site}") for side in SIDES] for site in ("toes", "ankle")]
    raw = [[SMPL_JOINTS.index(f"{side}_{joint}") for side in SIDES] for joint in ("foot", "ankle")]
    return {
        "stance_floating_m": float(floating.mean()),
        "stance_floating_fraction": float((floating > FLOATING).mean()),
        "skate_mps": skate([reference.site_positions[:, sites] for sites in own], contacts, reference.dt),
        "recording_skate_mps": skate([recorded[:, joints] for joints in raw], contacts, reference.dt),
    }


def skate(points: list[Floats], contacts: Contacts, dt: float) -> float:
    """Mean horizontal speed in m/s of two toes and two ankles, each `(T, 2, 3)` m, while they are labelled."""
    speeds = [np.linalg.norm(np.gradient(place, dt, axis=0)[..., :2], axis=-1) for place in points]
    labelled = zip(speeds, (contacts.toe, contacts.heel), strict=True)
    return float(np.concatenate([speed[label] for speed, label in labelled]).mean())


def quality_row(clip: str, quality: Mapping[str, float], frames_per_s: float | None) -> dict[str, str | float | None]:
    """One entry of `quality.json`: the clip and `QUALITY_KEYS`, None where a number has no meaning for it."""
    known = {**quality, "frames_per_s": frames_per_s}
    return {"clip": clip} | {key: known.get(key) for key in QUALITY_KEYS}


def write_quality(folder: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write the rows of a folder of references to its `quality.json`, sorted by clip."""
    text = json.dumps(sorted(rows, key=lambda row: row["clip"]), indent=2, allow_nan=False)
    return write_text(folder / QUALITY_FILE, text + "\n")


def _rms_over_frames(values: Floats) -> Floats:
    return np.sqrt(np.square(values).mean(axis=0))


def _size(vectors: Floats) -> Floats:
    """Root mean square length over frames of `vectors (T, K, 3)`."""
    return _rms_over_frames(np.linalg.norm(vectors, axis=-1))
