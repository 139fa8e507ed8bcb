"""People that differ: what is drawn, what it means for a muscle, and what stays as it is."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Callable
from operator import attrgetter

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tensordict import TensorDict

from musclewarp.engines import make_engine
from musclewarp.envs import EnvConfig, ImitationEnv, VariationConfig
from musclewarp.envs.variation import Variation
from musclewarp.errors import ConfigError
from musclewarp.learning.policy import parse_config
from musclewarp.models import MuscleModel
from musclewarp.models.muscles import muscle_table

pytestmark = pytest.mark.xdist_group("warp")

MakeEnv = Callable[..., ImitationEnv]
Act = Callable[..., TensorDict]
WIDTHS = {
    "mass": 0.3,
    "friction": 0.4,
    "strength": 0.2,
    "activation_time": 0.25,
    "tendon_slack": 0.05,
    "gravity": 0.1,
}
ALL = VariationConfig(**WIDTHS)
CPU = torch.device("cpu")


def drawn(config: VariationConfig, model: MuscleModel, worlds: int = 4, seed: int = 0, draw: int = 0) -> Variation:
    variation = Variation(config, model, worlds, CPU)
    variation.draw(torch.ones(worlds, dtype=torch.bool), seed, torch.full((worlds,), draw))
    return variation


def everything(env: ImitationEnv) -> dict[str, torch.Tensor]:
    engine = env.engine
    live = {name: getattr(engine, name).clone() for name in ("qpos", "qvel", "act", "ctrl", "qacc_warmstart")}
    derived = {name: tensor.clone() for name, tensor in (*engine.derived.items(), *engine.varied.items())}
    return live | derived | env.variation.state()


@pytest.mark.parametrize("quantity", list(WIDTHS))
@pytest.mark.parametrize("width", [-0.1, 1.0, float("nan")])
def test_a_width_out_of_range_is_refused_by_key(quantity: str, width: float):
    with pytest.raises(ConfigError, match=rf"env\.variation\.{quantity} is .*\[0, 1\)"):
        VariationConfig(**{quantity: width})


@pytest.mark.parametrize("factors", [(0.0, 1.0), (1.2, 1.1), (1.0, float("inf")), (float("nan"), 1.0)])
def test_factors_out_of_order_are_refused_by_key(factors: tuple[float, float]):
    with pytest.raises(ConfigError, match=r"env\.variation\.mass is .*two positive factors, the smaller first"):
        VariationConfig(mass=factors)


@pytest.mark.parametrize("variation", [ALL, VariationConfig(mass=(0.85, 0.85), friction=(0.5, 1.0))])
def test_a_policys_config_keeps_its_variation(variation: VariationConfig):
    config = EnvConfig(variation=variation)
    assert parse_config(EnvConfig, json.loads(json.dumps(dataclasses.asdict(config)))) == config


def test_factors_lie_between_two_that_are_given_and_equal_ones_are_everybodys(arms: MuscleModel):
    factors = drawn(VariationConfig(friction=(0.5, 1.0), mass=(1.15, 1.15), gravity=(1.0, 1.0)), arms, 200).factors
    assert set(factors) == {"friction", "mass"}
    assert (factors["mass"] == 1.15).all()
    assert 0.5 <= float(factors["friction"].min()) < 0.52
    assert 0.98 < float(factors["friction"].max()) <= 1.0


def test_factors_fill_their_range_evenly(arms: MuscleModel):
    factors = drawn(ALL, arms, worlds=200).factors
    parts = {"mass": arms.mj_model.nbody, "friction": 1, "gravity": 1}
    for quantity, width in WIDTHS.items():
        value = (factors[quantity] - 1.0) / width
        assert value.shape == (200, parts.get(quantity, arms.mj_model.nu))
        assert -1.0 <= float(value.min()) < -0.95
        assert 0.95 < float(value.max()) <= 1.0
        assert abs(float(value.mean())) < 4 / np.sqrt(3 * value.numel())


def test_the_key_alone_decides_a_draw(arms: MuscleModel):
    first, again, few = drawn(ALL, arms), drawn(ALL, arms), drawn(ALL, arms, worlds=2)
    others = drawn(ALL, arms, seed=1), drawn(ALL, arms, draw=1)
    for quantity in WIDTHS:
        factors = first.factors[quantity]
        assert torch.equal(factors, again.factors[quantity])
        assert torch.equal(factors[:2], few.factors[quantity])
        alone = drawn(VariationConfig(**{quantity: WIDTHS[quantity]}), arms)
        assert torch.equal(factors, alone.factors[quantity]), "what else varies must not matter"
        for other in (*(o.factors[quantity] for o in others), factors.roll(1, 0)):
            assert not (factors == other).all(dim=1).any()
    numbers = torch.cat([(first.factors[q] - 1.0) / w for q, w in WIDTHS.items()], dim=1).flatten()
    assert len(numbers.mul(1e9).round().unique()) == numbers.numel(), "two quantities share a stream"


def test_fields_mean_what_the_factors_say(arms: MuscleModel):
    """Independent truth: the muscle table of a model that is edited by hand."""
    engine, variation = make_engine("native", arms, 2, varied=drawn(ALL, arms).fields), drawn(ALL, arms, 2)
    for live in engine.varied.values():
        live.fill_(torch.nan)
    variation.write(engine.varied)
    m, factors = copy.copy(arms.stepped), {name: value[1].numpy() for name, value in variation.factors.items()}
    for name, live in engine.varied.items():
        attrgetter(name)(m)[:] = live[1]
    table, own = arms.muscles, muscle_table(m, arms.couplings)
    expected = {
        "peak_force": table["peak_force"] * factors["strength"],
        "time_activation": table["time_activation"] * factors["activation_time"],
        "time_deactivation": table["time_deactivation"] * factors["activation_time"],
        "optimal_fibre_length": table["optimal_fibre_length"],
        "tendon_slack_length": table["tendon_slack_length"]
        + (factors["tendon_slack"] - 1.0) * table["optimal_fibre_length"],
        "max_velocity": table["max_velocity"],
    }
    for column, value in expected.items():
        np.testing.assert_allclose(own[column], value, rtol=1e-12, atol=1e-15, err_msg=column)
    nominal = arms.stepped
    np.testing.assert_allclose(m.actuator_biasprm[:, 2], nominal.actuator_biasprm[:, 2] * factors["strength"])
    np.testing.assert_allclose(m.body_mass, nominal.body_mass * factors["mass"])
    np.testing.assert_allclose(m.body_inertia, nominal.body_inertia * factors["mass"][:, None])
    np.testing.assert_allclose(m.geom_friction, nominal.geom_friction * factors["friction"])
    np.testing.assert_allclose(m.pair_friction, nominal.pair_friction * factors["friction"])
    np.testing.assert_allclose(m.opt.gravity, nominal.opt.gravity * factors["gravity"])
    for field in ("actuator_gainprm", "actuator_biasprm"):
        np.testing.assert_array_equal(
            np.delete(getattr(m, field), [2, 3], 1), np.delete(getattr(nominal, field), [2, 3], 1)
        )


def test_off_is_the_default_and_nothing_of_it_is_there(make_env: MakeEnv):
    env = make_env()
    env.reset()
    assert env.config.variation == VariationConfig()
    assert env.engine.varied == {}
    assert env.variation.factors == {}
    assert not [key for key in env.snapshot() if key.startswith("variation")]


def test_until_the_first_reset_everyone_is_the_model(make_env: MakeEnv, act: Act):
    plain, varied = make_env(), make_env(variation=ALL)
    start = torch.tensor([0, 1, 0]), torch.tensor([0, 5, 3])
    for env in (plain, varied):
        env.reset_to(*start)
        for seed in range(3):
            env.step(act(env, seed))
    assert torch.equal(plain.engine.qpos, varied.engine.qpos)
    varied.reset()
    assert all((factors != 1.0).all() for factors in varied.variation.factors.values())


def test_episodes_start_alike_whoever_starts_them(make_env: MakeEnv):
    plain, varied = make_env(seed=3), make_env(seed=3, variation=ALL)
    assert torch.equal(plain.reset()["observation"][:, :10], varied.reset()["observation"][:, :10])
    assert torch.equal(plain.clip, varied.clip)
    assert torch.equal(plain.frame, varied.frame)


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(mask=st.lists(st.booleans(), min_size=3, max_size=3))
def test_a_partial_reset_draws_new_people_there_and_touches_nobody_else(make_env: MakeEnv, act: Act, mask: list[bool]):
    env, chosen = make_env(variation=ALL), torch.tensor(mask)
    env.reset()
    env.step(act(env))
    before = everything(env)
    env.reset(TensorDict({"_reset": chosen[:, None]}, batch_size=env.batch_size))
    for name, value in everything(env).items():
        assert torch.equal(value[~chosen], before[name][~chosen]), name
        if name.startswith("variation"):
            assert not (value[chosen] == before[name][chosen]).all(dim=1).any(), name


def test_worlds_that_differ_move_differently(make_env: MakeEnv, act: Act):
    env = make_env(variation=ALL)
    env.reset()
    nobody = torch.zeros(3, dtype=torch.int64)
    start = env.reset_to(nobody, nobody)
    actions = act(env)
    actions["action"][:] = actions["action"][0].clone()
    env.step(actions)
    assert torch.equal(start["site_error"][0], start["site_error"][1])
    assert float((env.engine.qpos[0] - env.engine.qpos[1]).abs().max()) > 1e-4


def test_a_snapshot_resumes_with_the_same_people_bit_by_bit(make_env: MakeEnv, act: Act):
    env, other = make_env(variation=ALL), make_env(variation=ALL, seed=9)
    env.reset()
    env.step(act(env))
    saved = env.snapshot()
    other.reset()
    other.restore(saved)
    for e in (env, other):
        e.step(act(e, 1))
        e.reset(TensorDict({"_reset": torch.tensor([[True], [False], [False]])}, batch_size=e.batch_size))
        e.step(act(e, 2))
    for name, value in everything(env).items():
        assert torch.equal(value, everything(other)[name]), name


@pytest.mark.parametrize("name", ["bimanual", pytest.param("myofullbody", marks=pytest.mark.slow)])
def test_both_engines_draw_the_same_people_and_they_move_alike(make_env: MakeEnv, act: Act, name: str):
    native, warp = (make_env(name, worlds=2, engine=engine, variation=ALL) for engine in ("native", "warp"))
    for env in (native, warp):
        env.reset()
    for quantity in WIDTHS:
        assert torch.equal(native.variation.factors[quantity], warp.variation.factors[quantity])
    for field, live in native.engine.varied.items():
        assert torch.equal(live.float(), warp.engine.varied[field]), field
    for env in (native, warp):
        env.step(act(env))
    peak = native.model.muscles["peak_force"].to_numpy()
    force = (native.engine.derived["actuator_force"] - warp.engine.derived["actuator_force"]).numpy() / peak
    assert float((native.engine.qpos - warp.engine.qpos).abs().max()) <= 1e-4
    assert float((native.engine.act - warp.engine.act).abs().max()) <= 1e-6
    assert np.abs(force).max() <= 1e-3
