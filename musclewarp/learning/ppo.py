"""PPO as a LightningModule: one rollout is one batch, optimised manually over minibatches."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import lightning
import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.utilities import rank_zero_warn
from tensordict import TensorDictBase
from torchrl.objectives import ClipPPOLoss

from musclewarp.envs import EnvConfig, ImitationEnv
from musclewarp.errors import ConfigError, FileError
from musclewarp.learning.advantages import gae
from musclewarp.learning.checkpoints import VERSION, own_part, software
from musclewarp.learning.distributed import all_reduce_mean, all_reduce_sum, world_size
from musclewarp.learning.networks import ExcitationHead, make_actor, make_critic
from musclewarp.learning.normalization import ObservationNormalizer
from musclewarp.learning.rollouts import Rollouts

_POSITIVE = ("total_frames", "horizon", "epochs", "minibatch", "clip", "learning_rate", "kl_target", "kl_target_end")
_POSITIVE += ("max_grad_norm", "initial_std", "final_std")


@dataclass(frozen=True)
class PPOConfig:
    """The learner's numbers (Schulman et al. 2017, arXiv 1707.06347).

    Attributes:
        total_frames: environment frames to learn from, over all ranks.
        horizon: control steps of each world per rollout.
        epochs: passes over a rollout.
        minibatch: samples per optimiser step, per rank.
        gamma, lam: discount and GAE parameter.
        clip: bound on the probability ratio.
        learning_rate: where Adam starts; then held by the policy's change per update.
        kl_target: change per update (KL, nats) that the step size is steered to: divided by 1.5 above twice of it,
            multiplied by 1.5 below half of it.
        kl_target_end: `kl_target` at `total_frames`; it moves linearly with the frames.
        learning_rate_bounds: the step size stays within.
        max_grad_norm: gradients are scaled down to this norm.
        critic_weight, entropy_weight: of the value loss, and of the entropy bonus, which needs `learn_std`.
        hidden: widths of the actor's and of the critic's layers.
        initial_excitation: mean excitation before learning, where the reference has no activations.
        reflex: gain of the stretch reflex before learning, see `networks.ExcitationHead`.
        initial_std, final_std: exploration in logits, at the start and at `total_frames`, if `learn_std` is off.
        learn_std: let PPO change the exploration instead.
    """

    total_frames: int = 600_000
    horizon: int = 48
    epochs: int = 3
    minibatch: int = 512
    gamma: float = 0.9
    lam: float = 0.95
    clip: float = 0.2
    learning_rate: float = 3e-4
    kl_target: float = 0.12
    kl_target_end: float = 0.06
    learning_rate_bounds: tuple[float, float] = (5e-5, 1e-3)
    max_grad_norm: float = 1.0
    critic_weight: float = 0.5
    entropy_weight: float = 0.0
    hidden: tuple[int, ...] = (256, 256)
    initial_excitation: float = 0.12
    reflex: float = 1.5
    initial_std: float = 0.5
    final_std: float = 0.3
    learn_std: bool = False

    def __post_init__(self) -> None:
        def require(name: str, fine: bool, rule: str) -> None:
            if not fine:
                raise ConfigError(f"ppo.{name} is {getattr(self, name)}; it must {rule}")

        for name in _POSITIVE:
            require(name, getattr(self, name) > 0, "be positive")
        for name in ("critic_weight", "entropy_weight", "reflex"):
            require(name, getattr(self, name) >= 0, "not be negative")
        for name in ("gamma", "lam"):
            require(name, 0 <= getattr(self, name) <= 1, "lie in [0, 1]")
        require("initial_excitation", 0 < self.initial_excitation < 1, "lie in (0, 1)")
        require("hidden", all(width > 0 for width in self.hidden), "hold positive widths")
        low, high = self.learning_rate_bounds
        require("learning_rate_bounds", 0 < low <= high, "be two positive numbers, the lower first")
        require("learning_rate", low <= self.learning_rate <= high, f"lie in ppo.learning_rate_bounds, [{low}, {high}]")
        # what would have no effect is refused
        require("entropy_weight", self.learn_std or not self.entropy_weight, "be 0 unless ppo.learn_std is true")
        scheduled = not self.learn_std or self.final_std == PPOConfig.final_std
        require("final_std", scheduled, "be left out if ppo.learn_std is true")


# what the weights, and the units of the observations and the values, mean nothing without
_RESUMED = {
    "env": ("model", "fingers", "physics", "observations", "lookahead"),
    "ppo": ("hidden", "learn_std", "gamma", "initial_excitation"),
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

    def setup(self, stage: str) -> None:
        if self.rollouts is not None:
            return
        rank_seed = torch.initial_seed() + 1_000_003 * self.global_rank
        env = ImitationEnv(self.env_config, device=self.device, seed=rank_seed % 2**31)
        columns = {name: env.observation_columns(name) for name in PRIOR_TERMS}
        self.build(
            env.observation_spec["observation"].shape[-1],
            env.action_spec.shape[-1],
            {name: column.start for name, column in columns.items() if column.stop},
        )
        per_update = env.batch_size[0] * self.config.horizon * world_size()
        updates = math.ceil(self.config.total_frames / per_update)
        self.rollouts = Rollouts(env, self.actor, self.config.horizon, updates, self._exhausted)

    def build(self, observations: int, muscles: int, columns: Mapping[str, int]) -> None:
        """Make the networks for D observations and M muscles; `columns` as `ExcitationHead` takes them."""
        config = self.config
        self.sizes = {"observations": observations, "muscles": muscles, "columns": dict(columns)}
        self.normalizer = ObservationNormalizer(observations)
        self.head = ExcitationHead(
            self.normalizer,
            muscles,
            config.hidden,
            columns,
            rest=config.initial_excitation,
            reflex=config.reflex,
            std=config.initial_std,
        )
        self.actor = make_actor(self.head)
        self.critic = make_critic(self.normalizer, config.hidden, 1.0 / (1.0 - min(config.gamma, 0.999)))
        self.head.log_std.requires_grad_(config.learn_std)
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
    def env(self) -> ImitationEnv:
        """The environment, once `setup` has made it; not a submodule, so that it is no part of the weights."""
        if self.rollouts is None:
            raise ConfigError("the environment exists once the Trainer has called setup()")
        return self.rollouts.env

    def configure_optimizers(self) -> torch.optim.Optimizer:
        weights = [p for p in self.loss.parameters() if p.requires_grad]
        return torch.optim.Adam(weights, lr=self.config.learning_rate, eps=1e-5)

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
            self.normalizer.update(self.train_dataloader().collect(16)["observation"])

    def training_step(self, rollout: TensorDictBase, batch_idx: int) -> None:
        optimizer = self.optimizers()
        assert isinstance(optimizer, LightningOptimizer)
        self._estimate_advantages(rollout)
        samples = rollout.exclude("next").reshape(-1)
        losses = []
        for _ in range(self.config.epochs):
            for indices in torch.randperm(len(samples), device=self.device).split(self.config.minibatch):
                losses.append(self._optimise(optimizer, samples[indices]))
        kl = self._policy_change(samples)
        self._steer(optimizer, float(kl))
        self.normalizer.update(rollout["observation"])
        self.frames += len(samples) * world_size()
        self.updates += 1
        self._schedule_std()
        self._report(rollout, torch.stack(losses).mean(0), kl, optimizer.param_groups[0]["lr"])
        self.env.quarantine.check()

    def _optimise(self, optimizer: Any, minibatch: TensorDictBase) -> torch.Tensor:
        losses = self.loss(minibatch)
        total = losses["loss_objective"] + losses["loss_critic"]
        if self.config.entropy_weight > 0:
            total = total + losses["loss_entropy"]
        optimizer.zero_grad()
        self.manual_backward(total)
        self.clip_gradients(optimizer, gradient_clip_val=self.config.max_grad_norm, gradient_clip_algorithm="norm")
        optimizer.step()
        return torch.stack((losses["loss_objective"], losses["loss_critic"], losses["clip_fraction"])).detach()

    @torch.no_grad()
    def _estimate_advantages(self, rollout: TensorDictBase) -> None:
        """Write "advantage", normalised over the whole batch of all ranks, and "value_target"."""
        value, next_value = (self.critic.module(td["observation"]) for td in (rollout, rollout["next"]))
        following = rollout["next"]
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
        rollout["value_target"] = target

    @torch.no_grad()
    def _policy_change(self, samples: TensorDictBase) -> torch.Tensor:
        """KL divergence of the policy that collected `samples` from the current one, over all ranks (k3 estimator)."""
        log_ratio = self.actor.get_dist(samples).log_prob(samples["action"]) - samples["action_log_prob"]
        return all_reduce_mean((log_ratio.exp() - 1 - log_ratio).mean())

    def _steer(self, optimizer: Any, kl: float) -> None:
        target = self._interpolate(self.config.kl_target, self.config.kl_target_end)
        factor = 1 / 1.5 if kl > 2 * target else 1.5 if kl < target / 2 else 1.0
        low, high = self.config.learning_rate_bounds
        for group in optimizer.param_groups:
            group["lr"] = min(max(group["lr"] * factor, low), high)

    def _interpolate(self, start: float, end: float) -> float:
        """A schedule on environment frames."""
        return start + (end - start) * min(1.0, self.frames / self.config.total_frames)

    def _schedule_std(self) -> None:
        if not self.config.learn_std:
            std = self._interpolate(self.config.initial_std, self.config.final_std)
            self.head.log_std.data.fill_(torch.tensor(std).log())

    def _report(self, rollout: TensorDictBase, losses: torch.Tensor, kl: torch.Tensor, rate: float) -> None:
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
                "loss_policy": losses[0],
                "loss_value": losses[1],
                "clip_fraction": losses[2],
                "kl": kl,
                "learning_rate": rate,
                "exploration_std": self.head.log_std.detach().exp().mean(),
                "excitation": rollout["action"].mean(),
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
        if not same or saved["clips"] != list(self.env.library.names) or world_size() > 1:
            rank_zero_warn("new episodes begin: those of the checkpoint need its clips and its worlds, in one process")
            return False
        self.env.restore(saved["worlds"])
        self.train_dataloader().current = self.env.current()
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
