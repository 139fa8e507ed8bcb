"""Pushes: forces from outside that nobody announces."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from musclewarp.engines import Engine
from musclewarp.envs.randomness import uniform
from musclewarp.errors import ConfigError, require

_STREAMS = (-1, -2, -3)  # of `randomness`: those of others are from 0


@dataclass(frozen=True)
class PushConfig:
    """Horizontal forces on one body, each in a direction of its own; off, no force, unless asked for.

    Attributes:
        force: N, of the weakest and of the strongest push; each is drawn evenly between them.
        seconds: how long a push lasts, a whole number of control steps.
        interval: s, about; there is one push in each interval of an episode, at a random moment of it.
        body: MuJoCo's name of the body that is pushed, at its centre of mass; default: the one of the root site.
    """

    force: tuple[float, float] = (0.0, 0.0)
    seconds: float = 0.2
    interval: float = 2.0
    body: str = ""

    def __post_init__(self) -> None:
        low, high = self.force
        require(self, "env.pushes.force", 0.0 <= low <= high < math.inf, "give two forces in N, the weaker first")
        if not 0.0 < self.seconds <= self.interval < math.inf:
            raise ConfigError(
                f"env.pushes.seconds is {self.seconds}, interval {self.interval}; a push must fit into its interval"
            )

    @property
    def on(self) -> bool:
        """Whether anybody is pushed."""
        return self.force[1] > 0.0


class Pushes:
    """The pushes of N worlds: each follows from the seed, the world, its reset and the step, so nothing is kept.

    Args:
        config: which.
        engine: whose worlds are pushed.

    Raises:
        ConfigError: a push lasts no whole number of control steps, or its body is unknown or cannot move.
    """

    def __init__(self, config: PushConfig, engine: Engine) -> None:
        self.config = config
        if not config.on:
            return
        model, physics = engine.model.stepped, engine.model.physics
        self._duration = physics.whole_steps(config.seconds, "env.pushes.seconds")
        self._interval = max(self._duration, round(config.interval / physics.control_dt))
        name = config.body or model.body(engine.model.site_body_ids[0]).name
        moving = {model.body(body).name: bool(model.body_weldid[body]) for body in range(model.nbody)}
        if not moving.get(name):
            known = dict.fromkeys(model.body(body).name for body in engine.model.site_body_ids)
            raise ConfigError(
                f"env.pushes.body: '{name}' is no body of '{engine.model.name}' that moves; give another, such as "
                f"{', '.join(body for body in known if moving[body])}"
            )
        self._force = engine.xfrc_applied[:, model.body(name).id, :2]
        self._worlds = torch.arange(engine.num_worlds, device=engine.device)[:, None]
        self._streams = torch.tensor(_STREAMS, device=engine.device)

    def apply(self, seed: int, draws: torch.Tensor, steps: torch.Tensor) -> None:
        """Write the forces of the coming control step into the engine.

        Args:
            seed: of the run.
            draws: `(N,)` int64, how often each world was reset.
            steps: `(N,)` int64, control steps since then.
        """
        if not self.config.on:
            return
        key = ((draws << 32) + steps // self._interval)[:, None]
        moment, strength, direction = uniform(seed, self._worlds, key, self._streams).unbind(-1)
        since = steps % self._interval - (moment * (self._interval - self._duration + 1)).long()
        low, high = self.config.force
        newtons = torch.where((since >= 0) & (since < self._duration), low + (high - low) * strength, 0.0)
        angle = 2.0 * math.pi * direction
        self._force.copy_(torch.stack((newtons * angle.cos(), newtons * angle.sin()), dim=-1))
