"""PPO as a LightningModule: one rollout is one batch, optimised manually over minibatches."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import lightning
import torch
from lightning.pytorch.utilities import rank_zero_warn
from tensordict import TensorDictBase
from torch import nn
from torchrl.objectives import ClipPPOLoss

from musclewarp.envs import EnvConfig, ImitationEnv
from musclewarp.envs.symmetry import Symmetry
from musclewarp.errors import ConfigError, FileError, TrainingError, require
from musclewarp.learning.advantages import gae
from musclewarp.learning.checkpoints import VERSION, own_part, software
from musclewarp.learning.config import PPOConfig, refuse_unused
from musclewarp.learning.distributed import all_reduce_max, all_reduce_mean, all_reduce_sum, world_size
from musclewarp.learning.networks import ExcitationHead, TargetHead, ValueHead, make_actor, make_critic, make_explorer
from musclewarp.learning.normalization import ObservationNormalizer
from musclewarp.learning.optimizers import make_optimizers
from musclewarp.learning.rollouts import Rollouts

# what the weights, and the units of the observations and the values, mean nothing without
_RESUMED = {
    "env": ("model", "fingers", "physics", "observations", "critic_observations", "lookahead", "control"),
    "ppo": ("hidden", "residual", "learn_std", "gamma", "initial_excitation", "distribution", "optimizer"),
}
PRIOR_TERMS = ("reference_activation", "stretch", "stretch_velocity")


class PPO(lightning.LightningModule):
    """Learns to imitate the references of an environment.

    The environment is built in `setup`, on the module's own device, with its own worlds and randomness on each rank.
    Give it to `lightning.Trainer(max_epochs=1)`; training ends after `total_frames`, and everything it needs to go
    on is in the checkpoint.

    Args:
        env: the task.
        ppo: the learner's numbers.
    """

    def __init__(self, env: EnvConfig | None = None, ppo: PPOConfig | None = None) -> None:
        super().__init__()
        self.env_config, self.config = env or EnvConfig(), ppo or PPOConfig()
        self.automatic_optimization = False
        self.frames = 0
        self.updates = 0
        self.rollouts: Rollouts | None = None
        self._resume: Mapping[str, Any] | None = None
        self._unknown: Mapping[str, torch.Tensor] = {}  # columns of observations of which no statistics are known

    def setup(self, stage: str) -> None:
        if self.rollouts is not None:
            return
        refuse_unused(self.env_config, self.config)
        rank_seed = torch.initial_seed() + 1_000_003 * self.global_rank
        env = ImitationEnv(self.env_config, device=self.device, seed=rank_seed % 2**31)
        used = not env.library.has_activation.all() or env.config.initial_activation == EnvConfig.initial_activation
        require(env.config, "env.initial_activation", used, "leave it out: all references know their activations")
        columns = {name: env.observation_columns(name) for name in PRIOR_TERMS}
        self.build(
            env.observation_spec["observation"].shape[-1],
            env.action_spec.shape[-1],
            {name: column.start for name, column in columns.items() if column.stop},
            env.observation_spec["critic_observation"].shape[-1] if self.env_config.critic_observations else 0,
        )
        if self.config.symmetry != "none":
            self.symmetry = Symmetry(env.model, self.env_config).to(self.device)
        per_update = env.batch_size[0] * self.config.horizon * world_size()
        updates = math.ceil(self.config.total_frames / per_update)
        self.rollouts = Rollouts(
            env,
            self.explorer,
            self.config.horizon,
            updates,
            self._exhausted,
            self.head.first_noise if self.head.kept else None,
        )

    def build(self, observations: int, muscles: int, columns: Mapping[str, int], critic_observations: int = 0) -> None:
        """Make the networks.

        Args:
            observations: D.
            muscles: M, or the number of joint targets.
            columns: as `ExcitationHead` takes them.
            critic_observations: how many more only the critic sees.
        """
        config = self.config
        self.sizes = {"observations": observations, "muscles": muscles, "columns": dict(columns)}
        if critic_observations:
            self.sizes["critic_observations"] = critic_observations
        self.normalizer = ObservationNormalizer(observations)
        self.normalizers = {"observation": self.normalizer}  # the heads own them
        if critic_observations:
            self.normalizers["critic_observation"] = ObservationNormalizer(critic_observations)
        dt = self.env_config.physics.control_dt
        if self.env_config.control.mode == "joint_targets":
            self.head = TargetHead(self.normalizer, muscles, config, dt)
        else:
            self.head = ExcitationHead(self.normalizer, muscles, columns, config, dt)
        self.value_head = ValueHead(list(self.normalizers.values()), config)
        if config.compile:
            self.head.network.compile()
            self.value_head.network.compile()
        self.actor = make_actor(self.head)
        self.explorer = make_explorer(self.actor, self.head)
        self.critic = make_critic(self.value_head, list(self.normalizers))
        self.loss = ClipPPOLoss(
            self.actor,
            self.critic,
            functional=False,  # the functional form cannot be distributed
            clip_epsilon=config.clip,
            entropy_bonus=config.entropy_weight > 0,
            entropy_coeff=config.entropy_weight,
            critic_coeff=config.critic_weight,
            loss_critic_type="l2",
        )

    @property
    def acts_alone(self) -> bool:
        """Whether the policy alone acted in the last rollout."""
        return True

    @property
    def env(self) -> ImitationEnv:
        """The environment, once `setup` has made it; not a submodule, so that it is no part of the weights."""
        if self.rollouts is None:
            raise ConfigError("the environment exists once the Trainer has called setup()")
        return self.rollouts.env

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        return make_optimizers((self.head, self.value_head), self.config)

    def train_dataloader(self) -> Rollouts:
        assert self.rollouts is not None
        return self.rollouts

    def transfer_batch_to_device(
        self, batch: TensorDictBase, device: torch.device, dataloader_idx: int
    ) -> TensorDictBase:
        return batch  # it was made where it is used

    def _exhausted(self) -> bool:
        return self.frames >= self.config.total_frames

    def on_fit_start(self) -> None:
        saved, self._resume = self._resume, None
        if saved is not None and self._restore(saved):
            return
        if saved is not None or world_size() > 1:
            # the ranks began with one seed, for equal weights, and a resumed run begins with that of the first one:
            # from here on each draws its own noise and episodes
            seed = torch.initial_seed() + 1_000_003 * self.global_rank + self.updates
            torch.manual_seed(seed)
            self.env.set_seed(seed % 2**31)
        if self.updates == 0:
            # forces and lengths differ by orders of magnitude: know their scale before the first update
            first = self.train_dataloader().collect(16)
            for name, normalizer in self.normalizers.items():
                normalizer.update(first[name], self._unknown.get(name))

    def on_train_start(self) -> None:
        # a checkpoint brings its step sizes, which were learned, but the decay is the config's
        for optimizer, made in zip(self._optimizers(), self.configure_optimizers(), strict=True):
            for group, fresh in zip(optimizer.param_groups, made.param_groups, strict=True):
                group["weight_decay"] = fresh["weight_decay"]

    def training_step(self, rollout: TensorDictBase, batch_idx: int) -> None:
        optimizers = self._optimizers()
        self._estimate_advantages(rollout)
        samples = rollout.exclude("next").reshape(-1)
        own = samples  # what the policy drew: images would tell of its asymmetry, not of its change
        if self.config.symmetry == "augment":
            samples = torch.cat((samples, self._image(samples)))
        losses, kl, epochs = [], torch.zeros(()), 0
        while epochs < self.config.epochs and not self._changed_enough(kl):
            losses += [self._optimise(optimizers, minibatch) for minibatch in self._minibatches(samples)]
            epochs += 1
            if self.config.kl_stop or epochs == self.config.epochs:
                kl = self._policy_change(own)
        self._steer(optimizers, float(kl))
        names = ("loss_policy", "loss_value", "clip_fraction", "gradient_norm")
        told = dict(zip(names, torch.stack(losses).mean(0), strict=True)) | {"kl": kl, "epochs": float(epochs)}
        self._conclude(rollout, told)

    def _optimizers(self) -> list[Any]:
        made = self.optimizers()
        return made if isinstance(made, list) else [made]

    def _minibatches(self, samples: TensorDictBase) -> Iterator[TensorDictBase]:
        """All of `samples` in random order, in parts."""
        for indices in torch.randperm(len(samples), device=self.device).split(self.config.minibatch):
            yield samples[indices]

    def _conclude(self, rollout: TensorDictBase, told: Mapping[str, torch.Tensor | float]) -> None:
        """Count and report what was learned from `rollout`; `told` are the numbers of this way of learning.

        Raises:
            TrainingError: one of them is not finite, and so the weights are not.
        """
        if not all(math.isfinite(value) for value in told.values()):
            raise TrainingError(
                f"update {self.updates + 1} is not finite; what was learned before it is saved: go on with smaller "
                "ppo.learning_rate_bounds or ppo.max_grad_norm"
            )
        for name, normalizer in self.normalizers.items():
            normalizer.update(rollout[name])
        self.frames += rollout.numel() * world_size()
        self.updates += 1
        self._schedule_std()
        self._report(rollout, told)
        self.log_dict(self.env.practise(all_reduce_sum))
        self.env.quarantine.check(all_reduce_sum)

    def _changed_enough(self, kl: torch.Tensor) -> bool:
        return 0 < self.config.kl_stop * self._kl_target < float(kl)

    def _optimise(self, optimizers: Sequence[Any], minibatch: TensorDictBase) -> torch.Tensor:
        losses = self.loss(minibatch)
        total = losses["loss_objective"] + losses["loss_critic"]
        if self.config.entropy_weight > 0:
            total = total + losses["loss_entropy"]
        if self.config.symmetry == "loss":
            total = total + self.config.symmetry_weight * self._asymmetry(minibatch)
        norm = self._descend(optimizers, total)
        return torch.stack((losses["loss_objective"], losses["loss_critic"], losses["clip_fraction"], norm)).detach()

    def _descend(self, optimizers: Sequence[Any], loss: torch.Tensor) -> torch.Tensor:
        """One step of each optimiser; the norm of the gradient before it was clipped."""
        for optimizer in optimizers:
            optimizer.zero_grad()
        self.manual_backward(loss)
        weights = [p for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]]
        norm = nn.utils.clip_grad_norm_(weights, self.config.max_grad_norm)
        for optimizer in optimizers:
            optimizer.step()
        return norm

    @torch.no_grad()
    def _estimate_advantages(self, rollout: TensorDictBase) -> None:
        """Write "advantage", normalised over the whole batch of all ranks, and "value_target"."""
        following, head = rollout["next"], self.value_head
        value, next_value = (head.value(*(td[name] for name in self.normalizers)) for td in (rollout, following))
        advantage, target = gae(
            following["reward"],
            value,
            next_value,
            following["terminated"],
            following["done"],
            self.config.gamma,
            self.config.lam,
        )
        mean = all_reduce_mean(advantage.mean())
        deviation = all_reduce_mean((advantage - mean).square().mean()).sqrt()
        rollout["advantage"] = (advantage - mean) / (deviation + 1e-8)
        if self.config.normalize_values:
            head.update(target)
        rollout["value_target"] = head.normalize(target)

    @torch.no_grad()
    def _image(self, samples: TensorDictBase) -> TensorDictBase:
        """`samples` in the mirror, with the density that the policy before its update gives them there."""
        image, symmetry = samples.clone(recurse=False), self.symmetry
        swaps = {**symmetry.observations, "action": symmetry.action, "noise": symmetry.action}
        image.update({key: swap(samples[key]) for key, swap in swaps.items() if key in samples})
        density = self.actor.get_dist(image.select("observation", "noise", strict=False))
        image["action_log_prob"] = density.log_prob(image["action"])
        return image

    def _asymmetry(self, samples: TensorDictBase) -> torch.Tensor:
        """Mean square between the mean logits of the mirrored observation and the mirrored ones of the observation."""
        seen = samples["observation"]
        (there, _), (here, _) = self.head(self.symmetry.observations["observation"](seen)), self.head(seen)
        return (there - self.symmetry.action(here)).square().mean()

    @torch.no_grad()
    def _policy_change(self, samples: TensorDictBase) -> torch.Tensor:
        """KL divergence of the policy that collected `samples` from the current one, over all ranks (k3 estimator)."""
        log_ratio = self.actor.get_dist(samples).log_prob(samples["action"]) - samples["action_log_prob"]
        return all_reduce_mean((log_ratio.exp() - 1 - log_ratio).mean())

    @property
    def _kl_target(self) -> float:
        return self._interpolate(self.config.kl_target, self.config.kl_target_end)

    def _steer(self, optimizers: Sequence[Any], kl: float) -> None:
        factor = 1 / 1.5 if kl > 2 * self._kl_target else 1.5 if kl < self._kl_target / 2 else 1.0
        low, high = self.config.learning_rate_bounds
        for group in (group for optimizer in optimizers for group in optimizer.param_groups):
            group["lr"] = min(max(group["lr"] * factor, low), high)

    def _interpolate(self, start: float, end: float) -> float:
        """A schedule on environment frames."""
        return start + (end - start) * min(1.0, self.frames / self.config.total_frames)

    def _schedule_std(self) -> None:
        if not self.config.learn_std:
            std = self._interpolate(self.config.initial_std, self.config.final_std)
            self.head.log_std.data.fill_(torch.tensor(std).log())

    def _report(self, rollout: TensorDictBase, told: Mapping[str, torch.Tensor | float]) -> None:
        following = rollout["next"]
        terminated, done = (all_reduce_sum(following[key].sum().float()) for key in ("terminated", "done"))
        quarantine = self.env.quarantine
        self.log_dict(
            {
                "step": float(self.updates),  # what loggers count by; Lightning's own count starts anew on resuming
                "frames": float(self.frames),
                "reward": following["reward"].mean(),
                "site_error_cm": 100 * following["site_error"].mean(),
                "early_termination": terminated / done.clamp(min=1),
                "terminations_per_s": following["terminated"].float().mean() / self.env.model.physics.control_dt,
                **told,
                "learning_rate": self._optimizers()[0].param_groups[0]["lr"],
                "exploration_std": self.head.log_std.detach().exp().mean(),
                **{
                    name: all_reduce_max(value) if name.startswith("worst") else value
                    for name, value in self.env.control.take_metrics().items()
                },
                "quarantined": all_reduce_sum(quarantine.count.float()),
                **{
                    f"faults/{kind}": count
                    for kind, count in zip(
                        self.env.engine.fault_kinds, all_reduce_sum(quarantine.faults.float()), strict=True
                    )
                },
            },
            sync_dist=world_size() > 1,  # means over ranks, which all have as many frames
        )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["musclewarp"] = {
            "version": VERSION,
            "software": software(),
            "env": asdict(self.env_config),
            "ppo": asdict(self.config),
            "model_hash": self.env.model.hash,
            "sizes": self.sizes,
            "frames": self.frames,
            "updates": self.updates,
            "clips": list(self.env.library.names),
            "worlds": self.env.snapshot(),
            "noise": self.train_dataloader().noise,
            "rng": torch.get_rng_state(),
            "rng_cuda": torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        saved = own_part(checkpoint)
        _require_same(saved, {"env": asdict(self.env_config), "ppo": asdict(self.config)})
        if saved["model_hash"] != self.env.model.hash or saved["sizes"] != self.sizes:
            raise FileError("the checkpoint is of another model or other observations; use the config it was made with")
        # Lightning counts a stopped run as a whole epoch, after which it would not train; frames tell when to end
        checkpoint.pop("loops", None)
        checkpoint.get("callbacks", {}).pop("Timer", None)  # `max_time` is that of this run
        self._resume, self.frames, self.updates = saved, saved["frames"], saved["updates"]

    def _restore(self, saved: Mapping[str, Any]) -> bool:
        """Go on exactly where the checkpoint was written, if one process has the same worlds and clips; else False."""
        shapes = [{name: value.shape for name, value in x.items()} for x in (saved["worlds"], self.env.snapshot())]
        same = shapes[0] == shapes[1]  # as many worlds, with the same variation and neural effects
        same &= saved["env"].get("library_mb", 0.0) == self.env_config.library_mb  # room for the clips that they follow
        clips = saved["clips"] == list(self.env.library.names)
        if not same or not clips or world_size() > 1:
            # what holds for all worlds and processes stands
            for part in (self.env.tightening, self.env.starts) if clips else (self.env.tightening,):
                if all(shapes[0].get(name) == value.shape for name, value in part.state().items()):
                    part.load(saved["worlds"])
            rank_zero_warn("new episodes begin: those of the checkpoint need its clips and its worlds, in one process")
            return False
        self.env.restore(saved["worlds"])
        self.train_dataloader().go_on(saved["noise"])
        torch.set_rng_state(saved["rng"].cpu())
        if self.device.type == "cuda" and (state := saved.get("rng_cuda")) is not None:
            torch.cuda.set_rng_state(state.cpu(), self.device)
        return True


def _require_same(saved: Mapping[str, Any], current: Mapping[str, Any]) -> None:
    for group, names in _RESUMED.items():
        for name in names:
            before, now = (json.dumps(configs[group].get(name)) for configs in (saved, current))
            if before != now:
                raise ConfigError(
                    f"{group}.{name} is {now}, but the checkpoint has learned with {before}; "
                    f"resume with that, or start anew in another --out"
                )
