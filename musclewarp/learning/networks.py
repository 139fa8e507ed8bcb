"""Policies on excitations, and critics: TorchRL modules over plain torch networks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from tensordict.nn import TensorDictModule
from torch import nn
from torch.distributions import Independent, Normal, SigmoidTransform, TransformedDistribution
from torchrl.modules import ProbabilisticActor, ValueOperator

from musclewarp.learning.normalization import ObservationNormalizer


class LogitNormal(TransformedDistribution):
    """A Gaussian squashed by a sigmoid: excitations in (0, 1), with their exact density.

    Args:
        loc, scale: `(..., M)`, mean and standard deviation of the excitations' logits.
    """

    arg_constraints = {}  # noqa: RUF012 (torch's own declaration; validation is the base's)

    def __init__(self, loc: torch.Tensor, scale: torch.Tensor) -> None:
        self.loc, self.scale = loc, scale
        super().__init__(Independent(Normal(loc, scale, validate_args=False), 1), SigmoidTransform(), validate_args=False)

    @property
    def deterministic_sample(self) -> torch.Tensor:
        """The median, which is the sigmoid of the mean logit."""
        return torch.sigmoid(self.loc)

    mode = deterministic_sample

    def entropy(self) -> torch.Tensor:
        """Entropy `(...)` of the logits, which changes with `scale` as that of the excitations does."""
        return self.base_dist.entropy()


def mlp(inputs: int, hidden: Sequence[int], outputs: int, output_gain: float) -> nn.Sequential:
    """Linear, LayerNorm, SiLU for each hidden width, then a linear layer; orthogonal weights, zero biases."""
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(inputs, width), nn.LayerNorm(width), nn.SiLU()]
        inputs = width
    layers.append(nn.Linear(inputs, outputs))
    for layer in layers:
        if isinstance(layer, nn.Linear):
            gain = output_gain if layer is layers[-1] else 2**0.5
            nn.init.orthogonal_(layer.weight, gain)
            nn.init.zeros_(layer.bias)
    return nn.Sequential(*layers)


class ExcitationHead(nn.Module):
    """Observation `(..., D)` to the distribution of the excitations' logits, `loc` and `scale (..., M)`.

    Beside the network there is a stretch reflex: each muscle is excited in proportion to how much longer it is than the
    reference says it should soon be, with a gain of its own that learns like any weight. It is where a policy starts
    from: a person's muscles resist stretch before anything is learned.

    Args:
        normalizer: of the observation.
        size, muscles, hidden: D, M and the widths of the layers.
        rest: mean logit of the excitations before learning; -2 is an excitation of 0.12, which does not lock the joints.
        std: standard deviation of the logits.
        reflex: first of the M columns of the observation that hold the reference's muscle lengths minus the own;
            None without reflex.
        reflex_gain: logits per standard deviation of that difference, before learning.
    """

    def __init__(
        self,
        normalizer: ObservationNormalizer,
        size: int,
        muscles: int,
        hidden: Sequence[int],
        rest: float,
        std: float,
        reflex: int | None,
        reflex_gain: float,
    ) -> None:
        super().__init__()
        self.normalizer = normalizer
        self.network = mlp(size, hidden, muscles, output_gain=0.01)
        self.rest = rest
        self.log_std = nn.Parameter(torch.full((muscles,), std).log())
        self.reflex = None if reflex is None else slice(reflex, reflex + muscles)
        self.gain = nn.Parameter(torch.full((muscles,), reflex_gain)) if reflex is not None else None

    def forward(self, observation: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        normalized = self.normalizer(observation)
        loc = self.network(normalized) + self.rest
        if self.gain is not None:
            loc = loc - self.gain * normalized[..., self.reflex]
        return loc, self.log_std.exp().expand_as(loc)


class ValueHead(nn.Module):
    """Observation `(..., D)` to its value `(..., 1)`, in units of (1 - gamma): the mean reward to come."""

    def __init__(self, normalizer: ObservationNormalizer, size: int, hidden: Sequence[int], horizon: float) -> None:
        super().__init__()
        self.normalizer = normalizer
        self.network = mlp(size, hidden, 1, output_gain=0.1)
        self.horizon = horizon

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        return self.network(self.normalizer(observation)) * self.horizon


def make_actor(head: ExcitationHead) -> ProbabilisticActor:
    """A TorchRL actor: "observation" in; "loc", "scale", "action" and its log-probability out."""
    return ProbabilisticActor(
        TensorDictModule(head, in_keys=["observation"], out_keys=["loc", "scale"]),
        in_keys=["loc", "scale"],
        distribution_class=LogitNormal,
        return_log_prob=True,
    )


def make_critic(
    normalizer: ObservationNormalizer, size: int, hidden: Sequence[int], horizon: float
) -> ValueOperator:
    """A TorchRL value operator: "observation" in, "state_value" out."""
    return ValueOperator(ValueHead(normalizer, size, hidden, horizon), in_keys=["observation"])
