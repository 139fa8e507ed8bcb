"""The inverse of the activation dynamics: which excitation brings a muscle to an activation in a given time?"""

from __future__ import annotations

import torch

_REFINEMENTS = 2


def excitation_for(
    activation: torch.Tensor,
    goal: torch.Tensor,
    tau_act: torch.Tensor,
    tau_deact: torch.Tensor,
    timestep: float,
    substeps: int,
    exact: bool = False,
) -> torch.Tensor:
    """The constant excitation `(N, M)` in [0, 1] after which `activation` comes closest to `goal`.

    `kernels.activation.activation_step`, without smoothing, multiplies the gap e - a in each substep by 1 - h / tau
    (Euler) or exp(-h / tau) (exact), where tau depends on a. With P the product of these along the way,
    a' = e + (a - e) P, hence e = (a' - a P) / (1 - P): P is taken along the straight way first, and then, twice,
    along the way under the excitation found, which leaves an error of about 1e-3 in activation
    at most, where a substep is not longer than half of `tau_act`.

    Args:
        activation: `(N, M)` in [0, 1], now.
        goal: `(N, M)` in [0, 1], after `substeps` steps.
        tau_act: s, broadcast to `(N, M)`.
        tau_deact: s, broadcast to `(N, M)`.
        timestep: s.
        substeps: physics steps per control step.
        exact: how the activation is advanced; the engines take Euler's step.
    """
    rising = goal > activation

    def decay(value: torch.Tensor) -> torch.Tensor:
        """What a substep leaves of the gap at the activation `value`."""
        scale = 0.5 + 1.5 * value
        rate = timestep * torch.where(rising, 1.0 / (tau_act * scale), scale / tau_deact)
        return torch.exp(-rate) if exact else 1.0 - rate

    left = torch.ones_like(activation)
    for k in range(substeps):
        left = left * decay(activation + (goal - activation) * (k / substeps))
    for _ in range(_REFINEMENTS):
        excitation = ((goal - activation * left) / (1.0 - left)).clamp(0.0, 1.0)
        left, value = torch.ones_like(activation), activation
        for _ in range(substeps):
            kept = decay(value)
            left = left * kept
            value = excitation + (value - excitation) * kept
    return ((goal - activation * left) / (1.0 - left)).clamp(0.0, 1.0)
