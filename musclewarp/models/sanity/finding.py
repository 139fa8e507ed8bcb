"""What a check of a model says, and what it looks at."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import pandas as pd

from musclewarp.models.couplings import Couplings
from musclewarp.models.mirror import Mirror
from musclewarp.models.muscles import muscle_table

SEVERITIES = ("warning", "error")


@dataclass(frozen=True)
class Kind:
    """A kind of finding: how grave it is ("error": results of the model mean nothing), what it is, how to mend it."""

    severity: str
    title: str
    remedy: str


KINDS = {
    "non_finite": Kind("error", "numbers that are not finite", "look for NaN or inf in the model file"),
    "length_range": Kind("error", "empty length ranges", "set `lengthrange` of the actuator, or let MuJoCo compute it"),
    "joint_symmetry": Kind("error", "joint axes that are no mirror images", "mirror the axis in the model file"),
    "coupling_symmetry": Kind(
        "error", "couplings that differ between the sides", "mirror `polycoef`: c'_k = s_dep s_drv^k c_k"
    ),
    "mass_symmetry": Kind("error", "segments that differ between the sides", "give both the same mass and inertia"),
    "unpaired": Kind("warning", "parts without a partner on the other side", "add the partner, or rename it"),
    "range_symmetry": Kind("warning", "joint ranges that differ between the sides", "give both the same range"),
    "muscle_symmetry": Kind("warning", "muscle parameters that differ between the sides", "copy them across"),
    "moment_arm_symmetry": Kind(
        "warning", "moment arms that differ between the sides", "mirror the sites and wrapping geoms of the tendon"
    ),
    "fibre_length": Kind(
        "warning",
        "implied optimal fibre lengths outside physiology",
        "restore the anatomical `lengthrange` and `range`",
    ),
    "slack_length": Kind(
        "warning", "implied tendon slack lengths outside physiology", "restore the anatomical `lengthrange` and `range`"
    ),
    "length_unreached": Kind(
        "warning", "length ranges that the joints never reach", "recompute `lengthrange` over the joint ranges"
    ),
    "length_exceeded": Kind(
        "warning", "lengths attained far outside the length range", "recompute `lengthrange` over the joint ranges"
    ),
    "wrap_jump": Kind(
        "warning",
        "tendons that jump while a joint turns",
        "move the side site or the wrapping geom, or narrow the range",
    ),
    "coupling_range": Kind(
        "warning", "coupled joints that leave their range", "widen the dependent joint's range, or narrow the driver's"
    ),
    "total_mass": Kind("warning", "mass of the body", "scale the segments' masses"),
}


@dataclass(frozen=True)
class Finding:
    """One flaw.

    Attributes:
        kind: a key of `KINDS`.
        item: the muscle, joint or body.
        value: what was found, in the unit that `message` names.
        expected: what it should be, with its unit.
        excess: how many times further out than tolerated; findings of a kind are sorted by it.
        message: a sentence.
    """

    kind: str
    item: str
    value: float
    expected: str
    excess: float
    message: str


@dataclass(frozen=True)
class Subject:
    """What is checked: a compiled model with its couplings, its muscles (see `muscle_table`) and its mirror."""

    model: mujoco.MjModel
    couplings: Couplings
    muscles: pd.DataFrame
    mirror: Mirror | None

    @classmethod
    def of(cls, model: mujoco.MjModel) -> Subject:
        """Derive the tables of `model`.

        Raises:
            ModelError: its couplings are contradictory.
        """
        couplings = Couplings.from_model(model)
        return cls(model, couplings, muscle_table(model, couplings), Mirror.from_model(model))

    def joint_name(self, dof: int) -> str:
        """Name of the joint of a dof."""
        return self.model.joint(self.model.dof_jntid[dof]).name
