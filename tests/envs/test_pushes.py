"""Pushes: as strong, as long and as often as was asked for, the same again from the same seed."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
import torch
from tensordict import TensorDict

from musclewarp.engines import make_engine
from musclewarp.engines.health import load_dump, replay
from musclewarp.envs import PushConfig
from musclewarp.envs.pushes import Pushes
from musclewarp.errors import ConfigError

CONFIG = PushConfig(force=(50.0, 100.0), seconds=0.1, interval=0.5)
N, STEPS, DURATION, INTERVAL = 64, 100, 5, 25


@pytest.fixture(scope="module")
def engine(body):
    return make_engine("native", body, N)


def forces(engine, config: PushConfig = CONFIG, seed: int = 0, draws: int = 1) -> torch.Tensor:
    """Horizontal forces `(STEPS, N, 2)` on the pelvis over an episode; nothing else is pushed."""
    pushes, reset = Pushes(config, engine), torch.full((N,), draws)
    pelvis, rows = engine.model.mj_model.body("pelvis").id, []
    engine.xfrc_applied.zero_()
    for step in range(STEPS):
        pushes.apply(seed, reset, torch.full((N,), step))
        rows.append(engine.xfrc_applied[:, pelvis, :2].clone())
        assert engine.xfrc_applied.count_nonzero() == rows[-1].count_nonzero()
    return torch.stack(rows)


def test_every_interval_has_one_push_of_the_time_and_strength_asked_for(engine):
    newtons = forces(engine).norm(dim=-1).view(-1, INTERVAL, N)
    assert ((newtons > 0).sum(dim=1) == DURATION).all()
    strongest = newtons.amax(dim=1)
    np.testing.assert_allclose(newtons.sum(dim=1), DURATION * strongest, rtol=1e-9)
    assert 50 <= strongest.min() < 55
    assert 95 < strongest.max() < 100
    begins = (newtons > 0).int().argmax(dim=1)
    assert begins.unique().tolist() == list(range(INTERVAL - DURATION + 1))


def test_directions_are_spread_over_the_circle(engine):
    pushed = forces(engine).view(-1, 2)
    angle = torch.atan2(*pushed[pushed.norm(dim=-1) > 0].unbind(-1))
    counts = torch.histc(angle, 4, -torch.pi, torch.pi) / len(angle)
    np.testing.assert_allclose(counts, 0.25, atol=0.12)


def test_pushes_are_keyed_by_seed_world_and_reset(engine):
    once = forces(engine)
    assert torch.equal(once, forces(engine))
    assert not torch.equal(once, forces(engine, seed=1))
    assert not torch.equal(once, forces(engine, draws=2))
    assert len(once.transpose(0, 1).flatten(1).unique(dim=0)) == N


def test_a_body_in_the_air_gains_the_momentum_of_the_push(make_env):
    """Force times time, against the same episode without pushes; momentum is MuJoCo's."""
    config = PushConfig(force=(100.0, 100.0), seconds=0.1, interval=0.1)  # all of the time
    momenta = []
    for pushes in (PushConfig(), config):
        env = make_env("myofullbody", worlds=1, pushes=pushes)
        model, start = env.model.mj_model, torch.zeros(1, dtype=torch.int64)
        env.reset_to(start, start)
        env.engine.qpos[:, 2] += 1.0
        for _ in range(5):
            env.step(TensorDict({"action": torch.zeros(1, model.nu)}, batch_size=[1]))
        data = mujoco.MjData(model)
        data.qpos[:], data.qvel[:] = env.engine.qpos[0], env.engine.qvel[0]
        mujoco.mj_forward(model, data)
        mujoco.mj_subtreeVel(model, data)
        momenta.append(model.body_subtreemass[0] * data.subtree_linvel[0])
    force = env.engine.xfrc_applied[0, model.body("pelvis").id, :3]
    np.testing.assert_allclose(force.norm(), 100.0, rtol=1e-6)
    np.testing.assert_allclose(momenta[1] - momenta[0], 0.1 * force, atol=0.02 * 10)


def test_a_body_that_cannot_move_or_is_unknown_is_refused_with_those_that_can(make_env):
    with pytest.raises(ConfigError, match=r"env\.pushes\.body: 'thorax' is no body of 'bimanual' that moves.*humerus"):
        make_env(pushes=CONFIG)
    with pytest.raises(ConfigError, match=r"'pelvi'.*pelvis"):
        make_env("myofullbody", pushes=PushConfig(force=(1.0, 1.0), body="pelvi"))
    with pytest.raises(ConfigError, match=r"env\.pushes\.seconds is 0\.03 s.*control steps of 0\.02 s"):
        make_env("myofullbody", pushes=PushConfig(force=(1.0, 1.0), seconds=0.03))


def test_an_environment_goes_on_with_its_pushes_where_it_was_left(make_env, act):
    pushes = PushConfig(force=(20.0, 40.0), seconds=0.06, interval=0.1, body="humerus_r")
    env, other = (make_env(pushes=pushes) for _ in range(2))
    env.reset()
    for step in range(4):
        env.step(act(env, step))
    other.restore(env.snapshot())
    for step in range(5):
        once, again = (each.step(act(each, step))["next", "observation"] for each in (env, other))
        assert torch.equal(once, again)
    assert torch.equal(env.engine.qpos, other.engine.qpos)


def test_a_world_that_breaks_under_a_push_is_replayed_with_it(make_env, act, tmp_path):
    pushes = PushConfig(force=(1e9, 1e9), seconds=0.1, interval=0.1, body="lunate_r")
    env = make_env(pushes=pushes, dump_folder=str(tmp_path), max_quarantined_fraction=1.0)
    env.reset()
    for step in range(3):
        env.step(act(env, step))
    arrays, _ = load_dump(tmp_path / "world_0.safetensors")
    assert np.linalg.norm(arrays["xfrc_applied"]) == pytest.approx(1e9)
    fresh = make_engine("native", env.model, 1)
    assert replay(fresh, arrays)
    assert not replay(fresh, {name: value for name, value in arrays.items() if name != "xfrc_applied"})
