"""Numbers that no body has: not finite, empty, or outside what anatomists measure."""

from __future__ import annotations

from collections.abc import Iterator

import mujoco
import numpy as np
import torch

from musclewarp.models.excursion import dof_range
from musclewarp.models.sanity.finding import Finding, Subject

FIBRE_LENGTH = (0.01, 0.45)
"""Optimal fibre lengths in m: a tenth more than the longest of the limbs, sartorius' 0.403 m (Arnold et al. 2010, Ann
Biomed Eng 38:269; Rajagopal et al. 2016, IEEE TBME 63:2068; checked in OpenSim's Rajagopal2016.osim), less than half
of pronator quadratus' 0.023 m (Holzbaur et al. 2005, Ann Biomed Eng 33:829; from memory, unchecked)."""

SLACK_LENGTH = (0.0, 0.5)
"""Tendon slack lengths in m: never negative; a tenth more than the leg's longest, those of tensor fasciae latae and
rectus femoris, 0.45 m (Rajagopal et al. 2016; checked in OpenSim's Rajagopal2016.osim)."""

ADULT_MASS = (45.0, 125.0)
"""kg; women weigh 67.8 +- 11.0 and men 85.5 +- 14.2 kg (ANSUR II: Gordon et al. 2014, NATICK/TR-15/007; from memory,
unchecked), taken at 2 standard deviations below the one and 2.8 above the other."""

_FIELDS = {
    "body": ("body_mass", "body_inertia", "body_pos", "body_quat"),
    "joint": ("jnt_axis", "jnt_pos", "jnt_range"),
    "equality": ("eq_data",),
    "actuator": ("actuator_gainprm", "actuator_biasprm", "actuator_dynprm", "actuator_lengthrange"),
    "site": ("site_pos",),
    "qpos": ("qpos0",),
}


def non_finite(model: mujoco.MjModel) -> Iterator[Finding]:
    """NaN and inf among the numbers that define a person."""
    for owner, fields in _FIELDS.items():
        for field in fields:
            values = getattr(model, field)
            rows = ~np.isfinite(values).all(axis=tuple(range(1, values.ndim)))
            for row in np.flatnonzero(rows):
                name = str(row) if owner == "qpos" else getattr(model, owner)(row).name or str(row)
                text = f"{field} of {owner} '{name}' is not finite"
                yield Finding("non_finite", name, np.nan, "finite", np.inf, text)


def empty_length_ranges(subject: Subject) -> Iterator[Finding]:
    """Muscles whose `lengthrange` or normalised `range` is empty: no fibre length follows from it."""
    model = subject.model
    for name, lengths, normalised in zip(
        subject.muscles.index, model.actuator_lengthrange, model.actuator_gainprm[:, :2], strict=True
    ):
        for what, (low, high) in (("lengthrange", lengths), ("range", normalised)):
            if not high > low:
                text = f"{what} of '{name}' is [{low:.4g}, {high:.4g}]: no optimal fibre length follows from it"
                yield Finding("length_range", name, high - low, "more than 0", np.inf, text)


def fibre_and_slack_lengths(subject: Subject) -> Iterator[Finding]:
    """Implied optimal fibre and tendon slack lengths outside `FIBRE_LENGTH` and `SLACK_LENGTH`."""
    for kind, column, (low, high) in (
        ("fibre_length", "optimal_fibre_length", FIBRE_LENGTH),
        ("slack_length", "tendon_slack_length", SLACK_LENGTH),
    ):
        expected = f"{100 * low:.0f} to {100 * high:.0f} cm"
        for name, value in zip(subject.muscles.index, subject.muscles[column].to_numpy(), strict=True):
            if not low <= value <= high:
                excess = 1 + max(low - value, value - high) / (high - low)
                text = f"the {column.replace('_', ' ')} of '{name}' is {100 * value:.1f} cm, no muscle's"
                yield Finding(kind, name, float(value), expected, float(excess), text)


def coupled_joints_in_range(subject: Subject, tolerance: float = 1e-3) -> Iterator[Finding]:
    """Coupled joints whose polynomial leaves their own range somewhere in their driver's: limit fights coupling.

    Tolerated: 0.001 of a rad, and of the joint's range if it is a slide.
    """
    model, couplings = subject.model, subject.couplings
    for k, dof in enumerate(couplings.dependent):
        joint = model.dof_jntid[dof]
        if not model.jnt_limited[joint]:
            continue
        qpos = np.tile(model.qpos0, (201, 1))
        driver = int(couplings.driver[k])
        if driver >= 0 and model.jnt_limited[model.dof_jntid[driver]]:
            qpos[:, couplings.driver_qpos[k]] = np.linspace(*dof_range(model, driver), 201)
        value = couplings.project_qpos(torch.as_tensor(qpos)).numpy()[:, couplings.dependent_qpos[k]]
        low, high = dof_range(model, int(dof))
        beyond = np.maximum(low - value, value - high)
        worst = int(beyond.argmax())
        slide = model.jnt_type[joint] == mujoco.mjtJoint.mjJNT_SLIDE
        tolerated = tolerance * (high - low) if slide else tolerance
        if beyond[worst] > tolerated:
            unit, name = "m" if slide else "rad", model.joint(joint).name
            by = f"'{subject.joint_name(driver)}' at {qpos[worst, couplings.driver_qpos[k]]:.3f}" if driver >= 0 else ""
            text = f"'{name}' is driven to {value[worst]:.4f} {unit} by {by or 'its lock'}"
            expected = f"{low:.4f} to {high:.4f} {unit}"
            yield Finding("coupling_range", name, float(value[worst]), expected, float(beyond[worst] / tolerated), text)


def total_mass(subject: Subject) -> Iterator[Finding]:
    """The mass of a whole body, one with hip and shoulder muscles, against that of adults."""
    if not {"hip", "shoulder"} <= set(subject.muscles["group"]):
        return
    low, high = ADULT_MASS
    mass = float(subject.model.body_mass.sum())
    if not low <= mass <= high:
        excess = 1 + max(low - mass, mass - high) / (high - low)
        yield Finding(
            "total_mass", "body", mass, f"{low:.0f} to {high:.0f} kg", excess, f"the body weighs {mass:.1f} kg"
        )
