"""The learner."""

from __future__ import annotations

from musclewarp.learning.policy import Policy, load_policy
from musclewarp.learning.ppo import PPO, PPOConfig

__all__ = ["PPO", "PPOConfig", "Policy", "load_policy"]
