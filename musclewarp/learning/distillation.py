"""Lessons before PPO: a policy on excitations learns, in its own states, from a policy that acts in another way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_only
from tensordict import TensorDictBase
from tensordict.nn import TensorDictModuleBase
from torch.nn.functional import binary_cross_entropy_with_logits

from musclewarp.envs import EnvConfig, ImitationEnv
from musclewarp.envs.control import make_control
from musclewarp.errors import ConfigError, require
from musclewarp.learning.checkpoints import own_part
from musclewarp.learning.config import PPOConfig
from musclewarp.learning.policy import Policy, load_policy
from musclewarp.learning.ppo import PPO
from musclewarp.learning.warm_start import take_over


@dataclass(frozen=True)
class DistillConfig:
    """Lessons from a teacher (DAgger, Ross et al. 2011, arXiv 1011.0686).

    Attributes:
        teacher: file of the policy to learn from, usually one on joint targets; no lessons if empty.
        frames: environment frames of lessons, over all ranks: the first ones of `ppo.total_frames`.
        handover: share of them over which the teacher acts ever more rarely: at first always, then never.
        epochs: passes over a rollout.
        learning_rate: of lessons.
    """

    teacher: str = ""
    frames: int = 60_000
    handover: float = 0.5
    epochs: int = 10
    learning_rate: float = 1e-3

    def __post_init__(self) -> None:
        for name in ("frames", "epochs", "learning_rate"):
            require(self, f"distill.{name}", 0 < getattr(self, name) < float("inf"), "it must be positive and finite")
        require(self, "distill.handover", 0 <= self.handover <= 1, "shares lie in [0, 1]")
        for key in fields(self)[1:]:  # what would have no effect is refused
            if not self.teacher and (value := getattr(self, key.name)) != key.default:
                raise ConfigError(
                    f"distill.{key.name} is {value}, but nobody teaches; name a policy in distill.teacher"
                )


class Teacher:
    """The excitations by which a policy would act where another one does, its noise off.

    It sees its own observations of the environment's states, and divides its joint moments among the muscles there,
    without stepping anything.

    Args:
        policy: of the same model, physics and look-ahead as the environment.
        env: where the other one acts.

    Raises:
        ConfigError: the policy knows another world.
    """

    def __init__(self, policy: Policy, env: ImitationEnv) -> None:
        if policy.model_hash != env.model.hash:
            raise ConfigError(
                f"distill.teacher moves another model ('{policy.env.model}', {policy.model_hash[:8]}) than env.model, "
                f"'{env.model.name}' ({env.model.hash[:8]}); give a policy that was trained on this one"
            )
        for name in ("physics", "lookahead"):
            its, ours = getattr(policy.env, name), getattr(env.config, name)
            if its != ours:
                raise ConfigError(f"env.{name} is {ours}, but distill.teacher has learned with {its}; set that")
        self._policy, self._env = policy, env
        policy.actor.to(env.device)
        self.control = make_control(policy.env.control, env.engine, env.library)

    def __call__(self) -> torch.Tensor:
        """Excitations `(N, M)` in [0, 1], now."""
        env = self._env
        self.control.reset(env.steps == 0)
        return self.control(self._policy.act(env.see(self._policy.env.observations)), env.clip, env.frame)


class Lessons(TensorDictModuleBase):
    """The pupil, or with probability `share` in each world and step its teacher, acts; both are asked.

    What the teacher would do is "teacher_action".
    """

    def __init__(self, pupil: TensorDictModuleBase, teacher: Teacher, share: float) -> None:
        super().__init__()
        self.pupil, self.teacher, self.share = pupil, teacher, share
        self.in_keys, self.out_keys = pupil.in_keys, [*pupil.out_keys, "teacher_action"]

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Writes "action" and "teacher_action"."""
        tensordict = self.pupil(tensordict)
        shown = self.teacher()
        led = torch.rand(len(shown), 1, device=shown.device) < self.share
        tensordict["action"] = torch.where(led, shown, tensordict["action"])
        tensordict["teacher_action"] = shown
        return tensordict


class Pupil(PPO):
    """PPO after lessons, if the config names a teacher, and from where another policy has got to, if asked.

    The first `distill.frames` are lessons: who acts is drawn anew in each step (`Lessons`), and the actor's excitations
    e are drawn to the teacher's u in all states that were visited, by the cross-entropy -u log e - (1 - u) log(1 - e),
    whose slope along a logit is e - u, also at the bounds of u. The critic learns as in PPO, so that it knows the
    actor's values when PPO takes over. Rollouts are forgotten once they were learned from, as in online gradient
    descent, which has no regret either (Ross et al. 2011, section 4): only the networks need be kept to go on. On
    several ranks each asks its own teacher, and gradients are means over ranks, as PPO's.

    Args:
        env, ppo: as `PPO`'s, on excitations if there is a teacher.
        distill: the lessons.
        init_from: file of a policy whose weights it begins with, see `warm_start.take_over`; none if empty.
    """

    def __init__(
        self,
        env: EnvConfig | None = None,
        ppo: PPOConfig | None = None,
        distill: DistillConfig | None = None,
        init_from: str = "",
    ) -> None:
        super().__init__(env, ppo)
        self.distill, self._alone, self.init_from = distill or DistillConfig(), True, init_from
        if self.distill.teacher and self.env_config.control.mode != "excitations":
            raise ConfigError(
                f"env.control.mode is '{self.env_config.control.mode}', but who learns from distill.teacher learns "
                "excitations; leave it out"
            )

    @property
    def lessons(self) -> Lessons | None:
        """Who acts as long as there are lessons; no part of the weights."""
        policy = self.rollouts.policy if self.rollouts else None
        return policy if isinstance(policy, Lessons) else None

    @property
    def acts_alone(self) -> bool:
        """Whether no teacher helped in the last rollout."""
        return self._alone

    def on_fit_start(self) -> None:
        if self.init_from and self.updates == 0:
            told, self._unknown = take_over(self, self.init_from)
            rank_zero_only(print)(told, flush=True)
        if self.distill.teacher and self.frames < self.distill.frames:
            teacher = Teacher(load_policy(self.distill.teacher), self.env)
            self.train_dataloader().follow(Lessons(self.explorer, teacher, self._share))
        super().on_fit_start()

    def training_step(self, rollout: TensorDictBase, batch_idx: int) -> None:
        lessons = self.lessons
        self._alone = lessons is None or lessons.share == 0
        if lessons is not None:
            self._learn_from(lessons, rollout)
            return
        told = self.trainer._results  # pyright: ignore[reportPrivateUsage]
        if told is not None and "training_step.teacher_share" in told:
            told.clear()  # else Lightning repeats the numbers of the last lesson in every row
        super().training_step(rollout, batch_idx)

    def _learn_from(self, lessons: Lessons, rollout: TensorDictBase) -> None:
        optimizers = self._optimizers()
        self._set_rate(self.distill.learning_rate)
        self._estimate_advantages(rollout)
        samples = rollout.select(*self.normalizers, "teacher_action", "value_target").reshape(-1)
        losses = []
        for _ in range(self.distill.epochs):
            for minibatch in self._minibatches(samples):
                shown, (loc, scale) = minibatch["teacher_action"], self.head(minibatch["observation"])
                imitation = binary_cross_entropy_with_logits(loc, shown, reduction="none").sum(-1).mean()
                guess = self.value_head(*(minibatch[name] for name in self.normalizers))
                value = self.config.critic_weight * (guess - minibatch["value_target"]).square().mean()
                # ranks wait for the gradients of all weights, also of an exploration that is learned later
                self._descend(optimizers, imitation + value + 0.0 * scale.sum())
                missed = (loc.sigmoid() - shown).abs().mean()
                losses.append(torch.stack((imitation, missed, value)).detach())
        told = dict(zip(("loss_teacher", "teacher_error", "loss_value"), torch.stack(losses).mean(0), strict=True))
        asked = {f"teacher_{name}": number for name, number in lessons.teacher.control.take_metrics().items()}
        self._conclude(rollout, told | asked | {"teacher_share": lessons.share})
        lessons.share = self._share
        if self.frames >= self.distill.frames:
            self.train_dataloader().follow(self.explorer)
            for optimizer in optimizers:
                optimizer.state.clear()  # what they remember belongs to other gradients
            self._set_rate(self.config.learning_rate)

    @property
    def _share(self) -> float:
        """How often the teacher acts from here on."""
        span = self.distill.handover * self.distill.frames
        return max(0.0, 1.0 - self.frames / span) if span else 0.0

    def _set_rate(self, rate: float) -> None:
        for group in (group for optimizer in self._optimizers() for group in optimizer.param_groups):
            group["lr"] = rate

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["musclewarp"]["distill"] = asdict(self.distill)
        if self.lessons is not None:
            checkpoint["musclewarp"]["teacher"] = self.lessons.teacher.control.state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        before = DistillConfig(**own_part(checkpoint).get("distill", {}))
        over = own_part(checkpoint)["frames"] >= before.frames
        if bool(before.teacher) != bool(self.distill.teacher) and (self.distill.teacher or not over):
            raise ConfigError(
                f"distill.teacher is '{self.distill.teacher}', but the checkpoint has learned with '{before.teacher}'; "
                "resume with that, or start anew in another --out"
            )
        super().on_load_checkpoint(checkpoint)

    def _restore(self, saved: Mapping[str, Any]) -> bool:
        restored = super()._restore(saved)
        if restored and self.lessons is not None and "teacher" in saved:
            self.lessons.teacher.control.load(saved["teacher"])
        return restored
