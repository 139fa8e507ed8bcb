"""An environment on a loop: it goes on for ever, and on where it was left."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchrl.envs.utils import check_env_specs

from musclewarp.references import make_reference
from musclewarp.references.library import ReferenceLibrary
from musclewarp.references.loop import cut_loop


@pytest.fixture(scope="module")
def arms_loops(arms, arms_references) -> ReferenceLibrary:
    """A clip of 20 frames, and a loop of 1 s."""
    time = 0.02 * np.arange(80)
    qpos = np.tile(arms.mj_model.qpos0, (80, 1))
    qpos[:, arms.joint_qpos] += 0.1 * np.sin(2 * np.pi * time)[:, None]
    recording = make_reference(arms, qpos, 0.02, "swing")
    return ReferenceLibrary([arms_references[0], cut_loop(arms, recording, (0.2, 1.2))], arms)


@pytest.fixture(scope="module")
def body_loop(body, body_references) -> ReferenceLibrary:
    """A loop of 0.4 s that moves on and turns."""
    qpos = body_references[1].qpos.copy()
    qpos[:, 0] += 0.02 * np.arange(len(qpos))
    half = 0.01 * np.arange(len(qpos))
    w, x, y, z = qpos[:, 3:7].T
    c, s = np.cos(half), np.sin(half)
    qpos[:, 3:7] = np.stack([c * w - s * z, c * x - s * y, c * y + s * x, c * z + s * w], 1)
    return ReferenceLibrary([cut_loop(body, make_reference(body, qpos, 0.02, "on"), (0.2, 0.6))], body)


def test_an_episode_on_a_loop_of_a_second_lasts_ten(make_env, act, arms_loops):
    env = make_env(worlds=2, library=arms_loops, episode_seconds=10.0)
    env.reset_to(torch.tensor([1, 0]), torch.tensor([0, 0]))
    ended = []
    for step in range(500):
        done = env.step(act(env, step))["next"]
        ended.append(done["truncated"].flatten().clone())
        assert not done["terminated"].any()
        assert torch.isfinite(done["observation"]).all()
    ended = torch.stack(ended)
    assert ended[:, 0].nonzero().flatten().tolist() == [499]
    assert ended[:, 1].nonzero()[0] == 18  # the clip has 20 frames
    assert env.frame[0] == 500
    expected = arms_loops.goal(torch.tensor([1]), torch.tensor([0]))
    np.testing.assert_allclose(env.target.now.joint_pos[0], expected.joint_pos[0], atol=1e-6)


def test_starts_on_a_loop_are_spread_over_its_cycle(make_env, arms_loops):
    env = make_env(worlds=64, library=arms_loops)
    env.reset()
    frames = env.frame[env.clip == 1]
    assert len(frames) > 32
    assert frames.max() < 50


def test_a_world_starts_where_the_loop_has_got_to(make_env, body_loop):
    env = make_env("myofullbody", worlds=3, library=body_loop)
    frame = torch.tensor([3, 23, 203])
    started = env.reset_to(torch.zeros(3, dtype=torch.int64), frame)
    np.testing.assert_allclose(started["site_error"], 0, atol=1e-5)
    np.testing.assert_allclose(env.state.site_pos, env.target.now.site_pos, atol=2e-5)
    assert (env.state.root_pos[2] - env.state.root_pos[0])[:2].norm() > 1.0
    # what a policy sees does not depend on how often it has been round
    np.testing.assert_allclose(
        started["observation"][1:], started["observation"][:1].expand(2, -1), rtol=1e-3, atol=1e-3
    )


def test_a_run_on_a_loop_goes_on_bit_for_bit_where_it_was_left(make_env, act, body_loop):
    env, other = (make_env("myofullbody", worlds=2, library=body_loop) for _ in range(2))
    env.reset_to(torch.tensor([0, 0]), torch.tensor([57, 19]))
    env.step(act(env))
    saved = env.snapshot()
    other.restore(saved)
    for seed in range(3):
        one, two = (each.step(act(each, seed))["next"] for each in (env, other))
        for key in ("observation", "reward", "site_error", "done"):
            assert torch.equal(one[key], two[key]), key


def test_specs_hold_on_loops(make_env, body_loop):
    check_env_specs(make_env("myofullbody", worlds=2, library=body_loop), seed=0)
