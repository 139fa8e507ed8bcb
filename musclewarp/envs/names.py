"""What every number of an observation and of an action is called, so that those of two bodies can be told apart."""

from __future__ import annotations

from collections.abc import Sequence

from musclewarp.envs.config import EnvConfig
from musclewarp.envs.symmetry import PARTS
from musclewarp.models import MuscleModel


def observation_names(model: MuscleModel, terms: Sequence[str], lookahead: Sequence[int]) -> list[str]:
    """Of every column of the observation of `terms`, in their order: term, instant, what it is of, and which number."""
    of = {
        "joints": _joints(model),
        "muscles": list(model.muscles.index),
        "feet": [f"{foot} {axis}" for foot in model.feet for axis in "xyz"],
        "sites": [f"{site} {axis}" for site in model.sites[1:] for axis in "xyz"],
    }
    return [
        f"{term} +{instant} {number} {name}"
        for term in terms
        for instant in (lookahead if term.startswith("ahead_") else (0,))
        for number, part in enumerate(PARTS[term])
        for name in (of[part] if isinstance(part, str) else range(len(part)))
    ]


def action_names(model: MuscleModel, config: EnvConfig) -> list[str]:
    """Of every number of an action: its muscle, or its joint."""
    return _joints(model) if config.control.mode == "joint_targets" else list(model.muscles.index)


def _joints(model: MuscleModel) -> list[str]:
    return [model.dof_names[dof] for dof in model.joint_dofs]
