"""Rollouts: what followed each action, the noise that explored, and which policy acted."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from torchrl.envs.utils import ExplorationType, set_exploration_type

from musclewarp.learning.rollouts import Rollouts


@pytest.fixture
def short_rollout(make_env, ready):
    """Eleven steps of episodes that time out after three, and the environment's twin from before."""
    env, twin = (make_env(episode_seconds=0.06, terminations={}) for _ in range(2))
    return Rollouts(env, ready().actor, 11, 1, lambda: False).collect(11), twin


def test_next_observation_is_the_one_before_the_reset(short_rollout):
    rollout, twin = short_rollout
    assert rollout["next", "truncated"].any()
    current = twin.reset()
    for t in range(11):
        assert torch.equal(rollout["observation"][:, t], current["observation"])
        current["action"] = rollout["action"][:, t]
        following = twin.step(current)["next"]  # no reset
        for key in ("observation", "reward", "terminated", "truncated", "done"):
            assert torch.equal(rollout["next", key][:, t], following[key]), key
        done = following["done"]
        current = following
        if done.any():
            current = twin.reset(following.select("done", "terminated", "truncated").set("_reset", done))
        moved = (current["observation"] != rollout["next", "observation"][:, t]).any(-1)
        assert torch.equal(moved, done[:, 0])


def test_a_rollout_goes_on_where_the_last_one_stopped(make_env, ready):
    rollouts = Rollouts(make_env(), ready().actor, 4, 2, lambda: False)
    first, second = rollouts.collect(4), rollouts.collect(4)
    ended = first["next", "done"][:, -1, 0]
    assert not ended.all()
    assert torch.equal(first["next", "observation"][~ended, -1], second["observation"][~ended, 0])


@pytest.mark.parametrize("outside", [ExplorationType.RANDOM, ExplorationType.DETERMINISTIC])
def test_rollouts_explore_with_the_policys_own_density(outside, ready):
    module = ready()
    with set_exploration_type(outside):
        rollout = module.rollouts.collect(8)
    with torch.no_grad():
        loc, scale = (x.double().numpy() for x in module.head(rollout["observation"]))
    action = rollout["action"].double().numpy()
    noise = (scipy.special.logit(action) - loc) / scale
    assert abs(noise.mean()) < 0.1
    assert noise.std() == pytest.approx(1.0, abs=0.1)
    density = scipy.stats.norm.logpdf(noise) - np.log(scale) - np.log(action * (1 - action))
    np.testing.assert_allclose(rollout["action_log_prob"], density.sum(-1), rtol=1e-4)


def test_each_rollout_is_collected_by_the_policy_that_the_last_update_made(make_ppo, make_trainer, monkeypatch):
    module = make_ppo()
    plain = Rollouts.collect
    collected = []

    def spy(self, steps):
        collected.append((module.updates, module.head.network[0].weight.detach().clone()))
        return plain(self, steps)

    monkeypatch.setattr(Rollouts, "collect", spy)
    torch.manual_seed(0)
    make_trainer().fit(module)
    warm_up, *rollouts = collected
    assert warm_up[0] == 0
    assert [updates for updates, _ in rollouts] == [0, 1, 2, 3, 4]
    assert all(not torch.equal(a, b) for (_, a), (_, b) in pairwise(rollouts))
