"""The task."""

from __future__ import annotations

from musclewarp.envs.config import EnvConfig, RewardConfig
from musclewarp.envs.control import ControlConfig
from musclewarp.envs.imitation import ImitationEnv
from musclewarp.envs.neural import NeuralConfig
from musclewarp.envs.pushes import PushConfig
from musclewarp.envs.starts import SamplingConfig
from musclewarp.envs.tightening import TighteningConfig
from musclewarp.envs.variation import VariationConfig

__all__ = [
    "ControlConfig",
    "EnvConfig",
    "ImitationEnv",
    "NeuralConfig",
    "PushConfig",
    "RewardConfig",
    "SamplingConfig",
    "TighteningConfig",
    "VariationConfig",
]
