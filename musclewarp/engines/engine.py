"""The Engine contract: N worlds of one MuscleModel, whatever steps them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping

import torch

from musclewarp.errors import ConfigError
from musclewarp.models import MuscleModel

DERIVED = ("actuator_length", "actuator_velocity", "actuator_force", "sensordata")
INERTIAL = ("body_mass", "body_inertia")
VARIABLE = (*INERTIAL, "geom_friction", "pair_friction", "actuator_gainprm", "actuator_biasprm")
VARIABLE += ("actuator_dynprm", "actuator_lengthrange", "opt.gravity")


class Engine(ABC):
    """N worlds of one `MuscleModel`.

    The tensors below are live: they share the simulator's memory, their addresses never change, and the next call
    overwrites them. Whoever keeps a value must copy it.

    Attributes:
        name: what configs call it.
        model: the model that every world runs.
        num_worlds: N.
        device: where the tensors are.
        dtype: the simulator's precision.
        qpos `(N, nq)`, qvel `(N, nv)`, act `(N, nu)`: the state, in MuJoCo's order and units.
        ctrl: excitations `(N, nu)` in [0, 1], read by the next `step`.
        xfrc_applied: forces and torques on bodies from outside `(N, nbody, 6)`, N and Nm, in the world's frame at each
            body's centre of mass, read by the next `step`; they stay until they are changed, or their world is reset.
        qacc_warmstart: the solver's initial guess `(N, nv)`.
        derived: by MuJoCo's names, the fields of `DERIVED`.
        varied: by MuJoCo's names, `(N, ...)`, those fields of the model in which worlds may differ; which ones, among
            `VARIABLE`, is said at construction. Geoms are those of `model.stepped`. Write rows of worlds that you reset
            next: `reset` recomputes what follows from them.
        fault_kinds: names of what `faults` tells, in its order: "not_finite", the simulator's own, "unconverged".

    The instant of each derived quantity, after `step`: `actuator_length`, `actuator_velocity` and the sensors of
    sites belong to the new state; `actuator_force` and the contact sensors to the last substep. After `reset` all
    belong to the new state.
    """

    name: str
    model: MuscleModel
    num_worlds: int
    device: torch.device
    dtype: torch.dtype
    qpos: torch.Tensor
    qvel: torch.Tensor
    act: torch.Tensor
    ctrl: torch.Tensor
    xfrc_applied: torch.Tensor
    qacc_warmstart: torch.Tensor
    derived: Mapping[str, torch.Tensor]
    varied: Mapping[str, torch.Tensor]
    fault_kinds: tuple[str, ...]

    @abstractmethod
    def step(self) -> None:
        """Advance every world by one control step under `ctrl`: `model.physics.substeps` physics steps."""

    @abstractmethod
    def reset(self, mask: torch.Tensor, qpos: torch.Tensor, qvel: torch.Tensor, act: torch.Tensor) -> None:
        """Put the worlds in `mask (N,)` into a state; the others keep every bit.

        `qpos (N, nq)`, `qvel (N, nv)` and `act (N, nu)` are read in masked rows only. Excitations, forces from outside,
        the solver's warm start and the health flags of these worlds are cleared, derived quantities recomputed, and
        first, where `varied` holds masses or inertias, the constants that `mj_setConst` derives from them.
        """

    @abstractmethod
    def faults(self) -> torch.Tensor:
        """Which of `fault_kinds` befell each world since its reset, `(N, K)`, on the device.

        "unconverged", the last kind, is no reason to distrust a world: the solver met its iteration limit in the last
        step.
        """

    @abstractmethod
    def derive(self, name: str) -> torch.Tensor:
        """A further derived quantity `(N, ...)` by MuJoCo's name, live as `derived`, from the next call on."""

    def unhealthy(self) -> torch.Tensor:
        """Worlds `(N,)` that since their reset left the finite numbers or overflowed a buffer."""
        return self.faults()[:, :-1].any(dim=1)

    def is_sound(self) -> bool:
        """Whether no world is known to have a fault, if that can be told at once; False where the host had to wait."""
        return False

    def fault_counts(self) -> dict[str, int]:
        """Number of worlds with each fault, without the zeros."""
        counts = self.faults().sum(dim=0).tolist()
        return {kind: count for kind, count in zip(self.fault_kinds, counts, strict=True) if count}

    def sensor(self, name: str) -> torch.Tensor:
        """A live view `(N, dim)` of one sensor of the model."""
        return self.derived["sensordata"][:, self.model.sensor_slice(name)]


def check_variable(names: Collection[str]) -> tuple[str, ...]:
    """`names` as they are, if worlds can differ in each.

    Raises:
        ConfigError: one is not in `VARIABLE`.
    """
    for name in names:
        if name not in VARIABLE:
            raise ConfigError(f"worlds cannot differ in '{name}'; they can in {', '.join(VARIABLE)}")
    return tuple(names)
