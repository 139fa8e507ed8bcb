"""Generalised advantage estimation, against TorchRL's and against the definition."""

from __future__ import annotations

import pytest
import torch
from torchrl.objectives.value.functional import generalized_advantage_estimate

from musclewarp.learning.advantages import gae


def random_rollout(worlds, steps, seed=0):
    """Rewards, values, and episodes that end by falls and by time-outs."""
    generator = torch.Generator().manual_seed(seed)
    shape = (worlds, steps, 1)
    reward, value, following = (torch.randn(shape, generator=generator) for _ in range(3))
    terminated, truncated = (torch.rand(shape, generator=generator) < 0.15 for _ in range(2))
    truncated &= ~terminated
    return reward, value, following, terminated, terminated | truncated


@pytest.mark.parametrize(("gamma", "lam"), [(0.9, 0.95), (0.99, 0.0), (0.0, 0.5), (1.0, 1.0)])
def test_gae_equals_torchrl_with_falls_and_timeouts(gamma, lam):
    reward, value, following, terminated, done = random_rollout(5, 40)
    assert terminated.any()
    assert (done & ~terminated).any()
    advantage, target = gae(reward, value, following, terminated, done, gamma, lam)
    expected = generalized_advantage_estimate(gamma, lam, value, following, reward, done, terminated)
    torch.testing.assert_close((advantage, target), expected)


def test_timeout_bootstraps_from_last_observation():
    reward, value, following, _, _ = random_rollout(1, 3)
    none, ends = torch.zeros(1, 3, 1, dtype=torch.bool), torch.tensor([False, True, False]).view(1, 3, 1)
    _, timed_out = gae(reward, value, following, none, ends, 0.9, 0.95)
    _, fallen = gae(reward, value, following, ends, ends, 0.9, 0.95)
    torch.testing.assert_close(timed_out[0, 1], reward[0, 1] + 0.9 * following[0, 1])
    torch.testing.assert_close(fallen[0, 1], reward[0, 1])


def test_nothing_after_an_episodes_end_changes_what_came_before():
    reward, value, following, _, _ = random_rollout(2, 6)
    none, ends = torch.zeros(2, 6, 1, dtype=torch.bool), torch.zeros(2, 6, 1, dtype=torch.bool)
    ends[:, 2] = True
    before, _ = gae(reward, value, following, none, ends, 0.9, 0.95)
    for tensor in (reward, value, following):
        tensor[:, 3:] += 100.0
    after, _ = gae(reward, value, following, none, ends, 0.9, 0.95)
    assert torch.equal(before[:, :3], after[:, :3])
    assert not torch.equal(before[:, 3:], after[:, 3:])
