"""The distribution of excitations against its definition, and the stretch reflex against anatomy."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from tensordict import TensorDict
from torchrl.envs.utils import ExplorationType, set_exploration_type

from musclewarp.learning.networks import ExcitationHead, LogitNormal, TargetHead, make_actor, make_critic
from musclewarp.learning.normalization import ObservationNormalizer

CASES = [(-2.0, 0.6), (0.0, 0.4), (1.5, 1.2)]


def head(columns, size=7, muscles=3):
    """A small head whose network says nothing yet."""
    torch.manual_seed(0)
    made = ExcitationHead(ObservationNormalizer(size), muscles, (8,), columns, rest=0.12, reflex=1.5, std=0.6)
    made.network[-1].weight.data.zero_()
    return made


@pytest.mark.parametrize(("loc", "scale"), CASES)
def test_density_is_the_logit_normals(loc, scale):
    excitation = np.linspace(0.01, 0.99, 99)
    found = LogitNormal(torch.tensor([loc]), torch.tensor([scale])).log_prob(torch.tensor(excitation)[:, None])
    normal = scipy.stats.norm.logpdf(scipy.special.logit(excitation), loc, scale)
    np.testing.assert_allclose(found, normal - np.log(excitation * (1 - excitation)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("loc", "scale"), CASES)
def test_density_integrates_to_one(loc, scale):
    excitation = torch.linspace(1e-6, 1 - 1e-6, 200_001, dtype=torch.float64)
    density = LogitNormal(torch.tensor([loc]), torch.tensor([scale])).log_prob(excitation[:, None]).exp()
    assert float(torch.trapezoid(density, excitation)) == pytest.approx(1.0, abs=1e-4)


def test_muscles_are_independent():
    loc, scale = torch.tensor([-2.0, 1.0]), torch.tensor([0.6, 0.4])
    excitation = torch.tensor([0.1, 0.7])
    each = [LogitNormal(loc[i : i + 1], scale[i : i + 1]).log_prob(excitation[i : i + 1]) for i in range(2)]
    torch.testing.assert_close(LogitNormal(loc, scale).log_prob(excitation), sum(each))


def test_the_deterministic_excitation_is_the_median():
    torch.manual_seed(0)
    distribution = LogitNormal(torch.tensor([-1.0, 0.5]), torch.tensor([0.8, 0.3]))
    below = (distribution.sample((20_000,)) < distribution.deterministic_sample).float().mean(0)
    torch.testing.assert_close(below, torch.tensor([0.5, 0.5]), atol=0.02, rtol=0)


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
    actor, critic = make_actor(head({"stretch": 2})), make_critic(ObservationNormalizer(7), (8,), 10.0)
    data = TensorDict({"observation": torch.randn(4, 7)}, batch_size=4)
    with set_exploration_type(ExplorationType.RANDOM):
        acted = critic(actor(data))
    assert acted["action"].shape == (4, 3)
    assert ((acted["action"] > 0) & (acted["action"] < 1)).all()
    assert acted["action_log_prob"].shape == (4,)
    assert acted["state_value"].shape == (4, 1)


def test_a_head_of_joint_targets_is_an_unbounded_gaussian_about_no_offset():
    torch.manual_seed(0)
    actor = make_actor(TargetHead(ObservationNormalizer(7), 3, (8,), std=0.4))
    seen = TensorDict({"observation": torch.randn(2000, 7)}, batch_size=[2000])
    with torch.no_grad(), set_exploration_type(ExplorationType.RANDOM):
        acted = actor(seen.clone())
    assert acted["loc"].abs().max() < 0.1
    assert acted["action"].std(0) == pytest.approx([0.4] * 3, abs=0.03)
    expected = scipy.stats.norm.logpdf(acted["action"], acted["loc"], 0.4).sum(-1)
    np.testing.assert_allclose(acted["action_log_prob"], expected, rtol=1e-4, atol=1e-4)
    with set_exploration_type(ExplorationType.DETERMINISTIC):
        assert torch.equal(actor(seen.clone())["action"], acted["loc"])
