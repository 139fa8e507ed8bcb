"""Termination limits that follow the policy: loose while it fails often, tighter as it learns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from musclewarp.errors import ConfigError


@dataclass(frozen=True)
class TighteningConfig:
    """A factor on all limits of `env.terminations`; it stays 1 unless asked for.

    Attributes:
        loosest, tightest: the factor begins as `loosest` and stays between the two; both 1 is off.
        low, high: shares of the episodes that end early: below `low` the limits are tightened, above `high` loosened.
        step: in (0, 1), by which the factor is multiplied to tighten and divided to loosen, once an update.
        rate: weight of one update in the moving share of episodes that end early, in (0, 1].
    """

    loosest: float = 1.0
    tightest: float = 1.0
    low: float = 0.1
    high: float = 0.2
    step: float = 0.98
    rate: float = 0.1

    def __post_init__(self) -> None:
        for names, fine, rule in (
            ("tightest, loosest", 0 < self.tightest <= self.loosest < float("inf"), "the first must not be larger"),
            ("low, high", 0 <= self.low <= self.high <= 1, "give two shares in [0, 1], the lower first"),
            ("step", 0 < self.step < 1, "it must lie in (0, 1)"),
            ("rate", 0 < self.rate <= 1, "it must lie in (0, 1]"),
        ):
            if not fine:
                values = ", ".join(str(getattr(self, name)) for name in names.split(", "))
                raise ConfigError(f"env.tightening's {names}: {values}; {rule}")

    @property
    def on(self) -> bool:
        """Whether the factor moves, or is not 1."""
        return not self.loosest == self.tightest == 1.0


class Tightening:
    """The factor, and what moves it.

    Args:
        config: see there.
        device: where episodes are counted.

    Attributes:
        scale: the factor.
        failing: moving share of the episodes that end early, from 1.
    """

    def __init__(self, config: TighteningConfig, device: torch.device) -> None:
        self.config = config
        self.scale, self.failing = config.loosest, 1.0
        self._ended = torch.zeros(2, dtype=torch.int64, device=device)

    def count(self, failed: torch.Tensor, done: torch.Tensor) -> None:
        """What a step ended, `(N,)` each."""
        if self.config.on:
            self._ended += torch.stack((failed.sum(), done.sum()))

    def update(self, reduce: Callable[[torch.Tensor], torch.Tensor]) -> dict[str, torch.Tensor]:
        """Move the factor by the episodes since the last call, summed over processes by `reduce`; what to log."""
        if not self.config.on:
            return {}
        failed, done = reduce(self._ended).tolist()
        self._ended.zero_()
        config = self.config
        if done:
            self.failing += config.rate * (failed / done - self.failing)
            factor = config.step if self.failing < config.low else 1 / config.step if self.failing > config.high else 1
            self.scale = min(max(self.scale * factor, config.tightest), config.loosest)
        return {"termination_scale": torch.tensor(self.scale)}

    def state(self) -> dict[str, torch.Tensor]:
        """For checkpoints; nothing where it is off."""
        if not self.config.on:
            return {}
        moving = torch.tensor([self.scale, self.failing], dtype=torch.float64)
        return {"tightening.moving": moving, "tightening.ended": self._ended.clone()}

    def load(self, state: Mapping[str, torch.Tensor]) -> None:
        """What `state` returned."""
        if self.config.on:
            self.scale, self.failing = state["tightening.moving"].tolist()
            self._ended.copy_(state["tightening.ended"])
