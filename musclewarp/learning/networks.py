"""Policies on excitations or joint targets, and critics: TorchRL modules over plain torch networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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
        super().__init__(
            Independent(Normal(loc, scale, validate_args=False), 1), SigmoidTransform(), validate_args=False
        )

    @property
    def mode(self) -> torch.Tensor:
        """The median, which is the sigmoid of the mean logit (torch's and TorchRL's name for the deterministic one)."""
        return torch.sigmoid(self.loc)

    @property
    def deterministic_sample(self) -> torch.Tensor:
        """The same, under the name that TorchRL looks for first."""
        return self.mode

    def entropy(self) -> torch.Tensor:
        """Entropy `(...)` of the logits, which changes with `scale` as that of the excitations does."""
        return self.base_dist.entropy()


class Gaussian(Independent[Normal]):
    """Independent normal numbers, with the arguments of `LogitNormal`."""

    def __init__(self, loc: torch.Tensor, scale: torch.Tensor) -> None:
        super().__init__(Normal(loc, scale, validate_args=False), 1, validate_args=False)

    @property
    def deterministic_sample(self) -> torch.Tensor:
        """The mean."""
        return self.mean


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

    The network corrects what a body does before it has learned anything: excite each muscle as the reference
    suggests, and more if it is longer, or lengthens faster, than the reference says (a stretch reflex),

        loc = logit(clip(a_ref + k stretch + d stretch_velocity)) + network(observation)

    where k and d, one each per muscle, are learned like any weight. Without the terms in the observation, the first
    part is the constant `rest`.

    Args:
        normalizer: of the observation.
        muscles, hidden: M, and the widths of the layers.
        columns: first of the M columns of the observation that hold "reference_activation", "stretch" and
            "stretch_velocity"; any may be missing.
        rest: mean excitation before learning, where there is no reference activation.
        reflex: k in excitation per optimal fibre length before learning; d is a tenth of it, in s.
        std: standard deviation of the logits.
    """

    distribution = LogitNormal

    def __init__(
        self,
        normalizer: ObservationNormalizer,
        muscles: int,
        hidden: Sequence[int],
        columns: Mapping[str, int],
        rest: float,
        reflex: float,
        std: float,
    ) -> None:
        super().__init__()
        self.normalizer = normalizer
        self.network = mlp(len(normalizer.mean), hidden, muscles, output_gain=0.01)
        self.log_std = nn.Parameter(torch.full((muscles,), std).log())
        self.rest = rest
        self.columns = {name: slice(start, start + muscles) for name, start in columns.items()}
        gains = {"stretch": reflex, "stretch_velocity": 0.1 * reflex}
        self.gains = nn.ParameterDict(
            {name: nn.Parameter(torch.full((muscles,), gain)) for name, gain in gains.items() if name in columns}
        )

    def forward(self, observation: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """`loc` and `scale` of the logits."""
        columns = self.columns
        before = observation[..., columns["reference_activation"]] if "reference_activation" in columns else self.rest
        for name, gain in self.gains.items():
            before = before + gain * observation[..., columns[name]]
        if not isinstance(before, torch.Tensor):
            before = torch.tensor(before, device=observation.device)
        loc = torch.logit(before, eps=0.02) + self.network(self.normalizer(observation))
        return loc, self.log_std.exp().expand_as(loc)


class TargetHead(nn.Module):
    """Observation `(..., D)` to the distribution of joint offsets, `loc` and `scale (..., J)`; at first about none."""

    distribution = Gaussian

    def __init__(self, normalizer: ObservationNormalizer, joints: int, hidden: Sequence[int], std: float) -> None:
        super().__init__()
        self.normalizer = normalizer
        self.network = mlp(len(normalizer.mean), hidden, joints, output_gain=0.01)
        self.log_std = nn.Parameter(torch.full((joints,), std).log())

    def forward(self, observation: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """`loc` and `scale` of the offsets."""
        loc = self.network(self.normalizer(observation))
        return loc, self.log_std.exp().expand_as(loc)


class ValueHead(nn.Module):
    """Observation `(..., D)` to its value `(..., 1)`, in units of (1 - gamma): the mean reward to come."""

    def __init__(self, normalizer: ObservationNormalizer, hidden: Sequence[int], horizon: float) -> None:
        super().__init__()
        self.normalizer = normalizer
        self.network = mlp(len(normalizer.mean), hidden, 1, output_gain=0.1)
        self.horizon = horizon

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        """The value."""
        return self.network(self.normalizer(observation)) * self.horizon


def make_actor(head: ExcitationHead | TargetHead) -> ProbabilisticActor:
    """A TorchRL actor: "observation" in; "loc", "scale", "action" and its log-probability out."""
    return ProbabilisticActor(
        TensorDictModule(head, in_keys=["observation"], out_keys=["loc", "scale"]),
        in_keys=["loc", "scale"],
        distribution_class=head.distribution,
        return_log_prob=True,
    )


def make_critic(normalizer: ObservationNormalizer, hidden: Sequence[int], horizon: float) -> ValueOperator:
    """A TorchRL value operator: "observation" in, "state_value" out."""
    return ValueOperator(ValueHead(normalizer, hidden, horizon), in_keys=["observation"])
