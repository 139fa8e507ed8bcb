"""Reward, termination and observation terms on made-up states, against numbers computed by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from musclewarp.envs import rewards, terminations
from musclewarp.envs.observations import OBSERVATIONS
from musclewarp.envs.rewards import EFFORT, TRACKING
from musclewarp.envs.state import Target
from musclewarp.envs.terminations import TERMINATIONS
from musclewarp.models.rotation import heading

PATIENT = settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
TERMS = {
    f"{table}.{name}": term
    for table, terms in (("observe", OBSERVATIONS), ("reward", {**TRACKING, **EFFORT}), ("end", TERMINATIONS))
    for name, term in terms.items()
}


@pytest.fixture
def close(scene):
    """Two worlds whose state is exactly their target's."""
    state, target = scene(N=2)
    for key, value in target.now.items():
        if hasattr(state, key):
            setattr(state, key, value.clone())
    return state, target


@pytest.mark.parametrize("name", sorted({**TRACKING, **TERMINATIONS}))
def test_tracking_errors_are_zero_on_the_reference(close, name):
    state, target = close
    if name == "body_on_floor":
        state.floor_contacts = state.foot_contacts.sum(-1)
    error = {**TRACKING, **TERMINATIONS}[name](state, target)
    np.testing.assert_allclose(error, 0, atol=1e-6)


def test_site_position_is_the_root_mean_square_distance_relative_to_the_root(close):
    state, target = close
    state.site_pos = state.site_pos.clone()
    state.site_pos[1, 1] += torch.tensor([0.3, 0.4, 0.0])
    state.site_pos[1, 2] += torch.tensor([0.0, 0.0, 0.1])
    expected = [0.0, math.sqrt((0.25 + 0.01) / 2)]
    np.testing.assert_allclose(rewards.site_position(state, target), expected, atol=1e-6)
    np.testing.assert_allclose(terminations.site_deviation(state, target), [0.0, (0.5 + 0.1) / 2], atol=1e-6)


def test_relative_site_errors_do_not_see_a_shift_of_the_whole_person(close):
    state, target = close
    state.site_pos, state.root_pos = state.site_pos + 3.0, state.root_pos + 3.0
    for term in (rewards.site_position, terminations.site_deviation):
        np.testing.assert_allclose(term(state, target), 0, atol=2e-6)


def test_site_velocity_is_the_root_mean_square_difference_relative_to_the_root(close):
    state, target = close
    state.site_vel, state.root_linvel = state.site_vel + 1.0, state.root_linvel + 1.0
    state.site_vel[0, 2] += torch.tensor([0.0, 3.0, 4.0])
    np.testing.assert_allclose(rewards.site_velocity(state, target), [math.sqrt(25 / 2), 0.0], atol=1e-6)


@pytest.mark.parametrize("quantity", ["joint_pos", "joint_vel"])
def test_joint_errors_are_root_mean_squares_over_joints(close, quantity):
    state, target = close
    offset = torch.tensor([[0.1, 0, 0, 0, -0.2], [0, 0, 0, 0, 0]])
    setattr(state, quantity, getattr(state, quantity) + offset)
    term = {"joint_pos": rewards.joint_position, "joint_vel": rewards.joint_velocity}[quantity]
    np.testing.assert_allclose(term(state, target), [math.sqrt(0.05 / 5), 0.0], atol=1e-6)


def test_approach_terms_forgive_an_error_that_is_on_its_way_back_in_a_tenth_of_a_second(close):
    state, target = close
    joints, sites = torch.randn(2, 5), torch.randn(2, 3, 3)
    sites[:, 0] = 0
    state.joint_pos, state.joint_vel = state.joint_pos + joints, state.joint_vel - 10 * joints
    state.site_pos, state.site_vel = state.site_pos + sites, state.site_vel - 10 * sites
    for term in (rewards.joint_approach, rewards.site_approach):
        np.testing.assert_allclose(term(state, target), 0, atol=1e-5)
    state.joint_vel, state.site_vel = target.now.joint_vel, target.now.site_vel  # stays where it is
    expected = (joints.square().mean(-1).sqrt(), (sites[:, 1:].square().sum(-1)).mean(-1).sqrt())
    for term, value in zip((rewards.joint_approach, rewards.site_approach), expected, strict=True):
        np.testing.assert_allclose(term(state, target), value, rtol=1e-5)


def test_root_errors_are_a_distance_a_speed_and_an_angle(close):
    state, target = close
    state.root_pos = state.root_pos + torch.tensor([[0.0, 0.3, -0.4], [0.0, 0.0, 0.2]])
    state.root_linvel = state.root_linvel + torch.tensor([1.0, -2.0, 2.0])
    target.now.root_quat = torch.tensor([1.0, 0, 0, 0]).expand(2, 4)
    state.root_quat = torch.tensor([[math.cos(0.2), math.sin(0.2), 0, 0], [0.0, 0, 1, 0]])
    for term in (rewards.root_position, terminations.root_deviation):
        np.testing.assert_allclose(term(state, target), [0.5, 0.2], atol=1e-6)
    np.testing.assert_allclose(rewards.root_velocity(state, target), 3.0, atol=1e-6)
    for term in (rewards.root_rotation, terminations.root_turn):
        np.testing.assert_allclose(term(state, target), [0.4, math.pi], atol=1e-6)
    np.testing.assert_allclose(terminations.root_drop(state, target), [0.4, -0.2], atol=1e-6)


def test_activation_energy_is_the_mean_square(close):
    state, target = close
    state.activation = torch.tensor([[0.0, 1.0, 0.5, 0.5, 0.0, 0.0], [1.0] * 6])
    np.testing.assert_allclose(rewards.activation_energy(state, target), [1.5 / 6, 1.0])


def test_only_contacts_of_feet_are_allowed_on_the_floor(close):
    state, target = close
    state.floor_contacts, state.foot_contacts = torch.tensor([5.0, 5.0]), torch.tensor([[2.0, 3.0], [2.0, 1.0]])
    np.testing.assert_array_equal(terminations.body_on_floor(state, target), [0.0, 2.0])


@given(st.floats(-math.pi, math.pi), st.tuples(st.floats(-20, 20), st.floats(-20, 20)), st.integers(0, 5))
@PATIENT
def test_no_term_sees_where_the_world_is_or_heads(scene, moved, yaw, shift, seed):
    state, target = scene(seed=seed)
    other_state, other_target = moved(state, yaw, shift), moved(target, yaw, shift)
    for name, term in TERMS.items():
        np.testing.assert_allclose(
            term(other_state, other_target), term(state, target), atol=1e-3 + 1e-4 * math.hypot(*shift), err_msg=name
        )


def test_turning_only_the_target_is_seen(scene, moved):
    state, target = scene()
    turned = moved(target, 1.0, (0.0, 0.0))
    for name in ("ahead_site_pos", "ahead_root"):
        assert (OBSERVATIONS[name](state, target) - OBSERVATIONS[name](state, turned)).abs().max() > 0.1, name
    assert (rewards.root_rotation(state, target) - rewards.root_rotation(state, turned)).abs().max() > 0.1


@pytest.mark.parametrize("name", sorted(TERMS))
def test_a_term_of_one_world_does_not_depend_on_the_others(scene, name):
    state, target = scene()
    together = TERMS[name](state, target)
    for world in range(4):
        one = slice(world, world + 1)
        alone = TERMS[name](state[one], Target(now=target.now[one], ahead=target.ahead[one]))
        np.testing.assert_allclose(alone[0], together[world], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", sorted(TERMS))
def test_terms_leave_state_and_target_alone(scene, name):
    (state, target), (same_state, same_target) = scene(), scene()
    TERMS[name](state, target)
    for x, same in ((state, same_state), (target.now, same_target.now), (target.ahead, same_target.ahead)):
        for (name, value), (_, expected) in zip(x.items(), same.items(), strict=True):
            assert torch.equal(value, expected), name


def test_vectors_are_seen_in_the_heading_frame(scene):
    state, target = scene(N=1)
    # the root stands and faces world y: what points there is ahead (x), what points to world -x is left (y)
    state.root_quat = torch.tensor([[0.5, 0.5, 0.5, 0.5]])
    state.heading = heading(state.root_quat)
    state.root_linvel, state.root_angvel = torch.tensor([[0.0, 2.0, 0.5]]), torch.tensor([[-1.0, 0.0, 3.0]])
    seen = OBSERVATIONS["root_velocity"](state, target)
    np.testing.assert_allclose(seen, [[2.0, 0.0, 0.5, 0.0, 1.0, 3.0]], atol=1e-6)
    state.foot_force = torch.tensor([[[0.0, 10.0, 700.0], [-5.0, 0.0, 0.0]]])
    seen = OBSERVATIONS["foot_force"](state, target)
    np.testing.assert_allclose(seen, [[[10.0, 0.0, 700.0], [0.0, 5.0, 0.0]]], atol=1e-4)
    state.site_pos = torch.zeros(1, 3, 3)
    state.root_pos = torch.zeros(1, 3)
    target.ahead.root_pos = torch.tensor([[[0.0, 7.0, 0.0], [5.0, 0.0, 0.0]]])
    target.ahead.site_pos = target.ahead.root_pos[:, :, None].repeat(1, 1, 3, 1)
    target.ahead.site_pos[0, 1, 2] += torch.tensor([0.0, 0.4, 0.1])
    seen = OBSERVATIONS["ahead_site_pos"](state, target)
    expected = np.zeros((1, 2, 2, 3))
    expected[0, 1, 1] = [0.4, 0.0, 0.1]
    np.testing.assert_allclose(seen, expected, atol=1e-6)
    offset = OBSERVATIONS["ahead_root"](state, target)[:, :, 0]
    np.testing.assert_allclose(offset, [[[7.0, 0.0, 0.0], [0.0, -5.0, 0.0]]], atol=1e-5)


def test_tilt_is_the_vertical_in_the_frame_of_the_root(scene):
    state, target = scene(N=2)
    quarter = math.sqrt(0.5)
    state.root_quat = torch.tensor([[1.0, 0, 0, 0], [quarter, quarter, 0, 0]])  # on its back: its own y points up
    np.testing.assert_allclose(OBSERVATIONS["root_tilt"](state, target), [[0, 0, 1], [0, 1, 0]], atol=1e-6)


def test_observations_of_the_future_are_reference_minus_own(scene):
    state, target = scene()
    ahead = OBSERVATIONS["ahead_joint_pos"](state, target)
    for k in range(2):
        np.testing.assert_allclose(ahead[:, k], target.ahead.joint_pos[:, k] - state.joint_pos)
    np.testing.assert_array_equal(OBSERVATIONS["ahead_joint_vel"](state, target), target.ahead.joint_vel)


def test_a_muscle_longer_than_planned_is_stretched(scene):
    state, target = scene()
    state.fibre_length = target.ahead.fibre_length[:, 0] + 0.1
    state.fibre_velocity = target.ahead.fibre_velocity[:, 0] - 0.2
    np.testing.assert_allclose(OBSERVATIONS["stretch"](state, target), 0.1, atol=1e-6)
    np.testing.assert_allclose(OBSERVATIONS["stretch_velocity"](state, target), -0.2, atol=1e-6)
    np.testing.assert_array_equal(OBSERVATIONS["reference_activation"](state, target), target.ahead.activation[:, 0])
