"""The learner."""

from __future__ import annotations

from musclewarp.learning.config import PPOConfig
from musclewarp.learning.policy import Policy, load_policy
from musclewarp.learning.ppo import PPO

__all__ = ["PPO", "PPOConfig", "Policy", "load_policy"]
