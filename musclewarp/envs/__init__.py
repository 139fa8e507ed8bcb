"""The task."""

from __future__ import annotations

from musclewarp.envs.config import EnvConfig, RewardConfig
from musclewarp.envs.imitation import ImitationEnv

__all__ = ["EnvConfig", "ImitationEnv", "RewardConfig"]
