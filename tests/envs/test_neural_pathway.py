"""Delay, noise and fatigue between commands and excitations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tensordict import TensorDict

from musclewarp.envs import NeuralConfig
from musclewarp.envs.neural import NeuralPathway
from musclewarp.errors import ConfigError

N = 3


def step(env, value: float) -> torch.Tensor:
    """The excitations `(N, M)` that come of the same command everywhere."""
    env.step(TensorDict({"action": torch.full((N, env.model.mj_model.nu), value)}, batch_size=[N]))
    return env.state.excitation


def test_everything_is_off_by_default(make_env):
    env = make_env(worlds=N)
    env.reset()
    assert (step(env, 0.3) == 0.3).all()
    assert set(env.neural.state()) == {"neural.steps"}
    assert env.neural.fatigued is None


def test_excitations_are_the_commands_of_some_steps_ago_and_before_those_the_activations(make_env):
    env = make_env(worlds=N, neural=NeuralConfig(delay=0.04), initial_activation=0.25)
    env.reset()
    seen = [step(env, value)[0, 0].item() for value in (0.1, 0.2, 0.3, 0.4)]
    np.testing.assert_allclose(seen, [0.25, 0.25, 0.1, 0.2], rtol=1e-6)
    mask = torch.tensor([[False], [True], [False]])
    env.reset(TensorDict({"_reset": mask}, batch_size=[N]))
    np.testing.assert_allclose(step(env, 0.5)[:, 0], [0.3, 0.25, 0.3], rtol=1e-6)


def test_noise_grows_with_the_excitation_and_is_each_worlds_and_steps_own(make_env):
    env = make_env(worlds=N, neural=NeuralConfig(noise=0.2))
    env.reset()
    first, second = step(env, 0.4), step(env, 0.1)
    for seen, mean in ((first, 0.4), (second, 0.1)):
        assert abs(float(seen.mean()) - mean) < 0.05 * mean
        assert 0.15 * mean < float(seen.std()) < 0.25 * mean
    assert not torch.equal(first[0], first[1])
    assert not torch.allclose(first / 0.4, second / 0.1)
    other = make_env(worlds=N, neural=NeuralConfig(noise=0.2))
    other.reset()
    assert torch.equal(step(other, 0.4), first)


def test_tired_muscles_cannot_be_excited_fully_and_a_reset_rests_them(make_env):
    env = make_env(worlds=N, neural=NeuralConfig(fatigue=200.0))
    env.reset()
    excitations = torch.stack([step(env, 1.0) for _ in range(15)])
    assert (excitations[0] > 0.9).all()
    assert (excitations.diff(dim=0) <= 0).all()
    assert (excitations[-1] < 0.8).all()
    assert (step(env, 0.05) == 0.05).all(), "little can still be asked for"
    tired = env.neural.fatigued.clone()
    env.reset(TensorDict({"_reset": torch.tensor([[True], [False], [False]])}, batch_size=[N]))
    assert (env.neural.fatigued[0] == 0).all()
    assert torch.equal(env.neural.fatigued[1:], tired[1:])


def test_a_restored_snapshot_goes_on_bit_for_bit(make_env):
    config = NeuralConfig(delay=0.04, noise=0.1, fatigue=50.0)
    env, other = make_env(worlds=N, neural=config), make_env(worlds=N, neural=config, seed=5)
    for this in (env, other):
        this.reset()
    for value in (0.2, 0.9, 0.4):
        step(env, value)
    other.restore(env.snapshot())
    for value in (0.6, 0.1, 0.8):
        assert torch.equal(step(env, value), step(other, value))


@pytest.mark.parametrize(
    ("values", "message"),
    [({"noise": -0.1}, r"env\.neural\.noise is -0\.1"), ({"fatigue": float("nan")}, r"env\.neural\.fatigue is nan")],
)
def test_numbers_that_mean_nothing_are_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        NeuralConfig(**values)


def test_a_delay_between_control_steps_is_refused(arms):
    with pytest.raises(ConfigError, match=r"env\.neural\.delay is 0\.03 s; .*control steps of 0\.02 s"):
        NeuralPathway(NeuralConfig(delay=0.03), arms, N, torch.device("cpu"))
