"""Two ways to act: what a policy's numbers mean, and how they become the excitations of muscles."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields

import torch
from torchrl.data import Bounded, TensorSpec, Unbounded

from musclewarp.dynamics.muscle_control import MuscleControl
from musclewarp.engines import Engine
from musclewarp.errors import ConfigError, require
from musclewarp.models.gains import joint_gains
from musclewarp.references.library import ReferenceLibrary

MODES = ("excitations", "joint_targets")


@dataclass(frozen=True)
class ControlConfig:
    """How a policy acts.

    Attributes:
        mode: "excitations", one number in [0, 1] for every muscle, or "joint_targets", one for every independent joint:
            how far from the reference's next angle its muscles shall pull it, any number. See `JointTargets`.
        scale: rad (m for slides) of an offset of 1.
        stiffness, damping: factors on the joints' gains (`models.gains`). Muscles answer late, and are weak: soft
            joints that are damped little ask for less that muscles cannot do.
        reserve: r of `dynamics.redundancy`, in Nm, is this times the root of a joint's stiffness k in Nm/rad: where not
            all moments are in reach, the sum of k error^2 is least. Small reserves take more `iterations`.
        feed_forward: let muscles do what the reference's activations do, where it knows them, and the moments besides.
        iterations: steps of the muscle redundancy solver, each from where the step before ended.
    """

    mode: str = "excitations"
    scale: float = 0.3
    stiffness: float = 1.0
    damping: float = 1.0
    reserve: float = 0.5
    feed_forward: bool = True
    iterations: int = 6

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ConfigError(f"env.control.mode is '{self.mode}'; choose one of {', '.join(MODES)}")
        for key in fields(self)[1:]:
            name, value = f"env.control.{key.name}", getattr(self, key.name)
            fine = key.name == "feed_forward" or 0 < value < float("inf")
            require(self, name, fine, "it must be positive and finite")
            used = self.mode != "excitations" or value == key.default
            require(self, name, used, "it means nothing in mode 'excitations'")


class Control(ABC):
    """From actions to excitations, in N worlds, each with its own past.

    Attributes:
        action_spec: of the actions of all worlds.
    """

    action_spec: TensorSpec

    @abstractmethod
    def __call__(self, action: torch.Tensor, clip: torch.Tensor, frame: torch.Tensor) -> torch.Tensor:
        """Excitations `(N, M)` in [0, 1] by which `action` acts in worlds at `frame (N,)` of `clip (N,)`."""

    @abstractmethod
    def take_metrics(self) -> dict[str, torch.Tensor]:
        """Numbers for the log, over all calls since the last time."""

    def reset(self, mask: torch.Tensor) -> None:
        """Forget the past of the worlds in `mask (N,)`."""
        return

    def state(self) -> dict[str, torch.Tensor]:
        """For checkpoints."""
        return {}

    def load(self, state: Mapping[str, torch.Tensor]) -> None:
        """What `state` returned."""
        return


def make_control(config: ControlConfig, engine: Engine, library: ReferenceLibrary) -> Control:
    """What `config` says, for the worlds of `engine` that follow clips of `library`."""
    return Excitations(engine) if config.mode == "excitations" else JointTargets(config, engine, library)


class Excitations(Control):
    """An action is the excitation `(N, M)` of every muscle; what is beyond [0, 1] is cut off."""

    def __init__(self, engine: Engine) -> None:
        shape = torch.Size((engine.num_worlds, engine.model.mj_model.nu))
        self.action_spec = Bounded(0.0, 1.0, shape, device=engine.device)
        self._mean = _Mean(engine.device)

    def __call__(self, action: torch.Tensor, clip: torch.Tensor, frame: torch.Tensor) -> torch.Tensor:
        """See `Control`."""
        excitation = action.clamp(0.0, 1.0)
        self._mean.add(excitation)
        return excitation

    def take_metrics(self) -> dict[str, torch.Tensor]:
        """The mean excitation."""
        return {"excitation": self._mean.take()}


class JointTargets(Control):
    """An action `(N, J)` moves the targets of the independent joints; every force still comes from a muscle.

    Moments k (q_ref + scale action - q) + d (v_ref - v), with the reference's angles and velocities at the next step,
    are divided among the muscles, as far as these reach, by the muscle redundancy problem at the current state. Where
    the reference knows its activations, moments come on top of what these produce. After Lee et al. 2019 (ACM Trans.
    Graph. 38:73), whose muscle network the solver replaces.
    """

    def __init__(self, config: ControlConfig, engine: Engine, library: ReferenceLibrary) -> None:
        model, device = engine.model, engine.device
        stiffness, damping = joint_gains(model)
        stiffness, damping = config.stiffness * stiffness, config.damping * damping
        self._engine, self._library, self._scale = engine, library, config.scale
        self._feed_forward = config.feed_forward and library.knows_some
        self._muscles = MuscleControl(engine, config.iterations, config.reserve * stiffness**0.5)
        self._stiffness, self._damping = (
            torch.tensor(gain, dtype=torch.float32, device=device) for gain in (stiffness, damping)
        )
        self._qpos, self._dofs = (
            torch.as_tensor(index, device=device) for index in (model.joint_qpos, model.joint_dofs)
        )
        self._multipliers = self._muscles.start()
        self.action_spec = Unbounded(self._multipliers.shape, device=device)
        self._mean, self._missing, self._worst = _Mean(device), _Mean(device), torch.zeros((), device=device)

    def __call__(self, action: torch.Tensor, clip: torch.Tensor, frame: torch.Tensor) -> torch.Tensor:
        """See `Control`."""
        engine, library = self._engine, self._library
        row = library.index(clip, frame + 1)  # joints are the same in all cycles of a loop
        position, velocity = (
            (reference[row].index_select(1, columns) - own.index_select(1, columns)).float()
            for reference, own, columns in (
                (library.qpos, engine.qpos, self._qpos),
                (library.qvel, engine.qvel, self._dofs),
            )
        )
        moments = self._stiffness * (position + self._scale * action) + self._damping * velocity
        usual = (library.activation[row], library.has_activation[row]) if self._feed_forward else ()
        command = self._muscles(moments, self._multipliers, *usual)
        self._multipliers = command.multipliers
        missing = command.missing.abs()
        self._mean.add(command.excitation)
        self._missing.add(missing)
        self._worst = torch.maximum(self._worst, missing.amax())
        return command.excitation

    def take_metrics(self) -> dict[str, torch.Tensor]:
        """The mean excitation, and what the muscles lacked of the moments asked for: mean over joints, and largest."""
        worst, self._worst = self._worst, torch.zeros_like(self._worst)
        return {
            "excitation": self._mean.take(),
            "missing_moment_nm": self._missing.take(),
            "worst_missing_moment_nm": worst,
        }

    def reset(self, mask: torch.Tensor) -> None:
        """See `Control`."""
        self._multipliers = torch.where(mask[:, None], 0.0, self._multipliers)

    def state(self) -> dict[str, torch.Tensor]:
        """Where the solver starts from."""
        return {"control.multipliers": self._multipliers.clone()}

    def load(self, state: Mapping[str, torch.Tensor]) -> None:
        """What `state` returned."""
        self._multipliers = state["control.multipliers"].to(self._multipliers).clone()


class _Mean:
    """The mean of all tensors since the last time, on the device."""

    def __init__(self, device: torch.device) -> None:
        self._sum, self._number = torch.zeros((), device=device), 0

    def add(self, values: torch.Tensor) -> None:
        self._sum, self._number = self._sum + values.mean(), self._number + 1

    def take(self) -> torch.Tensor:
        mean, self._sum = self._sum / max(self._number, 1), torch.zeros_like(self._sum)
        self._number = 0
        return mean
