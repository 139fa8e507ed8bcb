"""What the inverse kinematics weighs against what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

import numpy as np
import torch

from musclewarp.errors import ConfigError, require
from musclewarp.models import MuscleModel

_POSITION = {
    "pelvis": 1.0, "upper_body": 0.1, "head": 0.2, "shoulder": 0.3, "elbow": 1.0, "hand": 1.0,
    "hip": 0.5, "knee": 1.0, "ankle": 1.0, "toes": 0.3,
}  # fmt: skip
_ROTATION = {"pelvis": 0.1, "hand": 0.003, "ankle": 0.01}


@dataclass(frozen=True)
class IKConfig:
    """Weights of the inverse kinematics; a site is known by its name without the side.

    Attributes:
        position: weight of each site's squared position error in m²; a site that is not named keeps its default.
        rotation: weight of each site's squared rotation error in rad², for sites that have one; likewise.
        posture: weight of squared distance from the rest posture in rad².
        whole_body_acceleration: weight of squared joint acceleration in rad²/s⁴, for a model with a free root, of what
            the targets say nothing about; less of the others (`retarget.smoothness`).
        acceleration: the same for a model with a fixed root.
        shoulder_acceleration: the same for its shoulders, which turn fast for nothing where an arm hangs down (its
            elevation plane is then undefined).
        standing: factor on the horizontal position weights of a foot's ankle and toes, or of a hand, while it stands.
        stance: weight of the squared height in m² of the lowest point of a foot or hand that stands.
        penetration: weight of the squared depth in m² of each part of the body below 0.5 mm above the floor.
        moment: weight of squared joint moment in (Nm)² beyond what the muscles can produce (models with a fixed root).
        max_activation: activation that these moments may take, so that something is left to correct errors with.
        feasibility_rounds: how often the moments and the postures are fitted to each other in turn.
        limit_margin: rad (or m, scaled) that references keep from the joint limits, which are soft in simulation.
        max_iterations: Levenberg-Marquardt steps.
        tolerance: relative decrease of the cost at which the solution is accepted.

    Raises:
        ConfigError: a site is unknown, or a number out of its range.
    """

    position: Mapping[str, float] = field(default_factory=dict[str, float])
    rotation: Mapping[str, float] = field(default_factory=dict[str, float])
    posture: float = 1e-5
    whole_body_acceleration: float = 2e-8
    acceleration: float = 1e-7
    shoulder_acceleration: float = 2e-6
    standing: float = 10.0
    stance: float = 5.0
    penetration: float = 500.0
    moment: float = 1e-4
    max_activation: float = 0.75
    feasibility_rounds: int = 4
    limit_margin: float = 0.01
    max_iterations: int = 60
    tolerance: float = 1e-4

    def __post_init__(self) -> None:
        for name, defaults in (("position", _POSITION), ("rotation", _ROTATION)):
            given = getattr(self, name)
            if unknown := sorted(given.keys() - defaults.keys()):
                raise ConfigError(f"ik.{name} has no site '{unknown[0]}'; choose among {', '.join(defaults)}")
            object.__setattr__(self, name, defaults | dict(given))
            for site, weight in given.items():
                _check(f"{name}.{site}", weight)
        for weight in fields(self):
            if weight.type == "float" and weight.name != "max_activation":
                _check(weight.name, getattr(self, weight.name))
        _check("feasibility_rounds", self.feasibility_rounds)
        _check("max_iterations", self.max_iterations, least=1)
        require(self, "ik.max_activation", 0 < self.max_activation <= 1, "choose one in (0, 1]")


def site_weights(model: MuscleModel, config: IKConfig) -> torch.Tensor:
    """Weights `(S,)` of the position errors of the model's sites."""
    parts = [site.removeprefix("left_").removeprefix("right_") for site in model.sites]
    return torch.tensor([config.position[part] for part in parts], dtype=torch.float64)


def _check(name: str, value: float, least: float = 0) -> None:
    if not least <= value < np.inf:
        raise ConfigError(f"ik.{name} is {value}; choose a number of at least {least}")
