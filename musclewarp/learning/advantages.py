"""Generalised advantage estimation."""

from __future__ import annotations

import torch


def gae(
    reward: torch.Tensor,
    value: torch.Tensor,
    next_value: torch.Tensor,
    terminated: torch.Tensor,
    done: torch.Tensor,
    gamma: float,
    lam: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Advantages and value targets of a rollout, each `(N, T, 1)` like the inputs (time is dimension 1).

    `next_value` is the value of the observation that followed the action, before any reset: a time-out bootstraps
    from where it was cut, a fall from nothing.

        delta_t = r_t + gamma (1 - terminated_t) V(s'_t) - V(s_t)
        A_t     = delta_t + gamma lambda (1 - done_t) A_{t+1}

    Source: Schulman et al. 2016 (arXiv 1506.02438), eq. 16; time limits after Pardo et al. 2018 (arXiv 1712.00378).
    """
    delta = reward + gamma * next_value * ~terminated - value
    carry = gamma * lam * ~done
    advantage = torch.empty_like(delta)
    running = torch.zeros_like(delta[:, 0])
    for t in reversed(range(delta.shape[1])):
        running = delta[:, t] + carry[:, t] * running
        advantage[:, t] = running
    return advantage, advantage + value
