"""Observation terms: pure functions of `(state, target)`, `(N, ...)` each, invariant to where a person is and heads.

A config names them in `observations`; the environment flattens and concatenates them in that order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from musclewarp.envs.state import State, Target
from musclewarp.models.rotation import inverse, rotate

Observation = Callable[[State, Target], torch.Tensor]


def _to_heading(state: State, vector: torch.Tensor) -> torch.Tensor:
    """World vectors `(N, ..., 3)` in the frame that turns with the root about z."""
    return (vector.flatten(1).unflatten(1, (-1, 3)) @ state.heading).view(vector.shape)


def joint_pos(state: State, target: Target) -> torch.Tensor:
    """Independent joint coordinates, rad (or m)."""
    return state.joint_pos


def joint_vel(state: State, target: Target) -> torch.Tensor:
    """Independent joint velocities, rad/s (or m/s)."""
    return state.joint_vel


def root_height(state: State, target: Target) -> torch.Tensor:
    """Height of the root site, m."""
    return state.root_pos[:, 2:]


def root_tilt(state: State, target: Target) -> torch.Tensor:
    """The world's vertical in the root's frame, unit vector."""
    up = torch.tensor([0.0, 0.0, 1.0], device=state.root_quat.device)
    return rotate(inverse(state.root_quat), up.expand_as(state.root_pos))


def root_velocity(state: State, target: Target) -> torch.Tensor:
    """Linear (m/s) and angular (rad/s) velocity of the root in the heading frame."""
    return torch.cat((_to_heading(state, state.root_linvel), _to_heading(state, state.root_angvel)), dim=-1)


def fibre_length(state: State, target: Target) -> torch.Tensor:
    """Muscle fibre lengths, in optimal fibre lengths."""
    return state.fibre_length


def fibre_velocity(state: State, target: Target) -> torch.Tensor:
    """Muscle fibre lengthening speeds, in optimal fibre lengths per second."""
    return state.fibre_velocity


def muscle_force(state: State, target: Target) -> torch.Tensor:
    """Muscle forces, N, negative when pulling."""
    return state.muscle_force


def activation(state: State, target: Target) -> torch.Tensor:
    """Muscle activations in [0, 1]."""
    return state.activation


def foot_force(state: State, target: Target) -> torch.Tensor:
    """Ground reaction force on each foot in the heading frame, N."""
    return _to_heading(state, state.foot_force)


def ahead_joint_pos(state: State, target: Target) -> torch.Tensor:
    """Reference minus own joint coordinates at the look-ahead instants, rad `(N, K, J)`."""
    return target.ahead.joint_pos - state.joint_pos[:, None]


def ahead_joint_vel(state: State, target: Target) -> torch.Tensor:
    """Reference joint velocities at the look-ahead instants, rad/s `(N, K, J)`."""
    return target.ahead.joint_vel


def ahead_site_pos(state: State, target: Target) -> torch.Tensor:
    """Reference minus own sites, each relative to its own root, at the look-ahead instants, m `(N, K, S-1, 3)`."""
    ahead = target.ahead.site_pos[:, :, 1:] - target.ahead.root_pos[:, :, None]
    own = state.site_pos[:, 1:] - state.root_pos[:, None]
    return _to_heading(state, ahead - own[:, None])


def stretch(state: State, target: Target) -> torch.Tensor:
    """Own minus reference fibre length at the first look-ahead instant, in optimal fibre lengths."""
    return state.fibre_length - target.ahead.fibre_length[:, 0]


def stretch_velocity(state: State, target: Target) -> torch.Tensor:
    """Own minus reference fibre velocity at the first look-ahead instant, in optimal fibre lengths per second."""
    return state.fibre_velocity - target.ahead.fibre_velocity[:, 0]


def reference_activation(state: State, target: Target) -> torch.Tensor:
    """The reference's activations at the first look-ahead instant, in [0, 1]; `initial_activation` if it has none."""
    return target.ahead.activation[:, 0]


def ahead_root(state: State, target: Target) -> torch.Tensor:
    """Reference root as seen from the own root: offset m, forward and up axes, velocity m/s `(N, K, 12)`."""
    ahead = target.ahead
    forward, up = (
        rotate(ahead.root_quat, torch.tensor(axis, device=ahead.root_quat.device).expand_as(ahead.root_pos))
        for axis in ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
    )
    vectors = torch.stack((ahead.root_pos - state.root_pos[:, None], forward, up, ahead.root_linvel), dim=2)
    return _to_heading(state, vectors)


OBSERVATIONS: Mapping[str, Observation] = {
    term.__name__: term
    for term in (
        joint_pos,
        joint_vel,
        root_height,
        root_tilt,
        root_velocity,
        fibre_length,
        fibre_velocity,
        muscle_force,
        activation,
        foot_force,
        ahead_joint_pos,
        ahead_joint_vel,
        ahead_site_pos,
        stretch,
        stretch_velocity,
        reference_activation,
        ahead_root,
    )
}
