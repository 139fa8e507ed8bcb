"""Reward terms: pure functions of `(state, target)` to a penalty `(N,)` in the unit of their docstring.

A config gives each a weight w and a scale c, in that unit. Tracking terms earn `w exp(-error / c)`, between 0 and w,
which has a slope both far from the reference and at it (the usual squared exponential has neither); effort terms
cost `w error / c`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from musclewarp.envs.state import State, Target
from musclewarp.models.rotation import angle_between

Error = Callable[[State, Target], torch.Tensor]
_RETURN_TIME = 0.1  # s in which the approach terms want an error to fall to 37 %


def _rms(error: torch.Tensor) -> torch.Tensor:
    """Root mean square `(N,)` over the last dimension."""
    return torch.linalg.vector_norm(error, dim=-1) / error.shape[-1] ** 0.5


def _relative_rms(error: torch.Tensor) -> torch.Tensor:
    """Root mean square `(N,)` over the sites of the length of `error (N, S, 3)` relative to the root's, the first."""
    relative = (error - error[:, :1])[:, 1:]
    return torch.linalg.vector_norm(relative, dim=(1, 2)) / relative.shape[1] ** 0.5


def site_position(state: State, target: Target) -> torch.Tensor:
    """Root mean square over the sites of the distance to the reference, relative to the root, m."""
    return _relative_rms(state.site_pos - target.now.site_pos)


def site_velocity(state: State, target: Target) -> torch.Tensor:
    """Root mean square over the sites of the velocity difference, relative to the root, m/s."""
    return _relative_rms(state.site_vel - target.now.site_vel)


def joint_position(state: State, target: Target) -> torch.Tensor:
    """Root mean square difference of the independent joints, rad."""
    return _rms(state.joint_pos - target.now.joint_pos)


def joint_velocity(state: State, target: Target) -> torch.Tensor:
    """Root mean square difference of the independent joint velocities, rad/s."""
    return _rms(state.joint_vel - target.now.joint_vel)


def site_approach(state: State, target: Target) -> torch.Tensor:
    """Root mean square over the sites of position error plus 0.1 s of velocity error, relative to the root, m.

    It is zero for a site that returns to its reference with a time constant of 0.1 s. Forces change it at once,
    positions only after a while: it tells a good excitation from a bad one within one control step.
    """
    position, velocity = state.site_pos - target.now.site_pos, state.site_vel - target.now.site_vel
    return _relative_rms(position.add(velocity, alpha=_RETURN_TIME))


def joint_approach(state: State, target: Target) -> torch.Tensor:
    """Root mean square over the independent joints of position error plus 0.1 s of velocity error, rad."""
    position, velocity = state.joint_pos - target.now.joint_pos, state.joint_vel - target.now.joint_vel
    return _rms(position.add(velocity, alpha=_RETURN_TIME))


def root_position(state: State, target: Target) -> torch.Tensor:
    """Distance of the root from the reference's, m."""
    return (state.root_pos - target.now.root_pos).norm(dim=-1)


def root_rotation(state: State, target: Target) -> torch.Tensor:
    """Angle between the root and the reference's, rad."""
    return angle_between(state.root_quat, target.now.root_quat)


def root_velocity(state: State, target: Target) -> torch.Tensor:
    """Difference of the root's linear velocity from the reference's, m/s."""
    return (state.root_linvel - target.now.root_linvel).norm(dim=-1)


def activation_energy(state: State, target: Target) -> torch.Tensor:
    """Mean squared activation, without unit."""
    return state.activation.square().mean(-1)


TRACKING: Mapping[str, Error] = {
    term.__name__: term
    for term in (
        site_position,
        site_velocity,
        joint_position,
        joint_velocity,
        site_approach,
        joint_approach,
        root_position,
        root_rotation,
        root_velocity,
    )
}
EFFORT: Mapping[str, Error] = {activation_energy.__name__: activation_energy}
