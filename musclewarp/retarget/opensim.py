"""From OpenSim's joint angles to a reference: MyoFullBody's legs descend from the Rajagopal model.

Legs, elbows and forearms map joint by joint. The trunk of MyoFullBody bends in five vertebrae and its shoulders in
clavicle, scapula and humerus: there the joints are found whose torso, or upper arm, is oriented as OpenSim's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.interpolate import make_smoothing_spline
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from musclewarp.errors import FileError, ModelError
from musclewarp.models import MuscleModel
from musclewarp.models.kinematics import Kinematics
from musclewarp.models.surfaces import foot_geoms, geom_heights
from musclewarp.motion import rotations
from musclewarp.motion.opensim import coordinate_name, to_z_up
from musclewarp.motion.table import Table
from musclewarp.references.quality import lowest_foot_heights, reference_quality
from musclewarp.references.reference import Reference, make_reference
from musclewarp.retarget.bounds import independent_bounds, rest_posture

Floats = NDArray[np.float64]

PELVIS_TURN = ("pelvis_tilt", "pelvis_list", "pelvis_rotation")
PELVIS_PLACE = ("pelvis_tx", "pelvis_ty", "pelvis_tz")
TRUNK = ("lumbar_extension", "lumbar_bending", "lumbar_rotation")
_TRUNK_JOINTS = ("flex_extension", "lat_bending", "axial_rotation")
_ARM = ("arm_flex", "arm_add", "arm_rot")
_SHOULDER_JOINTS = ("elv_angle", "shoulder_elv", "shoulder_rot")
# same name, same sign, same zero; but pro_sup, which OpenSim counts from supination and MyoFullBody from the middle
_SAME = ("hip_flexion", "hip_adduction", "hip_rotation", "knee_angle", "ankle_angle", "subtalar_angle", "mtp_angle",
         "elbow_flex", "pro_sup")  # fmt: skip
KNEECAPS = ("knee_angle_r_beta", "knee_angle_l_beta")  # follow the knees; in degrees in files that say radians
_LOCKED = 1e-3  # rad, less than which nothing moves
TOE_SMOOTHNESS = 0.02  # s, standard deviation
PLANE_SMOOTHNESS = 1e-8  # s^4: squared angle that a squared acceleration of the plane is worth
OFFSETS = {f"pro_sup_{side}": -np.pi / 2 for side in "rl"}
JOINTS = tuple(f"{joint}_{side}" for side in "rl" for joint in _SAME)
ANGLES = (*PELVIS_TURN, *TRUNK, *JOINTS, *(f"{arm}_{side}" for side in "rl" for arm in _ARM))
_Y_UP_TO_Z_UP = rotations.from_rotvec([np.pi / 2, 0.0, 0.0])


class MappedPosture(NamedTuple):
    """Postures of a model, and what the mapping could not do.

    `qpos (T, nq)`, on the couplings and inside the limits; `at_rest`: joints of the model without data, in its rest
    posture; `clipped`: joint -> by how many rad at most it was brought into its range.
    """

    qpos: Floats
    at_rest: tuple[str, ...]
    clipped: dict[str, float]


def from_opensim(
    table: Table,
    model: MuscleModel,
    dt: float | None = None,
    name: str | None = None,
    treadmill_speed: float = 0.0,
    source: Mapping[str, Any] | None = None,
    cutoff_hz: float = np.inf,
) -> Reference:
    """The movement of a table of OpenSim coordinates (Rajagopal's names and signs) as a reference of a full-body model.

    Angles are kept (see `opensim_qpos`), the person's size is not: the pelvis moves as it was measured, and one
    vertical offset puts the feet on the floor. Toes that were not measured, or locked, bend where a heel rises.
    `Reference.source` tells what was not mapped, at rest, or clipped.

    Args:
        table: angles in rad, pelvis translations in m, in OpenSim's ground frame.
        model: with a free root, such as MyoFullBody.
        dt: s between frames; default: the model's control step. Faster recordings are low-pass filtered before.
        name: of the reference; default: the table's.
        treadmill_speed: m/s to add forwards (x), for a person who stays on a treadmill.
        source: provenance, added to the table's.
        cutoff_hz: of the low-pass, if that of the new rate is not lower.

    Raises:
        ConfigError: `cutoff_hz` is not positive.
        FileError: a pelvis coordinate is missing, a column is not in rad or m, or the recording is too short.
        ModelError: the model is not a whole body.
    """
    dt = dt or model.physics.control_dt
    table = table.rename({column: coordinate_name(column) for column in table.columns})
    unmapped = [column for column in table.columns if column not in ANGLES and column not in PELVIS_PLACE]
    table = table.select(column for column in table.columns if column not in unmapped)
    angles = np.array([unit == "rad" for unit in table.units])
    # a turn more or less would be filtered as if it had been made
    unwrapped = np.where(angles, np.unwrap(table.values, axis=0), table.values)
    mapped = opensim_qpos(replace(table, values=unwrapped).resample(dt, cutoff_hz), model)
    qpos = mapped.qpos
    qpos[:, 0] += treadmill_speed * dt * np.arange(len(qpos))
    stiff = [foot for foot in model.feet if _is_stiff(table, f"mtp_angle_{foot[0]}")]
    standing = [(_heel_heights if foot in stiff else lowest_foot_heights)(model, qpos, foot) for foot in model.feet]
    qpos[:, 2] -= np.percentile(np.min(standing, axis=0), 2)  # one offset onto the floor
    for foot in stiff:
        _bend_toes(model, qpos, foot, dt)
    told = {"unmapped": unmapped, "at_rest": list(mapped.at_rest), "clipped_rad": mapped.clipped, "bent_toes": stiff}
    reference = make_reference(
        model, qpos, dt, name=name or table.name, source={**table.source, **(source or {}), **told}
    )
    return replace(reference, quality=reference_quality(model, reference))


def opensim_qpos(table: Table, model: MuscleModel) -> MappedPosture:
    """Postures of a model at each row of a table of OpenSim coordinates, by their short names.

    Raises:
        FileError: a pelvis coordinate is missing, or a column is not in rad or m.
        ModelError: the model is not a whole body.
    """
    m = model.mj_model
    if not model.has_free_root or any(f"{joint}_{side}" not in model.dof_names for joint in _SAME for side in "rl"):
        raise ModelError(f"model '{model.name}' has no free root or no legs; OpenSim's movements are of a whole body")
    for names, unit in ((ANGLES, "rad"), (PELVIS_PLACE, "m")):
        for column in names:
            if column in table and table.unit(column) != unit:
                raise FileError(f"{table.name}: column '{column}' is in '{table.unit(column)}', expected '{unit}'")
    values: dict[str, Floats] = {name: table[name] + OFFSETS.get(name, 0.0) for name in JOINTS if name in table}
    for side in "rl":
        if all(f"{arm}_{side}" in table for arm in _ARM):
            values |= _shoulder(model, table, side)
    qpos = np.tile(rest_posture(model), (len(table.time), 1))
    clipped = _set_joints(model, qpos, values)
    _set_root(model, qpos, table)
    if all(name in table for name in TRUNK):
        _bend_trunk(model, qpos, table)
        values |= dict.fromkeys(_TRUNK_JOINTS, qpos[:, 0])
        clipped |= _set_joints(model, qpos, {name: qpos[:, m.joint(name).qposadr[0]] for name in _TRUNK_JOINTS})
    at_rest = tuple(name for name in (model.dof_names[dof] for dof in model.joint_dofs) if name not in values)
    return MappedPosture(qpos, at_rest, clipped)


def _set_joints(model: MuscleModel, qpos: Floats, values: Mapping[str, Floats]) -> dict[str, float]:
    """Write joint values `(T,)` into `qpos (T, nq)`, inside their limits, with what they drive; what was cut off."""
    lower, upper = independent_bounds(model, 0.0, avoid_flips=False)  # measured angles are kept
    index = {model.dof_names[dof]: i for i, dof in enumerate(model.couplings.independent)}
    clipped = {}
    for name, value in values.items():
        inside = np.clip(value, lower[index[name]], upper[index[name]])
        if (outside := float(np.abs(value - inside).max())) > 1e-9:
            clipped[name] = outside
        qpos[:, model.mj_model.joint(name).qposadr[0]] = inside
    qpos[:] = model.couplings.project_qpos(torch.from_numpy(qpos)).numpy()
    return clipped


def _turned(table: Table, names: Sequence[str], mirrored: bool = False) -> Floats:
    """OpenSim's rotation `(T, 4)` about z, then x, then y of what has turned already.

    The left arm's axes x and y point the other way.
    """
    sign = -1.0 if mirrored else 1.0
    angles = table.select(names).values * [1.0, sign, sign]
    return Rotation.from_euler("ZXY", angles).as_quat(scalar_first=True)


def _set_root(model: MuscleModel, qpos: Floats, table: Table) -> None:
    """The free joint's pose from the pelvis', which hangs from it by a constant turn and offset."""
    m = model.mj_model
    pelvis = m.body("pelvis")
    place = to_z_up(table.select(PELVIS_PLACE).values)
    turn = rotations.multiply(_Y_UP_TO_Z_UP, _turned(table, PELVIS_TURN))
    root = rotations.multiply(turn, rotations.conjugate(rotations.normalize(pelvis.quat)))
    qpos[:, 3:7] = rotations.continuous(rotations.normalize(root))
    qpos[:, :3] = place - rotations.rotate(qpos[:, 3:7], pelvis.pos)


def _bend_trunk(model: MuscleModel, qpos: Floats, table: Table) -> None:
    """Newton's method for the three trunk joints, so that the torso is turned against the pelvis as OpenSim's."""
    m = model.mj_model
    kinematics = Kinematics(model, bodies=np.array([m.body("pelvis").id, m.body("torso").id]))
    goal = rotations.to_matrix(_turned(table, TRUNK))
    dofs = [int(m.joint(name).dofadr[0]) for name in _TRUNK_JOINTS]
    columns = [model.couplings.independent.tolist().index(dof) for dof in dofs]
    addresses = [int(m.joint(name).qposadr[0]) for name in _TRUNK_JOINTS]
    for _ in range(6):  # converges to 1e-12 in four
        poses = kinematics(torch.from_numpy(qpos))
        pelvis, torso = poses.rotation[:, 0].numpy(), poses.rotation[:, 1].numpy()
        error = rotations.to_rotvec(rotations.from_matrix(pelvis @ goal @ torso.transpose(0, 2, 1)))
        jacobian = model.couplings.reduce_columns(torch.from_numpy(qpos), poses.jacobian[:, 1, 3:]).numpy()
        qpos[:, addresses] += np.linalg.solve(jacobian[:, :, columns], error[..., None])[..., 0]
        qpos[:] = model.couplings.project_qpos(torch.from_numpy(qpos)).numpy()


def _is_stiff(table: Table, toes: str) -> bool:
    """Whether toes were not measured: they have no column, or that of a locked joint."""
    return toes not in table or bool(np.ptp(table[toes]) < _LOCKED)


def _heel_heights(model: MuscleModel, qpos: Floats, foot: str) -> Floats:
    """Height `(T,)` in m of the lowest point of a foot without its toes."""
    return geom_heights(model, qpos, _foot_parts(model, foot, toes=False)).min(axis=1)


def _foot_parts(model: MuscleModel, foot: str, toes: bool) -> list[int]:
    heel = model.mj_model.body(model.layout.feet[foot]).id
    return [geom for geom in foot_geoms(model, foot) if (model.mj_model.geom_bodyid[geom] != heel) == toes]


def _bend_toes(model: MuscleModel, qpos: Floats, foot: str, dt: float) -> None:
    """Bend the toes of a foot as little as keeps them out of the floor, smoothly.

    Laboratories weld toes to the foot; so stiff, they would lift a whole walker by 5 cm as he pushes off.
    """
    joint, toes = model.mj_model.joint(f"mtp_angle_{foot[0]}"), _foot_parts(model, foot, toes=True)
    low, high = joint.range
    angles = np.linspace(low, high, 41)
    angles = angles[np.abs(angles).argsort()]
    heights = np.empty((len(angles), len(qpos)))
    for row, angle in zip(heights, angles, strict=True):
        bent = qpos.copy()
        bent[:, joint.qposadr[0]] = angle
        row[:] = geom_heights(model, bent, toes).min(axis=1)
    least = np.where((heights >= 0).any(axis=0), (heights >= 0).argmax(axis=0), heights.argmax(axis=0))
    qpos[:, joint.qposadr[0]] = gaussian_filter1d(angles[least], TOE_SMOOTHNESS / dt, mode="nearest")


def _shoulder(model: MuscleModel, table: Table, side: str) -> dict[str, Floats]:
    """Elevation plane, elevation and axial rotation of the upper arm that OpenSim's three angles describe.

    In MyoFullBody's shoulder clavicle and scapula do not turn the humerus: it is turned by `rot` about its long axis
    `a`, then by `elv` about the axis `b`, itself turned by `plane` about `a`. So `rot` is the twist about `a` and the
    rest follows from where `a` comes to lie. The plane of a hanging arm is undefined, and turns wildly of one that
    nearly hangs: it is smoothed, weighted by how much it matters, which turns a walker's arm by half a degree at most.
    """
    m = model.mj_model
    along, across = (m.joint(f"{joint}_{side}").axis for joint in _SHOULDER_JOINTS[:2])
    turn = _turned(table, [f"{arm}_{side}" for arm in _ARM], mirrored=side == "l")
    twist = np.unwrap(2 * np.arctan2(turn[:, 1:] @ along, turn[:, 0]))
    lies = rotations.rotate(turn, along)
    towards, sideways = lies @ across, -lies @ np.cross(along, across)
    elevation = np.arctan2(np.hypot(towards, sideways), lies @ along)
    plane = np.unwrap(np.arctan2(towards, sideways))
    if len(plane) >= 5:  # what a smoothing spline needs
        weight = np.sin(elevation) ** 2 + 1e-6
        spline = make_smoothing_spline(table.time, plane, weight, lam=PLANE_SMOOTHNESS * table.rate)
        smooth = spline(table.time)
        # the nearest elevation in that plane
        elevation = np.arctan2(np.sin(elevation) * np.cos(smooth - plane), np.cos(elevation))
        plane = smooth
    return dict(zip((f"{joint}_{side}" for joint in _SHOULDER_JOINTS), (plane, elevation, twist)))
