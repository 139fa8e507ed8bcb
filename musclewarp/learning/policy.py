"""Trained policies as files: read from checkpoints, or from safetensors to share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import jsonargparse
import torch
from tensordict import TensorDict
from torchrl.envs.utils import ExplorationType, set_exploration_type
from torchrl.modules import ProbabilisticActor

from musclewarp.envs import EnvConfig
from musclewarp.errors import FileError, MusclewarpError
from musclewarp.files import read_arrays, write_arrays
from musclewarp.learning.checkpoints import read_checkpoint
from musclewarp.learning.config import PPOConfig
from musclewarp.learning.ppo import PPO

_KIND, _VERSION = "policy", 1
_HEADER = ("env", "ppo", "sizes", "model_hash", "frames", "clips")
_Config = TypeVar("_Config")


@dataclass(frozen=True, eq=False)
class Policy:
    """An actor and the task it was trained on.

    Attributes:
        actor: TorchRL module from "observation" to "action".
        env: the task's config.
        ppo: the learner's config.
        sizes: what `PPO.build` takes.
        model_hash: `MuscleModel.hash` of the model it moves.
        frames: environment frames it has learned from.
        clips: names of the references that it has learned from.
    """

    actor: ProbabilisticActor
    env: EnvConfig
    ppo: PPOConfig
    sizes: Mapping[str, Any]
    model_hash: str
    frames: int
    clips: Sequence[str] = ()

    @property
    def device(self) -> torch.device:
        """Where the actor is."""
        return next(self.actor.parameters()).device

    @torch.no_grad()
    def act(self, observation: torch.Tensor) -> torch.Tensor:
        """The deterministic action `(N, A)` where it sees `observation (N, D)`, on the device of that."""
        seen = TensorDict({"observation": observation.to(self.device)}, batch_size=len(observation))
        with set_exploration_type(ExplorationType.DETERMINISTIC):
            return self.actor(seen)["action"].to(observation.device)

    def untrained(self, seed: int = 0) -> Policy:
        """The same policy before learning, with the observation statistics of this one."""
        weights = self.actor.state_dict()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module = PPO(self.env, self.ppo)
            module.build(**self.sizes)
        statistics = {key: value for key, value in weights.items() if "normalizer" in key}
        module.actor.load_state_dict(statistics, strict=False)
        return replace(self, actor=module.actor.eval().to(self.device), frames=0)

    def save(self, path: str | Path) -> Path:
        """Write to a safetensors file: weights, observation statistics, and a JSON header with the configs."""
        header = {key: getattr(self, key) for key in _HEADER}
        return _write(path, self.actor.state_dict(), header | {"env": asdict(self.env), "ppo": asdict(self.ppo)})


def save_policy(checkpoint: Mapping[str, Any], path: str | Path) -> Path:
    """Write the policy in a checkpoint as `Policy.save` does."""
    return _write(path, _actor_weights(checkpoint["state_dict"]), checkpoint["musclewarp"])


def _write(path: str | Path, weights: Mapping[str, torch.Tensor], header: Mapping[str, Any]) -> Path:
    arrays = {key: value.detach().cpu().numpy() for key, value in weights.items()}
    return write_arrays(path, arrays, {key: header[key] for key in _HEADER}, _KIND, _VERSION)


def _actor_weights(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The actor's part of a learner's state."""
    return {key.removeprefix("actor."): value for key, value in state.items() if key.startswith("actor.")}


def load_policy(path: str | Path) -> Policy:
    """Read a policy from a checkpoint (.ckpt) or a safetensors file.

    Raises:
        FileError: the file is missing, damaged, or holds no policy of musclewarp.
    """
    path = Path(path)
    if not path.is_file():
        raise FileError(f"{path}: no such file; give a .ckpt of `musclewarp fit` or a .safetensors policy")
    if path.suffix == ".safetensors":
        arrays, header = read_arrays(path, _KIND, _VERSION)
        state = {f"actor.{key}": torch.from_numpy(value) for key, value in arrays.items()}
    else:
        checkpoint = read_checkpoint(path)
        state, header = checkpoint.get("state_dict", {}), checkpoint["musclewarp"]
    try:
        env, ppo = parse_config(EnvConfig, header["env"]), parse_config(PPOConfig, header["ppo"])
        module = PPO(env, ppo)
        module.build(**header["sizes"])
        module.actor.load_state_dict(_actor_weights(state))
        sizes, clips = header["sizes"], tuple(header.get("clips", ()))
        return Policy(module.actor.eval(), env, ppo, sizes, header["model_hash"], int(header["frames"]), clips)
    except MusclewarpError as error:
        raise FileError(f"{path}: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise FileError(f"{path}: its weights and its config do not belong together ({error})") from error


def parse_config(kind: type[_Config], values: Mapping[str, Any]) -> _Config:
    """A frozen config dataclass from plain nested values; unknown keys are errors.

    Raises:
        FileError: a key is unknown or a value of the wrong type.
    """
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(kind, "config")
    try:
        return parser.instantiate(parser.parse_object({"config": dict(values)})).config
    except jsonargparse.ArgumentError as error:
        raise FileError(f"a {kind.__name__} of another version of musclewarp: {error}") from error
