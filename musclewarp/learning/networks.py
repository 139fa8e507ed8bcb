"""Policies on excitations or joint targets, and critics: TorchRL modules over plain torch networks."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import torch
from tensordict.nn import TensorDictModule, TensorDictModuleBase, TensorDictSequential
from torch import nn
from torch.distributions import Distribution
from torchrl.modules import ProbabilisticActor, ValueOperator

from musclewarp.errors import ConfigError
from musclewarp.learning.config import PPOConfig
from musclewarp.learning.distributed import all_reduce_mean
from musclewarp.learning.distributions import BetaExcitation, LogitNormal, gaussian
from musclewarp.learning.normalization import ObservationNormalizer


class Residual(nn.Sequential):
    """Layers that add to what goes in (He et al. 2016, arXiv 1512.03385)."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Output of the same shape."""
        return input + super().forward(input)


def mlp(inputs: int, hidden: Sequence[int], outputs: int, output_gain: float, residual: bool = False) -> nn.Sequential:
    """Linear, LayerNorm, SiLU for each hidden width, then a linear layer; orthogonal weights, zero biases.

    With `residual`, hidden layers as wide as the one before add to it.
    """
    layers: list[nn.Module] = []
    for width in hidden:
        block = (nn.Linear(inputs, width), nn.LayerNorm(width), nn.SiLU())
        layers += [Residual(*block)] if residual and layers and width == inputs else block
        inputs = width
    layers.append(nn.Linear(inputs, outputs))
    network = nn.Sequential(*layers)
    for layer in network.modules():
        if isinstance(layer, nn.Linear):
            nn.init.orthogonal_(layer.weight, output_gain if layer is layers[-1] else 2**0.5)
            nn.init.zeros_(layer.bias)
    return network


class PolicyHead(nn.Module, ABC):
    """Observation `(..., D)` to the distribution of an action, of which `loc` and `scale (..., A)` are the numbers.

    Before what the network says comes what a body does that has learned nothing, `before`.

    Args:
        normalizer: of the observation.
        actions: A.
        config: layers and exploration.
        dt: s from one action to the next.
    """

    def __init__(self, normalizer: ObservationNormalizer, actions: int, config: PPOConfig, dt: float) -> None:
        super().__init__()
        self.normalizer, self.config = normalizer, config
        self.kept = math.exp(-dt / config.noise_memory) if config.noise_memory else 0.0
        self.network = mlp(len(normalizer.mean), config.hidden, actions, output_gain=0.01, residual=config.residual)
        self.log_std = nn.Parameter(torch.full((actions,), config.initial_std).log(), requires_grad=config.learn_std)

    @abstractmethod
    def before(self, observation: torch.Tensor) -> torch.Tensor:
        """`loc` before learning, `(..., A)` or what broadcasts to it."""

    @abstractmethod
    def density(self, loc: torch.Tensor, scale: torch.Tensor) -> Distribution:
        """The distribution of actions."""

    @abstractmethod
    def deterministic(self, loc: torch.Tensor) -> torch.Tensor:
        """The action `(..., A)` without exploration."""

    @abstractmethod
    def unsquashed(self, action: torch.Tensor) -> torch.Tensor:
        """`action (..., A)` in the space of `loc`."""

    def forward(
        self, observation: torch.Tensor, noise: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """`loc` and `scale`; `noise (..., A)`, left from the step before, displaces `loc` if given."""
        loc = self.before(observation) + self.network(self.normalizer(observation))
        scale = self.log_std.exp().expand_as(loc)
        if noise is None:
            return loc, scale
        return loc + self.kept * noise, scale * (1 - self.kept**2) ** 0.5

    def remember(self, action: torch.Tensor, loc: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """The `noise (..., A)` of the next step: what was added in this one to `loc`, which is `forward`'s.

        An autoregressive process, x' = k x + sqrt(1 - k^2) s n: of standard deviation s at every instant, and given x
        again a Gaussian, so that densities stay exact.
        """
        return self.unsquashed(action) - loc + self.kept * noise

    def first_noise(self, shape: Sequence[int]) -> torch.Tensor:
        """Noise `(*shape, A)` to begin an episode with, as if it had gone on for ever."""
        noise, mixing = torch.randn(*shape, len(self.log_std), device=self.log_std.device), self.mixing()
        return self.log_std.exp() * (noise if mixing is None else noise @ mixing.T)

    def mixing(self) -> torch.Tensor | None:
        """Cholesky factor `(A, A)` of the noise's correlations, (1 - c) 1 + c W W^T; None if c, its share, is 0.

        W is the last layer with rows of length one: what the network moves together explores together, as if the noise
        came before that layer (after Lattice, Chiappa et al. 2023, arXiv 2305.20065).
        """
        share, last = self.config.noise_correlation, self.network[-1]
        if not share:
            return None
        assert isinstance(last, nn.Linear)
        rows = nn.functional.normalize(last.weight, dim=1)
        alone = torch.eye(len(rows), dtype=rows.dtype, device=rows.device)
        # unlike `cholesky`, this does not wait for a GPU to say that it went well
        return torch.linalg.cholesky_ex((1 - share) * alone + share * rows @ rows.T).L


class ExcitationHead(PolicyHead):
    """Excitations of M muscles in (0, 1); `loc` and `scale` are those of their logits.

    Before learning each muscle is excited as the reference suggests, and more if it is longer, or lengthens faster,
    than the reference says (a stretch reflex),

        loc = logit(clip(a_ref + k stretch + d stretch_velocity)) + network(observation)

    where k and d, one each per muscle, are learned like any weight. Without the terms in the observation, the first
    part is the constant `initial_excitation`.

    Args:
        normalizer, config, dt: as `PolicyHead`'s; k in excitation per optimal fibre length before learning is
            `config.reflex`, d a tenth of it, in s.
        muscles: M.
        columns: first of the M columns of the observation that hold "reference_activation", "stretch" and
            "stretch_velocity"; any may be missing.
    """

    def __init__(
        self,
        normalizer: ObservationNormalizer,
        muscles: int,
        columns: Mapping[str, int],
        config: PPOConfig,
        dt: float,
    ) -> None:
        super().__init__(normalizer, muscles, config, dt)
        self.columns = {name: slice(start, start + muscles) for name, start in columns.items()}
        gains = {"stretch": config.reflex, "stretch_velocity": 0.1 * config.reflex}
        self.gains = nn.ParameterDict(
            {name: nn.Parameter(torch.full((muscles,), gain)) for name, gain in gains.items() if name in columns}
        )

    def before(self, observation: torch.Tensor) -> torch.Tensor:
        """Logits `(..., M)` of the reference's activation and the stretch reflex."""
        columns = self.columns
        if "reference_activation" in columns:
            excitation = observation[..., columns["reference_activation"]]
        else:
            excitation = observation.new_full((), self.config.initial_excitation)
        for name, gain in self.gains.items():
            excitation = excitation + gain * observation[..., columns[name]]
        return torch.logit(excitation, eps=0.02)

    def density(self, loc: torch.Tensor, scale: torch.Tensor) -> Distribution:
        """Logit-normal or Beta."""
        if self.config.distribution == "beta":
            return BetaExcitation(loc, scale)
        return LogitNormal(loc, scale, self.mixing())

    def deterministic(self, loc: torch.Tensor) -> torch.Tensor:
        """Their sigmoid: the median of logit-normals, the mean of Betas."""
        return torch.sigmoid(loc)

    def unsquashed(self, action: torch.Tensor) -> torch.Tensor:
        """Logits of excitations."""
        return torch.logit(action, eps=1e-6)


class TargetHead(PolicyHead):
    """Offsets of J joint targets, unbounded; at first about none.

    Raises:
        ConfigError: the config asks for Beta distributions.
    """

    def __init__(self, normalizer: ObservationNormalizer, joints: int, config: PPOConfig, dt: float) -> None:
        if config.distribution == "beta":
            raise ConfigError("ppo.distribution is beta: that is for excitations; joint targets have no bounds")
        super().__init__(normalizer, joints, config, dt)

    def before(self, observation: torch.Tensor) -> torch.Tensor:
        """None."""
        return torch.zeros((), device=observation.device)

    def density(self, loc: torch.Tensor, scale: torch.Tensor) -> Distribution:
        """Gaussian."""
        return gaussian(loc, scale, self.mixing())

    def deterministic(self, loc: torch.Tensor) -> torch.Tensor:
        """Themselves."""
        return loc

    def unsquashed(self, action: torch.Tensor) -> torch.Tensor:
        """Themselves."""
        return action


class ValueHead(nn.Module):
    """Observations to how far their value `(..., 1)` is from the mean of all values, in standard deviations.

    `value` is in units of the reward. The mean and the standard deviation are buffers, which change between updates
    only; `update` changes the last layer with them, so that no value changes (PopArt, van Hasselt et al. 2016, arXiv
    1602.07714).

    Args:
        normalizers: of each observation, which are seen side by side.
        config: layers, and gamma, from which the scale before the first update follows: of rewards about one.
    """

    mean: torch.Tensor
    square: torch.Tensor

    def __init__(self, normalizers: Sequence[ObservationNormalizer], config: PPOConfig) -> None:
        super().__init__()
        self.normalizers = nn.ModuleList(normalizers)
        inputs = sum(len(normalizer.mean) for normalizer in normalizers)
        self.network = mlp(inputs, config.hidden, 1, output_gain=0.1, residual=config.residual)
        horizon = 1.0 / (1.0 - min(config.gamma, 0.999))
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("square", torch.tensor(horizon**2))

    def forward(self, *observations: torch.Tensor) -> torch.Tensor:
        """The normalised value."""
        seen = [normalizer(x) for normalizer, x in zip(self.normalizers, observations, strict=True)]
        return self.network(torch.cat(seen, dim=-1))

    @property
    def std(self) -> torch.Tensor:
        """Standard deviation of values."""
        return (self.square - self.mean.square()).clamp(min=1e-6).sqrt()

    def value(self, *observations: torch.Tensor) -> torch.Tensor:
        """The value, in units of the reward."""
        return self.mean + self.std * self(*observations)

    def normalize(self, value: torch.Tensor) -> torch.Tensor:
        """What the network should say of `value`."""
        return (value - self.mean) / self.std

    @torch.no_grad()
    def update(self, values: torch.Tensor, rate: float = 0.1) -> None:
        """Move the mean and the square of all values by `rate` towards those of `values`, of all ranks."""
        before = self.mean.clone(), self.std
        self.mean.lerp_(all_reduce_mean(values.mean()), rate)
        self.square.lerp_(all_reduce_mean(values.square().mean()), rate)
        last = self.network[-1]
        assert isinstance(last, nn.Linear)
        last.weight.mul_(before[1] / self.std)
        last.bias.mul_(before[1]).add_(before[0] - self.mean).div_(self.std)


def make_actor(head: PolicyHead) -> ProbabilisticActor:
    """A TorchRL actor: "observation", and "noise" if it is there, in; "loc", "scale", "action", its log-density out."""
    return ProbabilisticActor(
        TensorDictModule(head, in_keys=["observation", "noise"], out_keys=["loc", "scale"]),
        in_keys=["loc", "scale"],
        distribution_class=head.density,  # pyright: ignore[reportArgumentType] (it takes whatever makes a distribution)
        return_log_prob=True,
    )


def make_explorer(actor: ProbabilisticActor, head: PolicyHead) -> TensorDictModuleBase:
    """`actor`, which leaves its noise in ("next", "noise"), as recurrent modules do, where exploration has a memory."""
    if not head.kept:
        return actor
    memory = TensorDictModule(head.remember, in_keys=["action", "loc", "noise"], out_keys=[("next", "noise")])
    return TensorDictSequential(actor, memory)


def make_critic(head: ValueHead, in_keys: Sequence[str]) -> ValueOperator:
    """A TorchRL value operator: observations in, "state_value" out, normalised as `ValueHead` has it."""
    return ValueOperator(head, in_keys=list(in_keys))
