"""Where a policy begins that has learned before: on other clips, or in another variant of its body."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any

import torch
from torch import nn

from musclewarp.envs import EnvConfig
from musclewarp.envs.names import action_names, observation_names
from musclewarp.errors import ConfigError
from musclewarp.learning.checkpoints import read_checkpoint
from musclewarp.learning.policy import Policy, load_policy
from musclewarp.learning.ppo import PPO
from musclewarp.models import MuscleModel, load_model

_ALIKE = (  # what the weights mean nothing without
    *("env.observations", "env.lookahead", "env.physics.control_dt"),
    *("env.control.mode", "env.control.scale", "env.control.stiffness", "env.control.damping"),
    *("ppo.hidden", "ppo.residual", "ppo.distribution", "ppo.initial_excitation", "ppo.learn_std"),
)
_CRITICS_ALIKE = ("env.critic_observations", "ppo.gamma")


def take_over(module: PPO, path: str | Path) -> tuple[str, dict[str, torch.Tensor]]:
    """Give a learner that has not begun the weights and the observation statistics of the policy at `path`.

    What is seen and done has names (`envs.names`), by which weights are carried over where the bodies differ: what the
    policy never saw weighs nothing at first, and what it never did begins as without it. A checkpoint's critic comes
    along if it sees and discounts alike. Optimiser, frames and schedules begin anew.

    Returns:
        What was done, in a line; and by observation, which of its columns are new, so that no statistics are known.

    Raises:
        FileError: there is no policy at `path`.
        ConfigError: it has learned another task, or to move a body of which nothing is here.
    """
    policy, model = load_policy(path), module.env.model
    for key, before, now in _differences(policy, module, _ALIKE):
        raise ConfigError(f"{key} is {now}, but init_from, {path}, has learned with {before}; set that")
    same_body = (policy.env.model, policy.env.fingers) == (module.env_config.model, module.env_config.fingers)
    body = model if same_body else load_model(policy.env.model, policy.env.fingers, policy.env.physics)
    names, names_before = _names(model, module.env_config), _names(body, policy.env)
    sizes = (policy.sizes["observations"], policy.sizes["muscles"])
    if sizes != (known := (len(names_before["observation"]), len(names_before["action"]))):
        raise ConfigError(
            f"init_from, {path}, sees {sizes[0]} and moves {sizes[1]} numbers, but its '{policy.env.model}' as it is "
            f"installed has {known[0]} and {known[1]}: it is of another version of musclemimic-models"
        )
    places = {key: _places(names[key], names_before[key], module.device) for key in names}
    if not (places["action"] >= 0).any():
        raise ConfigError(
            f"init_from, {path}, moves '{policy.env.model}', and nothing of '{model.name}' by the same name; leave it "
            "out"
        )
    weights = policy.actor.state_dict()
    if not module.config.learn_std:  # a schedule, which begins anew
        weights = {key: value for key, value in weights.items() if not key.endswith("log_std")}
    _carry(module.actor, weights, places["observation"], places["action"])
    critic = _critic_weights(policy, module, path)
    if critic:
        further = places["critic_observation"]
        offset = torch.where(further < 0, -1, further + sizes[0])
        _carry(module.value_head, critic, torch.cat((places["observation"], offset)), None)
    told = [f"begins with {path}, {policy.frames:,} frames of learning on '{policy.env.model}'"]
    if policy.model_hash != model.hash:
        told.append(f"the body is another one ({policy.model_hash[:8]}, now {model.hash[:8]})")
    for key in ("action", "observation"):
        if names[key] != names_before[key]:
            told.append(f"{int((places[key] >= 0).sum())} of {len(names[key])} numbers of the {key} are carried over")
    told.append("its critic comes along" if critic else "the critic begins anew")
    return "; ".join(told), {"observation": places["observation"] < 0}


def _differences(policy: Policy, module: PPO, keys: Sequence[str]) -> Iterator[tuple[str, Any, Any]]:
    """Keys of the configs whose values differ, with the policy's and the learner's."""
    for key in keys:
        group, name = key.split(".", 1)
        before, now = (
            attrgetter(name)(configs[group])
            for configs in (
                {"env": policy.env, "ppo": policy.ppo},
                {"env": module.env_config, "ppo": module.config},
            )
        )
        if before != now:
            yield key, before, now


def _names(model: MuscleModel, config: EnvConfig) -> dict[str, list[str]]:
    return {
        "observation": observation_names(model, config.observations, config.lookahead),
        "critic_observation": observation_names(model, config.critic_observations, config.lookahead),
        "action": action_names(model, config),
    }


def _places(names: Sequence[str], before: Sequence[str], device: torch.device) -> torch.Tensor:
    """Where each of `names` was among those `before`; -1 where it was not."""
    place = {name: i for i, name in enumerate(before)}
    return torch.tensor([place.get(name, -1) for name in names], dtype=torch.int64, device=device)


def _critic_weights(policy: Policy, module: PPO, path: str | Path) -> dict[str, torch.Tensor]:
    """Of the critic in the checkpoint at `path`; none in a policy to share, or of values that mean something else."""
    if Path(path).suffix == ".safetensors" or any(_differences(policy, module, _CRITICS_ALIKE)):
        return {}
    state = {key.removeprefix("value_head."): value for key, value in read_checkpoint(path)["state_dict"].items()}
    return {key: state[key] for key in module.value_head.state_dict() if not key.startswith("normalizers.")}


@torch.no_grad()
def _carry(
    module: nn.Module, weights: Mapping[str, torch.Tensor], columns: torch.Tensor, rows: torch.Tensor | None
) -> None:
    """Copy `weights` into `module`, an actor or a critic, which sees `columns` and does `rows` of the old one."""
    last = max(int(key.split("network.")[1].split(".")[0]) for key in weights if "network." in key)
    for key, own in module.state_dict().items():
        if key not in weights:
            continue
        value, name = weights[key].to(own.device), key.rsplit("network.", 1)[-1]
        if name == "0.weight":
            value = _moved(value, own.new_zeros(len(value), len(columns)), columns, 1)
        elif key.endswith(("normalizer.mean", "normalizer.var")):
            value = _moved(value, own, columns, 0)
        if rows is not None and (name in (f"{last}.weight", f"{last}.bias") or "gains." in key or "log_std" in key):
            value = _moved(value, own, rows, 0)
        own.copy_(value)


def _moved(value: torch.Tensor, own: torch.Tensor, places: torch.Tensor, dim: int) -> torch.Tensor:
    """`own`, but for what has a place in `value` along `dim`."""
    known = (places >= 0).view([-1 if axis == dim else 1 for axis in range(own.ndim)])
    return torch.where(known, value.index_select(dim, places.clamp(min=0)), own)
