"""Left against right. Models without sides pass."""

from __future__ import annotations

from collections.abc import Iterator

import mujoco
import numpy as np
import torch

from musclewarp.models.excursion import dof_range, sample_postures
from musclewarp.models.muscles import moment_arms
from musclewarp.models.sanity.finding import Finding, Subject

_SCALAR = (int(mujoco.mjtJoint.mjJNT_HINGE), int(mujoco.mjtJoint.mjJNT_SLIDE))
_PARAMETERS = {  # column of the muscle table: its unit
    "peak_force": "N",
    "optimal_fibre_length": "m",
    "tendon_slack_length": "m",
    "time_activation": "s",
    "time_deactivation": "s",
    "max_velocity": "optimal fibre lengths/s",
}


def _pairs(partner: np.ndarray) -> Iterator[tuple[int, int]]:
    yield from ((i, int(other)) for i, other in enumerate(partner) if other > i)


def unpaired(subject: Subject) -> Iterator[Finding]:
    """Muscles, joints and bodies whose names have a side and that have no partner."""
    if (mirror := subject.mirror) is None:
        return
    for what, partner, name_of in (
        ("muscle", mirror.muscle, subject.model.actuator),
        ("joint", mirror.joint, subject.model.joint),
        ("body", mirror.body, subject.model.body),
    ):
        for i in np.flatnonzero(partner < 0):
            text = f"{what} '{name_of(i).name}' has no partner on the other side"
            yield Finding("unpaired", name_of(i).name, np.nan, "a partner", 1.0, text)


def joints(subject: Subject, tolerance: float = 0.01) -> Iterator[Finding]:
    """Axes that are no mirror images, and ranges further apart than `tolerance` (rad, or a share of a slide)."""
    if (mirror := subject.mirror) is None:
        return
    model = subject.model
    for i, other in enumerate(mirror.joint):
        kind, name = model.jnt_type[i], model.joint(i).name
        if other < i or kind not in _SCALAR:
            continue
        sign, partner = mirror.joint_sign[i], model.joint(other).name
        if sign == 0.0:
            text = f"the axes of '{name}' and '{partner}' are no mirror images of each other"
            yield Finding("joint_symmetry", name, np.nan, "a mirrored axis", np.inf, text)
        elif model.jnt_limited[i] or model.jnt_limited[other]:
            mirrored = np.sort(sign * (model.jnt_range[i] - model.qpos0[model.jnt_qposadr[i]]))
            apart = np.abs(model.jnt_range[other] - model.qpos0[model.jnt_qposadr[other]] - mirrored).max()
            slide = kind == mujoco.mjtJoint.mjJNT_SLIDE
            allowed = tolerance * np.ptp(mirrored) if slide else tolerance
            if apart > allowed:
                text = (
                    f"the range of '{partner}' is {apart:.4f} {'m' if slide else 'rad'} from that of '{name}', mirrored"
                )
                expected = f"at most {allowed:.2g} {'m' if slide else 'rad'}"
                yield Finding("range_symmetry", name, float(apart), expected, float(apart / allowed), text)


def couplings(subject: Subject, tolerance: float = 0.01) -> Iterator[Finding]:
    """Coupling polynomials whose mirror images are further apart than `tolerance` of what they span.

    With s the signs of the coordinates (see `Mirror`), the partner of q = sum c_k x^k has c'_k = s_dep s_drv^k c_k.
    """
    if (mirror := subject.mirror) is None:
        return
    model, table = subject.model, subject.couplings
    of_joint = {int(model.dof_jntid[dof]): k for k, dof in enumerate(table.dependent)}
    for joint, k in of_joint.items():
        other, name = int(mirror.joint[joint]), model.joint(joint).name
        if other < 0 or (other < joint and other in of_joint):
            continue
        if other not in of_joint:
            text = f"'{name}' is coupled, its partner '{model.joint(other).name}' is not"
            yield Finding("coupling_symmetry", name, np.nan, "two couplings", np.inf, text)
            continue
        j = of_joint[other]
        driver, its_driver = int(table.driver[k]), int(table.driver[j])
        driver_joint = int(model.dof_jntid[driver]) if driver >= 0 else -1
        expected_driver = int(mirror.joint[driver_joint]) if driver >= 0 else -1
        if expected_driver != (int(model.dof_jntid[its_driver]) if its_driver >= 0 else -1):
            text = f"the couplings of '{name}' and '{model.joint(other).name}' have drivers that are no partners"
            yield Finding("coupling_symmetry", name, np.nan, "partner drivers", np.inf, text)
            continue
        sign = mirror.joint_sign[driver_joint] if driver >= 0 else 1.0
        mirrored = mirror.joint_sign[joint] * sign ** np.arange(5) * table.coefficients[k]
        low, high = dof_range(model, its_driver) if its_driver >= 0 else (0.0, 0.0)
        powers = np.vander(np.linspace(low, high, 101) - table.driver_offset[j], 5, increasing=True)
        apart = float(np.abs(powers @ (table.coefficients[j] - mirrored)).max())
        allowed = max(tolerance * float(np.ptp(powers @ mirrored)), 1e-6)
        if apart > allowed:
            text = (
                f"the couplings of '{name}' and '{model.joint(other).name}' are up to {apart:.4g} apart when mirrored"
            )
            yield Finding("coupling_symmetry", name, apart, f"at most {allowed:.2g}", apart / allowed, text)


def masses(subject: Subject, tolerance: float = 0.01) -> Iterator[Finding]:
    """Segments whose mass, or a principal moment of inertia, differs by more than a share of `tolerance`."""
    if (mirror := subject.mirror) is None:
        return
    model = subject.model
    for i, other in _pairs(mirror.body):
        for what, unit, values in (("mass", "kg", model.body_mass), ("inertia", "kg m2", model.body_inertia)):
            one, two = np.sort(np.atleast_1d(values[i])), np.sort(np.atleast_1d(values[other]))
            share = float((np.abs(one - two) / np.maximum(np.maximum(one, two), 1e-12)).max())
            if share > tolerance:
                names = model.body(i).name, model.body(other).name
                text = f"the {what} of '{names[0]}' and '{names[1]}' differ by {share:.1%}"
                expected = f"equal ({np.array2string(one, precision=4)} {unit})"
                yield Finding("mass_symmetry", names[0], share, expected, share / tolerance, text)


def muscle_parameters(subject: Subject, tolerance: float = 1e-3) -> Iterator[Finding]:
    """Parameters of partner muscles that differ by more than a share of `tolerance`.

    Slack lengths, which can be zero, are measured against the optimal fibre length.
    """
    if (mirror := subject.mirror) is None:
        return
    table = subject.muscles
    for i, other in _pairs(mirror.muscle):
        for column, unit in _PARAMETERS.items():
            one, two = float(table[column].iloc[i]), float(table[column].iloc[other])
            scale = (
                table["optimal_fibre_length"].iloc[i] if column == "tendon_slack_length" else max(abs(one), abs(two))
            )
            share = abs(one - two) / max(float(scale), 1e-12)
            if share > tolerance:
                names = table.index[i], table.index[other]
                text = f"the {column.replace('_', ' ')} of '{names[1]}' is {two:.5g}, of '{names[0]}' {one:.5g} {unit}"
                yield Finding("muscle_symmetry", names[0], two, f"{one:.5g} {unit}", share / tolerance, text)


def moment_arms_mirrored(subject: Subject, tolerance: float = 1e-3, postures: int = 8) -> Iterator[Finding]:
    """Moment arms of partner muscles at mirrored postures further apart than `tolerance` m; the worst joint of each."""
    if (mirror := subject.mirror) is None:
        return
    model, table = subject.model, subject.couplings
    column = {int(dof): k for k, dof in enumerate(table.independent)}
    joints = model.dof_jntid[table.independent]
    partner_joints = mirror.joint[joints]
    usable = (mirror.joint_sign[joints] != 0) & (partner_joints >= 0)
    usable[usable] &= [int(model.jnt_dofadr[joint]) in column for joint in partner_joints[usable]]
    here = np.flatnonzero(usable)
    there = np.array([column[int(model.jnt_dofadr[joint])] for joint in partner_joints[here]], dtype=int)
    pairs = np.array(list(_pairs(mirror.muscle)), dtype=int).reshape(-1, 2)
    if not len(pairs) or not len(here):
        return
    apart = np.zeros((len(pairs), len(here)))
    for qpos in (model.qpos0, *sample_postures(model, table, postures)):
        one = moment_arms(model, table, qpos)[pairs[:, :1], here]
        two = moment_arms(model, table, mirror.qpos(model, torch.from_numpy(qpos)).numpy())[pairs[:, 1:], there]
        apart = np.maximum(apart, np.abs(one - mirror.joint_sign[joints[here]] * two))
    for (i, other), row in zip(pairs, apart, strict=True):
        if (worst := float(row.max())) > tolerance:
            names, joint = (
                (subject.muscles.index[i], subject.muscles.index[other]),
                model.joint(joints[here[row.argmax()]]),
            )
            text = f"the moment arms of '{names[0]}' and '{names[1]}' at '{joint.name}' are {1e3 * worst:.1f} mm apart"
            expected = f"at most {1e3 * tolerance:.0f} mm"
            yield Finding("moment_arm_symmetry", names[0], worst, expected, worst / tolerance, text)
