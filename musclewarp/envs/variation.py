"""People differ: the worlds' models, drawn anew at every reset (domain randomisation).

A factor f, one about 1 for every world and part, moves fields of the model in proportion to f - 1:

    field = field of the model + (f - 1) slope.

The slope is the field itself, which is scaled then, but for the tendons' slack. MuJoCo's muscle has a rigid tendon,
fibre length L = (l - LT) / L0 for a muscle-tendon length l, with `lengthrange` [l0, l1] where `range` [r0, r1] is
reached: L0 = (l1 - l0) / (r1 - r0) and LT = l0 - r0 L0 (see `muscle_table`). To move both ends of `lengthrange` by
(f - 1) L0 therefore makes the tendon's slack LT longer by as much and leaves L0. The unit is L0, not LT, since only
l - LT matters, and the LT that these models imply is -1 to 35 L0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from operator import attrgetter

import numpy as np
import torch

from musclewarp.envs.randomness import uniform
from musclewarp.errors import require
from musclewarp.models import MuscleModel

_FIRST_STREAM = 2  # of `randomness`; those before choose clip and frame
_FIELDS = {
    "mass": ("body_mass", "body_inertia"),
    "friction": ("geom_friction", "pair_friction"),
    "strength": ("actuator_gainprm", "actuator_biasprm"),
    "activation_time": ("actuator_dynprm",),
    "tendon_slack": ("actuator_lengthrange",),
    "gravity": ("opt.gravity",),
}
# peak force, and the scale from which MuJoCo takes it where it is negative; time constants, without their smoothing
_COLUMNS = {"strength": slice(2, 4), "activation_time": slice(0, 2)}
_SHARED = ("friction", "gravity")  # one factor a world, for all parts


@dataclass(frozen=True)
class VariationConfig:
    """How far the people in the worlds differ from the model: half-widths w of uniform factors in [1 - w, 1 + w).

    Or two factors, the lowest and the highest; equal ones make everybody differ alike. Everything is off, 0, unless
    asked for.

    Attributes:
        mass: mass and inertia of each body; the constants that follow from them are recomputed.
        friction: of all contacts of a world.
        strength: peak force of each muscle, active and passive.
        activation_time: both time constants, of activation and deactivation, of each muscle.
        tendon_slack: of each muscle, in optimal fibre lengths; 0.05 is large where tendons are stiff.
        gravity: of a world.
    """

    mass: float | tuple[float, float] = 0.0
    friction: float | tuple[float, float] = 0.0
    strength: float | tuple[float, float] = 0.0
    activation_time: float | tuple[float, float] = 0.0
    tendon_slack: float | tuple[float, float] = 0.0
    gravity: float | tuple[float, float] = 0.0

    def __post_init__(self) -> None:
        for quantity in fields(self):
            value = getattr(self, quantity.name)
            fine = 0.0 < value[0] <= value[1] < math.inf if isinstance(value, tuple) else 0.0 <= value < 1.0
            rule = "give a relative half-width in [0, 1), or 0 for none, or two positive factors, the smaller first"
            require(self, f"env.variation.{quantity.name}", fine, rule)

    @property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """Middle and half-width of the factors of each quantity that varies."""
        values = {quantity.name: getattr(self, quantity.name) for quantity in fields(self)}
        ranges = {
            name: ((value[0] + value[1]) / 2, (value[1] - value[0]) / 2) if isinstance(value, tuple) else (1.0, value)
            for name, value in values.items()
        }
        return {name: span for name, span in ranges.items() if span != (1.0, 0.0)}


class Variation:
    """The factors of N worlds, and the model fields that follow from them.

    Args:
        config: how far, in what.
        model: the person whom all differ from, and whom all are until they are drawn.
        num_worlds: N.
        device: where the factors live.

    Attributes:
        factors: by quantity of the config, only those that vary: float64, one for each body `(N, nbody)`, each muscle
            `(N, M)`, or the world `(N, 1)`.
    """

    def __init__(self, config: VariationConfig, model: MuscleModel, num_worlds: int, device: torch.device) -> None:
        self._ranges = config.ranges
        self._worlds = torch.arange(num_worlds, device=device)[:, None]
        self.factors: dict[str, torch.Tensor] = {}
        self._streams: dict[str, torch.Tensor] = {}
        self._fields: dict[str, tuple[str, torch.Tensor, torch.Tensor]] = {}
        for quantity in self._ranges:
            values = {name: np.array(attrgetter(name)(model.stepped)) for name in _FIELDS[quantity]}
            parts = 1 if quantity in _SHARED else len(values[_FIELDS[quantity][0]])
            self.factors[quantity] = torch.ones(num_worlds, parts, dtype=torch.float64, device=device)
            # a stream of its own for each part, whatever else varies
            stream = _FIRST_STREAM + list(_FIELDS).index(quantity)
            self._streams[quantity] = stream + len(_FIELDS) * torch.arange(parts, device=device)
            for name, value in values.items():
                slope = torch.as_tensor(_slope(model, quantity, value), device=device)
                self._fields[name] = (quantity, torch.as_tensor(value, device=device), slope)

    @property
    def fields(self) -> tuple[str, ...]:
        """MuJoCo's names of the model fields that vary, as `make_engine` takes them."""
        return tuple(self._fields)

    def draw(self, mask: torch.Tensor, seed: int, draws: torch.Tensor) -> None:
        """New people in the worlds of `mask (N,)`, each keyed by the seed, its world and its `draws (N,)`."""
        for quantity, (middle, width) in self._ranges.items():
            number = uniform(seed, self._worlds, draws[:, None], self._streams[quantity])
            drawn = middle + width * (2.0 * number - 1.0)
            self.factors[quantity] = torch.where(mask[:, None], drawn, self.factors[quantity])

    def write(self, varied: Mapping[str, torch.Tensor]) -> None:
        """Bring an engine's `varied` to the factors: the same bits in worlds whose factors are the same."""
        for name, (quantity, nominal, slope) in self._fields.items():
            change = self.factors[quantity] - 1.0
            varied[name].copy_(nominal + change.view(*change.shape, *[1] * (nominal.ndim - 1)) * slope)

    def state(self) -> dict[str, torch.Tensor]:
        """The factors, for checkpoints."""
        return {f"variation.{quantity}": factors.clone() for quantity, factors in self.factors.items()}

    def load(self, state: Mapping[str, torch.Tensor]) -> None:
        """The factors that `state` returned."""
        for quantity, factors in self.factors.items():
            self.factors[quantity] = state[f"variation.{quantity}"].to(factors).clone()


def _slope(model: MuscleModel, quantity: str, field: np.ndarray) -> np.ndarray:
    """Derivative of a model field with respect to the factor of its row, or of the world."""
    slope = np.zeros_like(field)
    if quantity == "tendon_slack":
        slope[:] = model.muscles["optimal_fibre_length"].to_numpy()[:, None]
    else:
        columns = _COLUMNS.get(quantity, slice(None))
        slope[..., columns] = field[..., columns]
    return slope
