"""What is asked of references: bars for the figures of their quality."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Bar:
    """A figure of quality, and how large it may be.

    Attributes:
        key: of the figure in a reference's quality.
        title: what it is called in a table, with the unit it is shown in.
        scale: from SI to that unit.
        limit: the largest that will do, in SI; with `relative_to`, as a multiple of that other figure.
        relative_to: key of another figure.
    """

    key: str
    title: str
    scale: float
    limit: float
    relative_to: str = ""

    def limit_of(self, quality: Mapping[str, float]) -> float:
        """The largest that will do for a reference of this quality; infinite where nothing tells."""
        if not self.relative_to:
            return self.limit
        return self.limit * quality.get(self.relative_to, math.inf)

    def excess(self, quality: Mapping[str, float]) -> float:
        """How many times the limit the figure is: over 1 it fails; 0 if there is no such figure."""
        value, limit = quality.get(self.key, 0.0), self.limit_of(quality)
        if value <= limit:
            return value / limit if limit > 0 else 0.0
        return value / limit if limit > 0 else math.inf


BARS = (
    Bar("position_rmse_m", "position RMSE, cm", 100.0, 0.020),
    Bar("coupling_residual_max", "coupling, µrad", 1e6, 1e-6),
    Bar("joint_limit_violation_fraction", "beyond limits, %", 100.0, 0.0),
    Bar("penetration_fraction", "in the floor, %", 100.0, 0.001),
    Bar("tendon_jump_fraction", "tendon jumps, %", 100.0, 0.01),
    Bar("tendon_break_fraction", "tendon breaks, %", 100.0, 0.0),
    Bar("stance_floating_m", "floating, mm", 1000.0, 0.005),
    Bar("skate_mps", "skating, cm/s", 100.0, 1.1, "recording_skate_mps"),
    Bar("jerk_ratio", "jerk ratio", 1.0, 1.1),
    Bar("acceleration_ratio", "acceleration ratio", 1.0, 1.1),
)


def excesses(quality: Mapping[str, float]) -> tuple[float, ...]:
    """By how much each bar is reached (`Bar.excess`), the worst first: of two references the worse compares larger."""
    return tuple(sorted((bar.excess(quality) for bar in BARS), reverse=True))
