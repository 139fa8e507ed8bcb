"""Can a musculoskeletal model be trusted? Its flaws, as a table.

The limits are wide on purpose: what is found is wrong, not merely unusual.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import mujoco
import pandas as pd

from musclewarp.models.model import MuscleModel
from musclewarp.models.sanity import lengths, plausibility, symmetry
from musclewarp.models.sanity.finding import KINDS, SEVERITIES, Finding, Kind, Subject

__all__ = ["CHECKS", "KINDS", "SEVERITIES", "Finding", "Kind", "Subject", "check_model"]

Check = Callable[[Subject], Iterator[Finding]]

CHECKS: tuple[Check, ...] = (
    plausibility.empty_length_ranges,
    plausibility.fibre_and_slack_lengths,
    plausibility.coupled_joints_in_range,
    plausibility.total_mass,
    symmetry.unpaired,
    symmetry.joints,
    symmetry.couplings,
    symmetry.masses,
    symmetry.muscle_parameters,
    symmetry.moment_arms_mirrored,
    lengths.length_ranges_attained,
    lengths.wrap_jumps,
)


def check_model(model: MuscleModel | mujoco.MjModel, checks: Sequence[Check] = CHECKS) -> pd.DataFrame:
    """Look for flaws.

    Args:
        model: a muscle model, or any compiled model with muscles on tendons.
        checks: which to make; numbers that are not finite are always looked for, and nothing else if there are any.

    Returns:
        One row per flaw, errors first, the worst of each kind first. Columns: `severity` ("error", "warning") and
        those of `Finding`.

    Raises:
        ModelError: the joint couplings contradict each other.
    """
    mj_model = model.mj_model if isinstance(model, MuscleModel) else model
    found = list(plausibility.non_finite(mj_model))
    if not found:
        subject = Subject.of(mj_model)
        found = [finding for check in checks for finding in check(subject)]
    order = {kind: i for i, kind in enumerate(KINDS)}
    found.sort(key=lambda finding: (order[finding.kind], -finding.excess))
    columns = [field.name for field in dataclasses.fields(Finding)]
    table = pd.DataFrame([dataclasses.astuple(finding) for finding in found], columns=columns)
    table.insert(0, "severity", [KINDS[kind].severity for kind in table["kind"]])
    return table
