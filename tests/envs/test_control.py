"""Two ways to act: excitations as they are, and joint targets through the muscles."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tensordict import TensorDict
from torchrl.envs.utils import check_env_specs

from musclewarp.envs import ControlConfig, ImitationEnv, VariationConfig
from musclewarp.errors import ConfigError

N = 3
TARGETS = ControlConfig(mode="joint_targets")


def step(env: ImitationEnv, action: torch.Tensor | float) -> TensorDict:
    """One control step, of one number everywhere or of an action `(N, J)`."""
    action = torch.as_tensor(action).expand(env.action_spec.shape)
    return env.step(TensorDict({"action": action}, batch_size=env.batch_size))["next"]


def start(env: ImitationEnv) -> None:
    worlds = torch.arange(*env.batch_size)
    env.reset_to(worlds % 2, 2 * worlds)


def test_excitations_are_the_default_and_taken_as_they_are(make_env):
    env = make_env(worlds=N)
    env.reset()
    step(env, 0.3)
    assert (env.state.excitation == 0.3).all()
    step(env, 1.7)
    assert (env.state.excitation == 1.0).all()
    assert env.control.take_metrics()["excitation"] == pytest.approx((0.3 + 1.0) / 2)
    assert not env.control.state()


@pytest.mark.parametrize("name", ["bimanual", "myofullbody"])
def test_an_action_is_a_number_for_each_independent_joint(make_env, name):
    env = make_env(name, worlds=2, control=TARGETS)
    assert env.action_spec.shape == (2, {"bimanual": 14, "myofullbody": 31}[name])
    check_env_specs(env, seed=0)


@pytest.mark.parametrize("engine", ["native", pytest.param("warp", marks=pytest.mark.slow)])
def test_excitations_stay_within_bounds_whatever_is_asked_for(make_env, engine):
    env = make_env(worlds=N, control=TARGETS, engine=engine)
    start(env)
    for action in (-100.0, 0.0, 1e6):
        step(env, action)
        assert ((env.state.excitation >= 0) & (env.state.excitation <= 1)).all()
        assert not env.engine.unhealthy().any()


def test_muscles_that_are_asked_for_nothing_track_better_than_muscles_that_rest(make_env):
    """A reference that swings for 0.4 s: joint targets without offsets against no excitation and a constant one."""
    errors = {}
    for name, control, action in (
        ("targets", TARGETS, 0.0),
        ("rest", ControlConfig(), 0.0),
        ("tonic", ControlConfig(), 0.1),
    ):
        env = make_env(worlds=2, control=control)
        start(env)
        errors[name] = torch.stack([step(env, action)["site_error"].mean() for _ in range(18)]).mean()
    assert errors["targets"] < 0.6 * min(errors["rest"], errors["tonic"])


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_a_target_beside_the_reference_moves_its_joint_there(make_env, sign):
    env = make_env(worlds=N, control=TARGETS)
    moved = {}
    elbow = [env.model.dof_names[dof] for dof in env.model.joint_dofs].index("elbow_flex_r")
    for offset in (0.0, sign):
        start(env)
        action = torch.zeros(env.action_spec.shape)
        action[:, elbow] = offset
        for _ in range(10):
            step(env, action)
        moved[offset] = env.state.joint_pos.clone()
    difference = (moved[sign] - moved[0.0]) * sign
    assert (difference[:, elbow] > 0.08).all()
    others = torch.cat((difference[:, :elbow], difference[:, elbow + 1 :]), dim=1)
    assert (others.abs().amax(dim=1) < difference[:, elbow]).all()


def test_missing_moments_are_told_and_grow_with_what_is_asked_for(make_env):
    env = make_env(worlds=N, control=TARGETS)
    start(env)
    told = []
    for action in (0.0, 50.0):
        step(env, action)
        told.append(env.control.take_metrics())
    near, far = told
    assert 0 <= near["missing_moment_nm"] < 2
    assert far["missing_moment_nm"] > 10
    assert far["worst_missing_moment_nm"] > far["missing_moment_nm"]
    step(env, 0.0)
    assert env.control.take_metrics()["missing_moment_nm"] < far["missing_moment_nm"], "each time anew"


def test_a_reset_forgets_the_multipliers_of_its_worlds_alone(make_env):
    env = make_env(worlds=N, control=TARGETS)
    start(env)
    step(env, 0.5)
    before = env.control.state()["control.multipliers"]
    assert (before != 0).any(dim=1).all()
    env.reset(TensorDict({"_reset": torch.tensor([[False], [True], [False]])}, batch_size=[N]))
    after = env.control.state()["control.multipliers"]
    assert (after[1] == 0).all()
    assert torch.equal(after[[0, 2]], before[[0, 2]])


@pytest.mark.parametrize("name", ["bimanual", "myofullbody"])
def test_a_restored_snapshot_goes_on_bit_for_bit(make_env, name):
    options = {"worlds": N, "control": TARGETS, "variation": VariationConfig(strength=0.2, mass=0.1)}
    env, other = make_env(name, **options), make_env(name, seed=5, **options)
    for this in (env, other):
        this.reset()
    for action in (0.2, -0.9, 0.4):
        step(env, action)
    other.restore(env.snapshot())
    for action in (0.6, 0.1):
        first, second = step(env, action), step(other, action)
        assert torch.equal(env.state.excitation, other.state.excitation)
        assert torch.equal(first["observation"], second["observation"])


@pytest.mark.slow
def test_engines_agree_on_excitations(make_env):
    native, warp = (make_env(worlds=N, control=TARGETS, engine=engine) for engine in ("native", "warp"))
    for env in (native, warp):
        start(env)
    for _ in range(4):
        for env in (native, warp):
            step(env, 0.3)
        np.testing.assert_allclose(native.state.excitation, warp.state.excitation, atol=2e-3)


def test_what_means_nothing_is_refused():
    with pytest.raises(ConfigError, match=r"env\.control\.scale is 0\.2; it means nothing in mode 'excitations'"):
        ControlConfig(scale=0.2)
    with pytest.raises(ConfigError, match=r"env\.control\.mode is 'torques'"):
        ControlConfig(mode="torques")
    with pytest.raises(ConfigError, match=r"env\.control\.reserve is 0"):
        ControlConfig(mode="joint_targets", reserve=0.0)
