"""`PPOConfig`: the learner's numbers; frozen dataclasses are the only schema."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from musclewarp.envs import EnvConfig
from musclewarp.errors import require

_POSITIVE = ("total_frames", "horizon", "epochs", "minibatch", "clip", "learning_rate", "kl_target", "kl_target_end")
_POSITIVE += ("max_grad_norm", "initial_std", "final_std")
_NOT_NEGATIVE = (
    "critic_weight",
    "entropy_weight",
    "reflex",
    "weight_decay",
    "kl_stop",
    "noise_memory",
    "symmetry_weight",
)


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
        optimizer: "adamw", or "muon" for the matrices of the hidden layers and AdamW for the rest.
        learning_rate: where the optimiser starts; then held by the policy's change per update.
        weight_decay: decoupled, of matrices only.
        kl_target: change per update (KL, nats) that the step size is steered to: divided by 1.5 above twice of it,
            multiplied by 1.5 below half of it.
        kl_target_end: `kl_target` at `total_frames`; it moves linearly with the frames.
        kl_stop: an update ends after the epoch that took the policy's change past so many `kl_target`; never if 0.
        learning_rate_bounds: the step size stays within.
        max_grad_norm: gradients are scaled down to this norm.
        critic_weight, entropy_weight: of the value loss, and of the entropy bonus, which needs `learn_std`.
        normalize_values: the critic learns values of zero mean and unit variance, whatever the rewards' scale.
        symmetry: learn left for right: "augment" learns from every sample's mirror image, too; "loss" asks the mean
            action to be the image of itself in the mirror, with `symmetry_weight`; see `envs.symmetry`.
        hidden: widths of the actor's and of the critic's layers.
        residual: hidden layers of equal width add to what goes in.
        compile: compile the networks (`torch.compile`): pays on a GPU, not on a CPU.
        initial_excitation: mean excitation before learning, without "reference_activation" in the observation.
        reflex: gain of the stretch reflex before learning, see `networks.ExcitationHead`.
        distribution: of excitations, "logit_normal" or "beta".
        initial_std, final_std: exploration in logits, or in joint offsets, at the start and at `total_frames`, if
            `learn_std` is off.
        learn_std: let PPO change the exploration instead.
        noise_correlation: share of the exploration's variance, in [0, 1), that muscles have in common as far as the
            network's last layer moves them together, see `PolicyHead.mixing`.
        noise_memory: s in which exploration forgets its past (a first-order autoregressive process); 0 is white noise.
    """

    total_frames: int = 600_000
    horizon: int = 48
    epochs: int = 3
    minibatch: int = 512
    gamma: float = 0.9
    lam: float = 0.95
    clip: float = 0.2
    optimizer: Literal["adamw", "muon"] = "adamw"
    learning_rate: float = 3e-4
    weight_decay: float = 0.0
    kl_target: float = 0.12
    kl_target_end: float = 0.06
    kl_stop: float = 0.0
    learning_rate_bounds: tuple[float, float] = (5e-5, 1e-3)
    max_grad_norm: float = 1.0
    critic_weight: float = 0.5
    entropy_weight: float = 0.0
    normalize_values: bool = False
    symmetry: Literal["none", "augment", "loss"] = "none"
    symmetry_weight: float = 1.0
    hidden: tuple[int, ...] = (256, 256)
    residual: bool = False
    compile: bool = False
    initial_excitation: float = 0.12
    reflex: float = 1.5
    distribution: Literal["logit_normal", "beta"] = "logit_normal"
    initial_std: float = 0.5
    final_std: float = 0.3
    learn_std: bool = False
    noise_correlation: float = 0.0
    noise_memory: float = 0.0

    def __post_init__(self) -> None:
        def must(name: str, fine: bool, rule: str) -> None:
            require(self, f"ppo.{name}", fine, f"it must {rule}")

        for name in _POSITIVE:
            must(name, getattr(self, name) > 0, "be positive")
        for name in _NOT_NEGATIVE:
            must(name, getattr(self, name) >= 0, "not be negative")
        for name in ("gamma", "lam"):
            must(name, 0 <= getattr(self, name) <= 1, "lie in [0, 1]")
        must("initial_excitation", 0 < self.initial_excitation < 1, "lie in (0, 1)")
        must("noise_correlation", 0 <= self.noise_correlation < 1, "lie in [0, 1)")
        must("hidden", all(width > 0 for width in self.hidden), "hold positive widths")
        low, high = self.learning_rate_bounds
        must("learning_rate_bounds", 0 < low <= high, "be two positive numbers, the lower first")
        must("learning_rate", low <= self.learning_rate <= high, f"lie in ppo.learning_rate_bounds, [{low}, {high}]")
        # what would have no effect is refused
        must("entropy_weight", self.learn_std or not self.entropy_weight, "be 0 unless ppo.learn_std is true")
        scheduled = not self.learn_std or self.final_std == PPOConfig.final_std
        must("final_std", scheduled, "be left out if ppo.learn_std is true")
        weighted = self.symmetry == "loss" or self.symmetry_weight == PPOConfig.symmetry_weight
        must("symmetry_weight", weighted, "be left out unless ppo.symmetry is loss")
        equal = any(one == other for one, other in pairwise(self.hidden))
        must("residual", equal or not self.residual, "be false: no two neighbours of ppo.hidden are as wide")
        if self.distribution == "beta":
            for name in ("noise_correlation", "noise_memory"):
                must(name, getattr(self, name) == 0, "be 0 with ppo.distribution beta, whose excitations have none")
            for name in ("initial_std", "final_std"):
                must(name, getattr(self, name) < 1, "be below 1 with ppo.distribution beta, for one peak")
            must("learn_std", not self.learn_std, "be false with ppo.distribution beta, for one peak")
        must("optimizer", self.optimizer != "muon" or len(self.hidden) > 1, "be adamw: one layer has no inner one")


def refuse_unused(env: EnvConfig, ppo: PPOConfig) -> None:
    """Refuse numbers of `ppo` that have no effect on a policy of the task `env`.

    Only before training: a trained policy that carries such a number is as good as without.

    Raises:
        ConfigError: there is one.
    """
    reasons = {}
    if "reference_activation" in env.observations:
        reasons["initial_excitation"] = "with 'reference_activation' in env.observations"
    if not {"stretch", "stretch_velocity"} & set(env.observations):
        reasons["reflex"] = "without 'stretch' or 'stretch_velocity' in env.observations"
    if env.control.mode == "joint_targets":
        reasons = dict.fromkeys(("initial_excitation", "reflex"), "with env.control.mode 'joint_targets'")
    for name, why in reasons.items():
        usual = getattr(ppo, name) == getattr(PPOConfig, name)
        require(ppo, f"ppo.{name}", usual, f"leave it out {why}")
