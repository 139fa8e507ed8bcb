"""Configurations that cannot work are refused, with a hint."""

from __future__ import annotations

import pytest

from musclewarp.envs import EnvConfig, PushConfig, RewardConfig, SamplingConfig, TighteningConfig
from musclewarp.envs.observations import OBSERVATIONS
from musclewarp.envs.rewards import EFFORT, TRACKING
from musclewarp.envs.terminations import TERMINATIONS
from musclewarp.errors import ConfigError
from musclewarp.models import PhysicsConfig

NAN = float("nan")


def test_every_known_term_can_be_named():
    config = EnvConfig(
        observations=tuple(OBSERVATIONS),
        rewards={name: RewardConfig(1.0, 1.0) for name in {**TRACKING, **EFFORT}},
        terminations=dict.fromkeys(TERMINATIONS, 1.0),
    )
    assert config.observations == tuple(OBSERVATIONS)


@pytest.mark.parametrize(
    ("key", "value", "hint"),
    [
        ("observations", ("joint_pos", "jont_vel"), "joint_vel"),
        ("rewards", {"site_positon": RewardConfig(1.0, 1.0)}, "site_position"),
        ("terminations", {"root_dropp": 0.3}, "root_drop"),
    ],
)
def test_an_unknown_term_is_refused_with_the_nearest_name(key, value, hint):
    with pytest.raises(ConfigError, match=rf"env\.{key} names '\w+'.*did you mean '{hint}'"):
        EnvConfig(**{key: value})


def test_an_unknown_term_that_is_near_to_none_gets_the_list():
    with pytest.raises(ConfigError, match="There are: joint_pos, ") as caught:
        EnvConfig(observations=("zzz",))
    assert "did you mean" not in str(caught.value)


def test_rewards_may_be_plain_mappings_as_config_files_have_them():
    config = EnvConfig(rewards={"site_position": {"weight": 2.0, "scale": 0.3}})  # pyright: ignore[reportArgumentType]
    assert config.rewards == {"site_position": RewardConfig(2.0, 0.3)}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"model": "horse"}, r"env\.model is 'horse'.*bimanual, myofullbody"),
        ({"num_worlds": 0}, r"env\.num_worlds is 0"),
        ({"library_mb": -1.0}, r"env\.library_mb is -1\.0.*0 to hold all"),
        ({"library_mb": NAN}, r"env\.library_mb is nan"),
        ({"episode_seconds": 0.001}, r"env\.episode_seconds is 0\.001"),
        ({"initial_activation": 1.5}, r"env\.initial_activation is 1\.5.*\[0, 1\]"),
        ({"lookahead": ()}, r"env\.lookahead"),
        ({"lookahead": (1, -1)}, r"env\.lookahead"),
        ({"rewards": {}}, r"at least one term"),
        ({"rewards": {"site_position": {"weight": 1.0}}}, r"env\.rewards\.site_position.*a weight and a scale"),
        ({"episode_seconds": NAN}, r"env\.episode_seconds is nan"),
        ({"max_quarantined_fraction": NAN}, r"env\.max_quarantined_fraction is nan.*\[0, 1\]"),
        ({"max_quarantined_fraction": 1.5}, r"env\.max_quarantined_fraction is 1\.5"),
        ({"terminations": {"site_deviation": NAN}}, r"env\.terminations\.site_deviation is nan"),
        ({"terminations": {"site_deviation": -0.1}}, r"env\.terminations\.site_deviation is -0\.1"),
        ({"observations": ()}, r"at least one term"),
        ({"sampling": SamplingConfig(rate=0.1)}, r"env\.sampling is off, .*set env\.sampling's floor"),
        ({"tightening": TighteningConfig(low=0.0)}, r"env\.tightening is off, .*loosest and tightest"),
        ({"tightening": TighteningConfig(tightest=0.5), "terminations": {}}, r"needs env\.terminations"),
        ({"pushes": PushConfig(body="pelvis")}, r"env\.pushes is off, .*force"),
    ],
)
def test_values_out_of_range_are_refused_by_key(changes, named):
    with pytest.raises(ConfigError, match=named):
        EnvConfig(**changes)


@pytest.mark.parametrize("scale", [0.0, -1.0, NAN])
def test_a_reward_scale_is_positive(scale):
    with pytest.raises(ConfigError, match="scale"):
        RewardConfig(1.0, scale)


@pytest.mark.parametrize(
    ("kind", "changes", "named"),
    [
        (SamplingConfig, {"floor": 0.0}, r"env\.sampling\.floor is 0\.0.*\(0, 1\]"),
        (SamplingConfig, {"rate": NAN}, r"env\.sampling\.rate is nan"),
        (SamplingConfig, {"segment_seconds": 0.0}, r"env\.sampling\.segment_seconds is 0\.0"),
        (TighteningConfig, {"tightest": 2.0}, r"tightest, loosest: 2\.0, 1\.0"),
        (TighteningConfig, {"low": 0.3}, r"low, high: 0\.3, 0\.2"),
        (TighteningConfig, {"step": 1.0}, r"step: 1\.0"),
        (TighteningConfig, {"rate": 0.0}, r"rate: 0\.0"),
        (PushConfig, {"force": (50.0, 10.0)}, r"env\.pushes\.force is \(50\.0, 10\.0\).*the weaker first"),
        (PushConfig, {"seconds": 3.0}, r"env\.pushes\.seconds is 3\.0, interval 2\.0"),
    ],
)
def test_practice_out_of_range_is_refused_by_key(kind, changes, named):
    with pytest.raises(ConfigError, match=named):
        kind(**changes)


def test_a_reward_weight_is_a_number():
    with pytest.raises(ConfigError, match="weight is nan"):
        RewardConfig(NAN, 1.0)


@pytest.mark.parametrize("physics", [{"timestep": 0.0}, {"timestep": 0.1}, {"substeps": 0}])
def test_physics_out_of_range_is_refused_by_key(physics):
    with pytest.raises(ConfigError, match=rf"physics\.{next(iter(physics))}"):
        PhysicsConfig(**physics)
