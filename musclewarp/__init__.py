"""Muscle-driven motion imitation: MuJoCo Warp, TorchRL and Lightning."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from musclewarp.envs import EnvConfig, ImitationEnv, RewardConfig
    from musclewarp.errors import MusclewarpError
    from musclewarp.evaluation import Trial, evaluate
    from musclewarp.learning import PPO, Policy, PPOConfig, load_policy
    from musclewarp.models import MuscleModel, PhysicsConfig, load_model
    from musclewarp.motion.amass import read_amass
    from musclewarp.motion.motion import Motion
    from musclewarp.motion.read import read_motion
    from musclewarp.references import Reference
    from musclewarp.references.library import ReferenceLibrary, load_library
    from musclewarp.references.loop import cut_loop

# name: module; imported on first use, so that `import musclewarp` is quick. `retarget` is not among them: that name is
# the folder's (`from musclewarp.retarget import retarget`).
_HOMES = {
    "EnvConfig": "envs",
    "ImitationEnv": "envs",
    "RewardConfig": "envs",
    "MusclewarpError": "errors",
    "Trial": "evaluation",
    "evaluate": "evaluation",
    "PPO": "learning",
    "Policy": "learning",
    "PPOConfig": "learning",
    "load_policy": "learning",
    "MuscleModel": "models",
    "PhysicsConfig": "models",
    "load_model": "models",
    "read_amass": "motion.amass",
    "Motion": "motion.motion",
    "read_motion": "motion.read",
    "Reference": "references",
    "ReferenceLibrary": "references.library",
    "cut_loop": "references.loop",
    "load_library": "references.library",
}

__all__ = [
    "PPO",
    "EnvConfig",
    "ImitationEnv",
    "Motion",
    "MuscleModel",
    "MusclewarpError",
    "PPOConfig",
    "PhysicsConfig",
    "Policy",
    "Reference",
    "ReferenceLibrary",
    "RewardConfig",
    "Trial",
    "cut_loop",
    "evaluate",
    "load_library",
    "load_model",
    "load_policy",
    "read_amass",
    "read_motion",
]

try:
    __version__ = version("musclewarp")
except PackageNotFoundError:  # a checkout that is not installed
    __version__ = "0"


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'musclewarp' has no attribute '{name}'")
    return getattr(import_module(f"musclewarp.{_HOMES[name]}"), name)
