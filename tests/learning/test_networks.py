"""Networks as TorchRL sees them, the stretch reflex against anatomy, values that keep their scale."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
import scipy.stats
import torch
from tensordict import TensorDict
from torchrl.envs.utils import ExplorationType, set_exploration_type

from musclewarp.learning.config import PPOConfig
from musclewarp.learning.networks import ExcitationHead, TargetHead, ValueHead, make_actor, make_critic, mlp
from musclewarp.learning.normalization import ObservationNormalizer

CONFIG = PPOConfig(hidden=(8,), initial_std=0.6)


def head(columns, size=7, muscles=3):
    """A small head whose network says nothing yet."""
    torch.manual_seed(0)
    made = ExcitationHead(ObservationNormalizer(size), muscles, columns, CONFIG, dt=0.02)
    made.network[-1].weight.data.zero_()
    return made


@pytest.mark.parametrize("term", ["stretch", "stretch_velocity"])
def test_a_stretched_muscle_is_excited_and_no_other(term):
    calm = torch.full((1, 7), 0.3)
    stretched = calm.clone()
    stretched[0, 3] += 0.1  # the second muscle is longer, or lengthens faster, than the reference
    acting = head({term: 2})
    difference = acting(stretched)[0] - acting(calm)[0]
    assert difference[0, 1] > 0
    assert difference[0, [0, 2]].tolist() == [0.0, 0.0]


def test_before_learning_a_policy_excites_as_the_reference_suggests():
    observation = torch.rand(5, 7) * 0.8 + 0.1
    loc, _ = head({"reference_activation": 2})(observation)
    torch.testing.assert_close(torch.sigmoid(loc), observation[:, 2:5])


def test_without_a_reference_a_policy_excites_as_much_as_it_was_told():
    loc, scale = head({})(torch.randn(5, 7))
    torch.testing.assert_close(torch.sigmoid(loc), torch.full((5, 3), 0.12))
    torch.testing.assert_close(scale, torch.full((5, 3), 0.6))


@pytest.mark.parametrize("value", [-50.0, 0.0, 1.0, 50.0])
def test_no_observation_makes_an_excitation_that_is_not_finite(value):
    acting = head({"reference_activation": 0, "stretch": 2, "stretch_velocity": 4})
    assert acting(torch.full((1, 7), value))[0].isfinite().all()


def test_the_observation_tells_the_reflex_how_stretched_each_muscle_is(make_env):
    env = make_env()
    observation = env.reset()["observation"]
    model, columns = env.model.mj_model, env.observation_columns("stretch")
    data = mujoco.MjData(model)
    lengths = []
    for clip, frame in zip(env.clip, env.frame + env.config.lookahead[0], strict=True):
        data.qpos[:] = env.library.qpos[env.library.index(clip, frame)]
        mujoco.mj_forward(model, data)
        lengths.append(data.actuator_length.copy())
    longer = env.engine.derived["actuator_length"].numpy() - np.array(lengths)
    optimal = env.model.muscles["optimal_fibre_length"].to_numpy()
    np.testing.assert_allclose(observation[:, columns], longer / optimal, atol=1e-4)


def test_actor_and_critic_speak_tensordict():
    actor = make_actor(head({"stretch": 2}))
    critic = make_critic(ValueHead([ObservationNormalizer(7)], CONFIG), ["observation"])
    data = TensorDict({"observation": torch.randn(4, 7)}, batch_size=4)
    with set_exploration_type(ExplorationType.RANDOM):
        acted = critic(actor(data))
    assert acted["action"].shape == (4, 3)
    assert ((acted["action"] > 0) & (acted["action"] < 1)).all()
    assert acted["action_log_prob"].shape == (4,)
    assert acted["state_value"].shape == (4, 1)


def test_new_statistics_change_no_value():
    torch.manual_seed(0)
    values, seen = ValueHead([ObservationNormalizer(7)], CONFIG), torch.randn(50, 7)
    before = values.value(seen).detach()
    for returns in (torch.randn(400) * 3 + 40, torch.randn(400) * 0.1 - 2):
        values.update(returns)
        torch.testing.assert_close(values.value(seen), before, rtol=1e-4, atol=1e-3)


def test_values_are_learned_with_zero_mean_and_unit_variance_whatever_the_rewards_scale():
    values = ValueHead([ObservationNormalizer(7)], CONFIG)
    returns = torch.randn(5000) * 250 + 4000
    for _ in range(200):
        values.update(returns)
    normalised = values.normalize(returns)
    assert float(normalised.mean()) == pytest.approx(0.0, abs=1e-2)
    assert float(normalised.std()) == pytest.approx(1.0, rel=1e-2)
    torch.testing.assert_close(values.mean + values.std * normalised, returns)


def test_a_critic_may_see_more_than_the_actor():
    both = ValueHead([ObservationNormalizer(7), ObservationNormalizer(2)], CONFIG)
    seen = torch.randn(4, 7)
    assert both(seen, torch.zeros(4, 2)).shape == (4, 1)
    assert not torch.equal(both(seen, torch.zeros(4, 2)), both(seen, torch.ones(4, 2)))


def test_residual_layers_add_to_what_goes_in():
    torch.manual_seed(0)
    network = mlp(5, (8, 8, 6), 3, output_gain=0.0, residual=True)
    seen = torch.randn(4, 5)
    first = network[:3](seen)
    network[3][0].weight.data.zero_()  # a block that says nothing passes on what it got
    torch.testing.assert_close(network[3](first), first)
    assert [type(layer).__name__ for layer in network].count("Residual") == 1
    assert network(seen).abs().max() == 0.0


def test_a_head_of_joint_targets_is_an_unbounded_gaussian_about_no_offset():
    torch.manual_seed(0)
    actor = make_actor(TargetHead(ObservationNormalizer(7), 3, PPOConfig(hidden=(8,), initial_std=0.4), dt=0.02))
    seen = TensorDict({"observation": torch.randn(2000, 7)}, batch_size=[2000])
    with torch.no_grad(), set_exploration_type(ExplorationType.RANDOM):
        acted = actor(seen.clone())
    assert acted["loc"].abs().max() < 0.1
    assert acted["action"].std(0) == pytest.approx([0.4] * 3, abs=0.03)
    expected = scipy.stats.norm.logpdf(acted["action"], acted["loc"], 0.4).sum(-1)
    np.testing.assert_allclose(acted["action_log_prob"], expected, rtol=1e-4, atol=1e-4)
    with set_exploration_type(ExplorationType.DETERMINISTIC):
        assert torch.equal(actor(seen.clone())["action"], acted["loc"])
