"""Termination limits: loose while the policy fails, tighter as it learns, and within their bounds."""

from __future__ import annotations

import pytest
import torch

from musclewarp.envs import TighteningConfig
from musclewarp.envs.tightening import Tightening

CONFIG = TighteningConfig(loosest=2.0, tightest=0.5, low=0.1, high=0.3, step=0.9, rate=0.5)


def after(tightening: Tightening, failed: int, done: int = 100) -> float:
    """The factor after an update of `done` episodes of which `failed` ended early."""
    worlds = torch.arange(done)
    tightening.count(worlds < failed, worlds >= 0)
    tightening.update(lambda x: x)
    return tightening.scale


@pytest.fixture
def tightening():
    return Tightening(CONFIG, torch.device("cpu"))


def test_limits_tighten_when_few_fail_and_loosen_when_many_do(tightening):
    scales = [after(tightening, 0) for _ in range(5)]
    assert scales == pytest.approx([2.0, 2.0, 2.0, 1.8, 1.62])  # 1 / 2^4 is the first share below 0.1
    assert after(tightening, 40) == pytest.approx(1.62)  # 0.2 is between low and high
    assert after(tightening, 100) == pytest.approx(1.8)


def test_the_factor_stays_within_its_bounds(tightening):
    assert after(tightening, 100) == 2.0
    assert [after(tightening, 0) for _ in range(40)][-1] == 0.5
    assert [after(tightening, 100) for _ in range(40)][-1] == 2.0


def test_nothing_moves_where_no_episode_ended(tightening):
    for _ in range(4):
        after(tightening, 0)
    before = tightening.scale, tightening.failing
    after(tightening, 0, done=0)
    assert (tightening.scale, tightening.failing) == before


def test_it_goes_on_where_it_was_saved(tightening):
    after(tightening, 5)
    tightening.count(torch.tensor([True, False]), torch.tensor([True, True]))
    other = Tightening(CONFIG, torch.device("cpu"))
    other.load(tightening.state())
    assert [after(other, 0) for _ in range(5)] == [after(tightening, 0) for _ in range(5)]


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_the_limits_of_an_environment_are_multiplied(make_env, act, scale):
    """Random excitations end as many episodes as limits that were written so from the start would."""
    limits = {"site_deviation": 0.04}
    env = make_env(worlds=16, terminations=limits, tightening=TighteningConfig(loosest=scale, tightest=min(scale, 1.0)))
    fixed = make_env(worlds=16, terminations={"site_deviation": 0.04 * scale})
    plain = make_env(worlds=16, terminations=limits)
    ends = {}
    for name, each in (("scaled", env), ("fixed", fixed), ("plain", plain)):
        each.reset()
        ends[name] = torch.stack([each.step(act(each, step))["next", "terminated"] for step in range(8)])
    assert torch.equal(ends["scaled"], ends["fixed"])
    assert not torch.equal(ends["scaled"], ends["plain"])
    assert env.practise(lambda x: x)["termination_scale"] == scale
    assert not plain.practise(lambda x: x)
