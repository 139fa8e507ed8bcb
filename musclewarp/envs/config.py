"""`EnvConfig`: everything that defines the task; frozen dataclasses are the only schema."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from musclewarp.envs.control import ControlConfig
from musclewarp.envs.neural import NeuralConfig
from musclewarp.envs.observations import OBSERVATIONS
from musclewarp.envs.pushes import PushConfig
from musclewarp.envs.rewards import EFFORT, TRACKING
from musclewarp.envs.starts import SamplingConfig
from musclewarp.envs.terminations import TERMINATIONS
from musclewarp.envs.tightening import TighteningConfig
from musclewarp.envs.variation import VariationConfig
from musclewarp.errors import ConfigError
from musclewarp.models import MODELS, PhysicsConfig


@dataclass(frozen=True)
class RewardConfig:
    """One reward term: tracking terms earn `weight * exp(-error / scale)`, effort costs `weight * error / scale`.

    Attributes:
        weight: what the term is worth at most.
        scale: error at which a tracking term has dropped to 37 %, in the term's unit.
    """

    weight: float
    scale: float

    def __post_init__(self) -> None:
        if not math.isfinite(self.weight):
            raise ConfigError(f"a reward's weight is {self.weight}; it must be finite")
        if not 0 < self.scale < math.inf:
            raise ConfigError(f"a reward's scale is {self.scale}; it must be positive and finite")


# plain values, because the command line's parser writes defaults into config files but not instances inside a dict
_REWARDS: dict[str, Any] = {
    "site_approach": {"weight": 0.4, "scale": 0.05},
    "joint_approach": {"weight": 0.3, "scale": 0.15},
    "site_position": {"weight": 0.3, "scale": 0.02},
    "activation_energy": {"weight": 0.1, "scale": 1.0},
}


@dataclass(frozen=True)
class EnvConfig:
    """The imitation task.

    Attributes:
        model: "bimanual" or "myofullbody".
        references: files or a folder that `musclewarp retarget` wrote, or a part of a split file (`FILE.yaml:train`).
        fingers: keep finger joints and their muscles.
        engine: "auto" (warp on a GPU, native elsewhere), "native" or "warp".
        num_worlds: worlds per process.
        physics: time step and substeps.
        observations: names of terms in `envs.observations`, in order.
        critic_observations: further terms that only the critic sees, in training.
        lookahead: control steps ahead of now that the `ahead_*` observations see.
        rewards: weight and scale of terms in `envs.rewards`.
        terminations: limit of terms in `envs.terminations`; an episode fails beyond it.
        tightening: how these limits follow the policy in training; off by default.
        sampling: whether episodes start more often where the policy fails; off by default.
        episode_seconds: an episode is truncated after this time, or at the end of its clip.
        control: what a policy's actions are, and how they become excitations.
        initial_activation: activation of every muscle at a reset, where the reference does not know it.
        neural: delay, noise and fatigue between the policy's commands and the excitations; off by default.
        variation: how far the worlds' models differ from `model`, drawn anew at every reset; off by default.
        pushes: forces from outside; off by default.
        max_quarantined_fraction: share of world-steps that may leave the finite numbers before the run stops.
        dump_folder: where the first few quarantined worlds are written for `musclewarp replay`; none if empty.
    """

    model: str = "bimanual"
    references: str | list[str] = "refs"
    fingers: bool = False
    engine: str = "auto"
    num_worlds: int = 64
    physics: PhysicsConfig = field(default_factory=PhysicsConfig)
    observations: tuple[str, ...] = (
        "joint_pos",
        "joint_vel",
        "fibre_length",
        "fibre_velocity",
        "muscle_force",
        "activation",
        "ahead_joint_pos",
        "ahead_joint_vel",
        "ahead_site_pos",
        "stretch",
        "stretch_velocity",
        "reference_activation",
    )
    critic_observations: tuple[str, ...] = ()
    lookahead: tuple[int, ...] = (1, 3, 8)
    rewards: dict[str, RewardConfig] = field(default_factory=lambda: dict(_REWARDS))
    terminations: dict[str, float] = field(default_factory=lambda: {"site_deviation": 0.25})
    tightening: TighteningConfig = field(default_factory=TighteningConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    episode_seconds: float = 10.0
    control: ControlConfig = field(default_factory=ControlConfig)
    initial_activation: float = 0.05
    variation: VariationConfig = field(default_factory=VariationConfig)
    neural: NeuralConfig = field(default_factory=NeuralConfig)
    pushes: PushConfig = field(default_factory=PushConfig)
    max_quarantined_fraction: float = 0.001
    dump_folder: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "rewards", {name: _reward(name, term) for name, term in self.rewards.items()})
        if self.model not in MODELS:
            raise ConfigError(f"env.model is '{self.model}'; choose one of {', '.join(MODELS)}")
        if self.num_worlds < 1:
            raise ConfigError(f"env.num_worlds is {self.num_worlds}; it must be at least 1")
        if not self.episode_seconds >= self.physics.control_dt:
            raise ConfigError(f"env.episode_seconds is {self.episode_seconds}, less than a control step")
        if not 0.0 <= self.initial_activation <= 1.0:
            raise ConfigError(f"env.initial_activation is {self.initial_activation}; activations lie in [0, 1]")
        if not 0.0 <= self.max_quarantined_fraction <= 1.0:
            raise ConfigError(f"env.max_quarantined_fraction is {self.max_quarantined_fraction}; shares lie in [0, 1]")
        for name, limit in self.terminations.items():
            if not 0.0 <= limit < math.inf:
                raise ConfigError(f"env.terminations.{name} is {limit}; give a limit, or leave the term out")
        if not self.lookahead or min(self.lookahead) < 0:
            raise ConfigError(f"env.lookahead is {self.lookahead}; give control steps ahead, e.g. [1, 3, 8]")
        for key, switch in (("tightening", "loosest and tightest"), ("sampling", "floor"), ("pushes", "force")):
            part = getattr(self, key)
            if not part.on and part != type(part)():  # what would have no effect is refused
                raise ConfigError(f"env.{key} is off, so that {part} has no effect; set env.{key}'s {switch}, too")
        if self.tightening.on and not self.terminations:
            raise ConfigError("env.tightening needs env.terminations to tighten")
        if not self.rewards or not self.observations:
            raise ConfigError("env.rewards and env.observations must name at least one term")
        _check_names("env.observations", self.observations, OBSERVATIONS)
        _check_names("env.critic_observations", self.critic_observations, OBSERVATIONS)
        _check_names("env.rewards", self.rewards, {**TRACKING, **EFFORT})
        _check_names("env.terminations", self.terminations, TERMINATIONS)


def _reward(name: str, term: RewardConfig | Mapping[str, Any]) -> RewardConfig:
    try:
        return term if isinstance(term, RewardConfig) else RewardConfig(**term)
    except TypeError as error:
        raise ConfigError(f"env.rewards.{name} is {term}; it takes a weight and a scale") from error


def _check_names(key: str, names: Mapping[str, object] | tuple[str, ...], known: Mapping[str, object]) -> None:
    for name in names:
        if name not in known:
            close = get_close_matches(name, known, n=1)
            hint = f"; did you mean '{close[0]}'?" if close else "."
            raise ConfigError(f"{key} names '{name}', which is not a term{hint} There are: {', '.join(known)}")
