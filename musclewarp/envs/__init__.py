"""The task."""

from __future__ import annotations

from musclewarp.envs.config import EnvConfig, RewardConfig
from musclewarp.envs.control import ControlConfig
from musclewarp.envs.imitation import ImitationEnv
from musclewarp.envs.neural import NeuralConfig
from musclewarp.envs.variation import VariationConfig

__all__ = ["ControlConfig", "EnvConfig", "ImitationEnv", "NeuralConfig", "RewardConfig", "VariationConfig"]
