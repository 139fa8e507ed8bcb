"""Events of made-up feet whose strikes and toe-offs are known."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musclewarp.biomechanics.gait_events import ContactConfig, contact, events_from_force, events_from_kinematics
from musclewarp.errors import ConfigError, SignalError


def vertical_force(time, strikes, stance, peak=900.0, ramp=0.02):
    """Trapezoids that rise from `strikes` and are back at zero `stance` later, N."""
    edges = [np.clip(np.minimum(time - s, s + stance - time) / ramp, 0, 1) for s in strikes]
    return peak * np.max(edges, axis=0)


@given(
    st.floats(0.55, 0.7), st.floats(0.8, 1.4), st.sampled_from([100.0, 500.0, 2000.0]), st.integers(0, 2**31), st.data()
)
@settings(max_examples=25, deadline=None)
def test_known_strikes_and_toe_offs_come_back_under_noise(stance_fraction, stride, rate, seed, data):
    first = data.draw(st.floats(0.1, 0.3))
    time = np.arange(0, 5, 1 / rate)
    strikes = np.arange(first, 5 - stride, stride)
    noise = np.random.default_rng(seed).normal(0, 3, len(time))
    events = events_from_force(vertical_force(time, strikes, stance_fraction * stride) + noise, rate)
    tolerance = 0.002 + 0.5 / rate  # 20 of 900 N of a ramp of 20 ms, noise of 3 N, interpolation across its corner
    np.testing.assert_allclose(events.heel_strikes, strikes, atol=tolerance)
    np.testing.assert_allclose(events.toe_offs, strikes + stance_fraction * stride, atol=tolerance)


def test_a_crossing_is_interpolated_between_samples():
    events = events_from_force([0, 0, 80, 80, 80, 40, 0, 0], 10.0, ContactConfig(min_stance=0.0), start=2.0)
    np.testing.assert_allclose(events.heel_strikes, [2.0 + 0.125])  # 20 of 80 N: a quarter of the second step
    np.testing.assert_allclose(events.toe_offs, [2.0 + 0.55])


def test_contacts_cut_by_the_record_have_no_event_there():
    force = np.concatenate((np.full(30, 500.0), np.zeros(30), np.full(30, 500.0)))
    events = events_from_force(force, 100.0)
    assert (len(events.heel_strikes), len(events.toe_offs)) == (1, 1)
    assert events.toe_offs[0] < events.heel_strikes[0]


def test_bouncing_and_ripples_are_no_steps():
    time = np.arange(0, 3, 1e-3)
    clean = vertical_force(time, [0.5, 1.7], 0.7)
    expected = events_from_force(clean, 1000.0)
    dirty = clean.copy()
    dirty[550:580] = 0.0  # the foot bounces for 30 ms after it strikes
    dirty[1400:1500] = 45.0  # a scuff that never reaches `confirm`
    dirty[2600:2640] = 300.0  # 40 ms of real force, too short for a step
    found = events_from_force(dirty, 1000.0)
    np.testing.assert_allclose(found.heel_strikes, expected.heel_strikes)
    np.testing.assert_allclose(found.toe_offs, expected.toe_offs)


def test_a_force_around_the_threshold_makes_one_contact():
    """With a single threshold the noise would cut it to pieces."""
    force = np.zeros(400)
    force[100:300] = 20.0 + np.where(np.arange(200) % 2, 3.0, -3.0)
    force[150:250] = 400.0
    assert len(events_from_force(force, 100.0).heel_strikes) == 1


def test_a_simulated_foot_has_events_where_it_meets_the_floor():
    """A 10 kg foot on a servo that rises and falls each second; MuJoCo's soft contact lets go before it opens."""
    model = mujoco.MjModel.from_xml_string("""
        <mujoco><option timestep="0.002"/>
          <worldbody><geom name="floor" type="plane" size="1 1 1"/>
            <body pos="0 0 0.05"><joint name="z" type="slide" axis="0 0 1"/><geom size="0.05" mass="10"/></body>
          </worldbody>
          <actuator><position joint="z" kp="5000" kv="400"/></actuator>
          <sensor><contact geom1="floor" data="force" reduce="netforce"/></sensor>
        </mujoco>""")
    data = mujoco.MjData(model)
    data.qpos[0] = 0.1
    force, height = np.empty((2, 2000))
    for i in range(2000):
        data.ctrl[0] = 0.1 * np.cos(2 * np.pi * data.time)
        mujoco.mj_step(model, data)
        force[i], height[i] = np.abs(data.sensordata).max(), data.qpos[0]
    events = events_from_force(force, 500.0)
    below = height < 0
    np.testing.assert_allclose(events.heel_strikes, np.flatnonzero(~below[:-1] & below[1:]) / 500, atol=0.005)
    np.testing.assert_allclose(events.toe_offs, np.flatnonzero(below[:-1] & ~below[1:]) / 500, atol=0.025)
    assert len(events.heel_strikes) == len(events.toe_offs) == 4


def test_a_foot_in_the_air_has_no_events():
    events = events_from_force(np.zeros(100), 100.0)
    assert events.heel_strikes.size == events.toe_offs.size == 0
    assert not contact(np.zeros(100), 100.0).any()


def test_forces_of_the_wrong_sign_or_kind_are_refused():
    with pytest.raises(SignalError, match="push on the foot, upwards"):
        contact(np.array([0.0, -800.0, -800.0, 0.0]), 10.0)
    with pytest.raises(SignalError, match="vertical force"):
        contact(np.zeros((10, 3)), 10.0)
    with pytest.raises(ConfigError, match="ascend"):
        ContactConfig(threshold=60.0)


def walker(heading, rate=100.0, stride=1.1, speed=1.3, treadmill=False):
    """A foot that swings as a cosine before a steady pelvis, with noise of 1 mm; its extrema are the events."""
    time = np.arange(0, 6, 1 / rate)
    ahead = np.array([np.cos(heading), np.sin(heading), 0.0])
    travel = 0.0 if treadmill else speed
    pelvis = travel * time[:, None] * ahead + [3.0, -2.0, 1.0]
    heel = pelvis + 0.35 * np.cos(2 * np.pi * (time / stride - 0.3))[:, None] * ahead
    toe = pelvis + (0.2 + 0.35 * np.cos(2 * np.pi * (time / stride - 0.43)))[:, None] * ahead
    noise = np.random.default_rng(1).normal(0, 1e-3, (2, len(time), 3))
    return heel + noise[0] - [0, 0, 0.9], toe + noise[1] - [0, 0, 0.9], pelvis, ahead


@pytest.mark.parametrize("heading", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("treadmill", [False, True])
def test_kinematic_events_are_where_the_foot_turns(heading, treadmill):
    heel, toe, pelvis, ahead = walker(heading, treadmill=treadmill)
    events = events_from_kinematics(heel, toe, pelvis, 100.0, forward=ahead if treadmill else None, start=5.0)
    np.testing.assert_allclose(events.heel_strikes, 5 + 1.1 * (0.3 + np.arange(len(events.heel_strikes))), atol=0.01)
    np.testing.assert_allclose(events.toe_offs, 5 + 1.1 * (0.93 + np.arange(len(events.toe_offs))), atol=0.01)
    assert len(events.heel_strikes) == len(events.toe_offs) == 5


def test_on_a_treadmill_the_direction_must_be_given():
    heel, toe, pelvis, _ = walker(0.0, treadmill=True)
    with pytest.raises(SignalError, match="give `forward`"):
        events_from_kinematics(heel, toe, pelvis, 100.0)
    with pytest.raises(SignalError, match="straight up"):
        events_from_kinematics(heel, toe, pelvis, 100.0, forward=[0, 0, 1])
    with pytest.raises(SignalError, match=r"must all be \(T, 3\)"):
        events_from_kinematics(heel, toe[1:], pelvis, 100.0, forward=[1, 0, 0])


def test_who_stands_still_does_not_step():
    heel, _, pelvis, ahead = walker(0.0, treadmill=True)
    still = pelvis - [0, 0, 0.9] + 0.01 * (heel - pelvis)
    events = events_from_kinematics(still, still, pelvis, 100.0, forward=ahead)
    assert events.heel_strikes.size == events.toe_offs.size == 0
