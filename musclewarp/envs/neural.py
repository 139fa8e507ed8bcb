"""Between the policy's commands and the muscles' excitations: a nerve that delays, noise, and units that tire."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

import torch

from musclewarp.errors import require
from musclewarp.models import MuscleModel


@dataclass(frozen=True)
class NeuralConfig:
    """Neural effects; everything is off, 0, unless asked for.

    Attributes:
        delay: s from command to excitation, a whole number of control steps.
        noise: standard deviation of the excitation, as a share of it (Harris and Wolpert 1998, Nature 394:780).
        fatigue: speed of fatigue and recovery, 1 as published by joint region (Xia and Frey-Law 2008, J Biomech
            41:3046, see `kernels.fatigue`); excitation cannot recruit fatigued motor units.
    """

    delay: float = 0.0
    noise: float = 0.0
    fatigue: float = 0.0

    def __post_init__(self) -> None:
        for quantity in fields(self):
            fine = 0.0 <= getattr(self, quantity.name) < float("inf")
            require(self, f"env.neural.{quantity.name}", fine, "give a number from 0, which is off")


class NeuralPathway:
    """The neural effects of N worlds, each with its own past.

    Args:
        config: which effects, how strong.
        model: whose muscles.
        num_worlds: N.
        device: where the state lives.

    Raises:
        ConfigError: the delay is no whole number of control steps.
    """

    def __init__(self, config: NeuralConfig, model: MuscleModel, num_worlds: int, device: torch.device) -> None:
        self.config = config
        self._dt = model.physics.control_dt
        delay = model.physics.whole_steps(config.delay, "env.neural.delay")
        self._worlds = torch.arange(num_worlds, device=device)
        rest = torch.zeros(num_worlds, model.mj_model.nu, device=device)
        self._steps = 0
        self._state = {name: rest.clone() for name in ("active", "fatigued")} if config.fatigue else {}
        if delay:
            self._state["commands"] = rest.repeat(delay, 1, 1)
        if config.fatigue:
            from musclewarp.kernels.fatigue import published_parameters  # here, for Warp takes seconds to import

            rates = published_parameters(list(model.muscles["group"]), rest.dtype, device)
            self._rates = replace(
                rates, fatigue=config.fatigue * rates.fatigue, recovery=config.fatigue * rates.recovery
            )

    def __call__(self, command: torch.Tensor, seed: int, draws: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        """Excitations `(N, M)` in [0, 1] from commands in [0, 1].

        Args:
            command: `(N, M)`.
            seed: of the run; noise is keyed by it, the world, and the two below.
            draws: `(N,)` int64, how often each world was reset.
            steps: `(N,)` int64, control steps since then.
        """
        excitation = command
        if "commands" in self._state:
            from musclewarp.kernels.neural import delay

            excitation = delay(self._state["commands"], self._steps, excitation)
            self._steps += 1
        if self.config.noise:
            from musclewarp.kernels.neural import keyed_normal, signal_dependent_noise

            key = (draws << 32) + steps
            numbers = keyed_normal(self._worlds, key, seed, excitation.shape[1], excitation.dtype)
            excitation = signal_dependent_noise(excitation, numbers, self.config.noise)
        if self.config.fatigue:
            from musclewarp.kernels.fatigue import fatigue_step

            state = self._state
            state["active"], state["fatigued"] = fatigue_step(
                state["active"], state["fatigued"], excitation, self._rates, self._dt
            )
            excitation = torch.minimum(excitation, 1.0 - state["fatigued"])
        return excitation

    def reset(self, mask: torch.Tensor, activation: torch.Tensor) -> None:
        """Start the worlds in `mask (N,)` rested, as if what they had commanded were their `activation (N, M)`."""
        rows = mask[:, None]
        for name, value in self._state.items():
            fresh = torch.zeros_like(activation) if name == "fatigued" else activation
            value.copy_(torch.where(rows, fresh.to(value.dtype), value))

    @property
    def fatigued(self) -> torch.Tensor | None:
        """Share of each muscle's motor units that are fatigued, `(N, M)`; None where nobody tires."""
        return self._state.get("fatigued")

    def state(self) -> dict[str, torch.Tensor]:
        """For checkpoints."""
        kept = {f"neural.{name}": value.clone() for name, value in self._state.items()}
        return kept | {"neural.steps": torch.tensor(self._steps)}

    def load(self, state: Mapping[str, torch.Tensor]) -> None:
        """What `state` returned."""
        for name, value in self._state.items():
            value.copy_(state[f"neural.{name}"])
        self._steps = int(state["neural.steps"])
