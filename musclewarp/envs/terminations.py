"""Termination terms: pure functions of `(state, target)` to a number `(N,)`; an episode fails where it passes a limit.

A config gives the limit of each term it names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from musclewarp.envs.state import State, Target
from musclewarp.models.rotation import angle_between

Termination = Callable[[State, Target], torch.Tensor]


def site_deviation(state: State, target: Target) -> torch.Tensor:
    """Mean over the sites of the distance to the reference, relative to the root, m (`relative_site_error_m`)."""
    error = state.site_pos - target.now.site_pos
    return (error - error[:, :1])[:, 1:].norm(dim=-1).mean(-1)


def root_deviation(state: State, target: Target) -> torch.Tensor:
    """Distance of the root from the reference's, m."""
    return (state.root_pos - target.now.root_pos).norm(dim=-1)


def root_turn(state: State, target: Target) -> torch.Tensor:
    """Angle between the root and the reference's, rad."""
    return angle_between(state.root_quat, target.now.root_quat)


def root_drop(state: State, target: Target) -> torch.Tensor:
    """How far the root is below the reference's, m."""
    return target.now.root_pos[:, 2] - state.root_pos[:, 2]


def body_on_floor(state: State, target: Target) -> torch.Tensor:
    """Contacts of anything but the feet with the floor, a count."""
    return state.floor_contacts - state.foot_contacts.sum(-1)


TERMINATIONS: Mapping[str, Termination] = {
    term.__name__: term for term in (site_deviation, root_deviation, root_turn, root_drop, body_on_floor)
}
