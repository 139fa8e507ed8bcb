"""The Engine contract: N worlds of one MuscleModel, whatever steps them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch

from musclewarp.models import MuscleModel

DERIVED = ("actuator_length", "actuator_velocity", "actuator_force", "sensordata")


class Engine(ABC):
    """N worlds of one `MuscleModel`.

    The tensors below are live: they share the simulator's memory, their addresses never change, and the next call
    overwrites them. Whoever keeps a value must copy it.

    Attributes:
        model: the model that every world runs.
        num_worlds: N.
        device: where the tensors are.
        dtype: the simulator's precision.
        qpos `(N, nq)`, qvel `(N, nv)`, act `(N, nu)`: the state, in MuJoCo's order and units.
        ctrl: excitations `(N, nu)` in [0, 1], read by the next `step`.
        qacc_warmstart: the solver's initial guess `(N, nv)`.
        derived: by MuJoCo's names, the fields of `DERIVED`.

    The instant of each derived quantity, after `step`: `actuator_length`, `actuator_velocity` and the sensors of
    sites belong to the new state; `actuator_force` and the contact sensors to the last substep. After `reset` all
    belong to the new state.
    """

    model: MuscleModel
    num_worlds: int
    device: torch.device
    dtype: torch.dtype
    qpos: torch.Tensor
    qvel: torch.Tensor
    act: torch.Tensor
    ctrl: torch.Tensor
    qacc_warmstart: torch.Tensor
    derived: Mapping[str, torch.Tensor]

    @abstractmethod
    def step(self) -> None:
        """Advance every world by one control step under `ctrl`: `model.physics.substeps` physics steps."""

    @abstractmethod
    def reset(self, mask: torch.Tensor, qpos: torch.Tensor, qvel: torch.Tensor, act: torch.Tensor) -> None:
        """Put the worlds in `mask (N,)` into a state; the others keep every bit.

        `qpos (N, nq)`, `qvel (N, nv)` and `act (N, nu)` are read in masked rows only. Excitations, the solver's warm
        start and the health flags of these worlds are cleared, derived quantities recomputed.
        """

    @abstractmethod
    def unhealthy(self) -> torch.Tensor:
        """Worlds `(N,)` that since their reset left the finite numbers or overflowed a buffer."""

    def sensor(self, name: str) -> torch.Tensor:
        """A live view `(N, dim)` of one sensor of the model."""
        return self.derived["sensordata"][:, self.model.sensor_slice(name)]

    def close(self) -> None:  # noqa: B027 (most have nothing to free)
        """Free what the garbage collector does not know of. The engine must not be used afterwards."""
