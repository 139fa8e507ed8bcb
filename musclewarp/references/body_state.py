"""`BodyState`: what a simulated body and a reference have in common, tensors of many worlds at one instant."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import torch


@dataclass(slots=True, eq=False)
class BodyState:
    """Motion of N worlds (leading dimensions `...`) at one instant; float32, world frame, SI units.

    J independent joints, S tracking sites (the root first), M muscles. A plain dataclass, because terms read its
    fields a hundred times per control step, and a tensorclass takes 5 microseconds to answer each.

    Attributes:
        joint_pos, joint_vel: `(..., J)` of the independent hinge and slide joints.
        root_pos, root_quat, root_linvel, root_angvel: of the root site, `(..., 3)`, the quaternion `(..., 4)` wxyz.
        site_pos, site_vel: `(..., S, 3)`.
        fibre_length: `(..., M)` in optimal fibre lengths.
        fibre_velocity: `(..., M)` in optimal fibre lengths per second.
        activation: `(..., M)` in [0, 1]; of a reference without, the config's `initial_activation`.
    """

    joint_pos: torch.Tensor
    joint_vel: torch.Tensor
    root_pos: torch.Tensor
    root_quat: torch.Tensor
    root_linvel: torch.Tensor
    root_angvel: torch.Tensor
    site_pos: torch.Tensor
    site_vel: torch.Tensor
    fibre_length: torch.Tensor
    fibre_velocity: torch.Tensor
    activation: torch.Tensor

    def items(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Names and tensors of all fields."""
        return ((field.name, getattr(self, field.name)) for field in dataclasses.fields(self))

    def __getitem__(self, index: Any) -> Self:
        """The same of some worlds: `index` applies to the leading dimensions of every field."""
        return type(self)(**{name: value[index] for name, value in self.items()})

    def clone(self) -> Self:
        """A copy that shares no memory."""
        return type(self)(**{name: value.clone() for name, value in self.items()})
