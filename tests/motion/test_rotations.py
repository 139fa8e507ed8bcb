from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.transform import Rotation, Slerp

from musclewarp.motion import rotations

TOLERANCE = 1e-12
PATIENT = settings(deadline=None)  # a busy machine is no failure
rotvecs = arrays(np.float64, (5, 3), elements=st.floats(-10, 10))


def scipy_of(quaternion):
    return Rotation.from_quat(quaternion, scalar_first=True)


def distance(first, second):
    """The largest angle, rad, between rotations; acos would lose half of the digits."""
    relative = rotations.multiply(rotations.conjugate(first), second)
    return 2 * np.arctan2(np.linalg.norm(relative[..., 1:], axis=-1), np.abs(relative[..., 0])).max()


@given(rotvecs)
@PATIENT
def test_rotation_vectors_become_the_quaternions_of_scipy(rotvec):
    ours = rotations.from_rotvec(rotvec)
    assert distance(ours, Rotation.from_rotvec(rotvec).as_quat(scalar_first=True)) < TOLERANCE
    np.testing.assert_allclose(np.linalg.norm(ours, axis=-1), 1, atol=TOLERANCE)


@given(rotvecs)
@PATIENT
def test_rotation_vectors_return_shortest(rotvec):
    back = rotations.to_rotvec(rotations.from_rotvec(rotvec))
    assert (np.linalg.norm(back, axis=-1) <= np.pi + TOLERANCE).all()
    assert distance(rotations.from_rotvec(back), rotations.from_rotvec(rotvec)) < 1e-11


@given(arrays(np.float64, (5, 3), elements=st.floats(-1, 1)))
@PATIENT
def test_rotation_vectors_within_pi_come_back(rotvec):
    np.testing.assert_allclose(rotations.to_rotvec(rotations.from_rotvec(rotvec)), rotvec, atol=TOLERANCE, rtol=1e-9)


@pytest.mark.parametrize("tiny", [0.0, 1e-300, 1e-160, 1e-12, 1e-8])
def test_tiny_rotation_vectors_lose_nothing(tiny):
    rotvec = np.array([tiny, 0.0, 0.0])
    np.testing.assert_allclose(rotations.to_rotvec(rotations.from_rotvec(rotvec)), rotvec, rtol=1e-12)


@given(rotvecs)
@PATIENT
def test_matrices_agree_with_scipy_both_ways(rotvec):
    quaternion = rotations.from_rotvec(rotvec)
    matrix = scipy_of(quaternion).as_matrix()
    np.testing.assert_allclose(rotations.to_matrix(quaternion), matrix, atol=TOLERANCE)
    assert distance(rotations.from_matrix(matrix), quaternion) < TOLERANCE


@pytest.mark.parametrize("axis", np.vstack([np.eye(3), [[1, 1, 0], [0, -1, 1], [1, 1, 1]]]))
def test_half_turns_survive_the_matrix(axis):
    quaternion = rotations.from_rotvec(np.pi * axis / np.linalg.norm(axis))
    assert distance(rotations.from_matrix(rotations.to_matrix(quaternion)), quaternion) < TOLERANCE


@given(rotvecs, rotvecs, arrays(np.float64, (5, 3), elements=st.floats(-100, 100)))
@PATIENT
def test_products_and_turned_vectors_are_those_of_scipy(first, second, vector):
    a, b = rotations.from_rotvec(first), rotations.from_rotvec(second)
    product = rotations.multiply(a, b)
    assert distance(product, (scipy_of(a) * scipy_of(b)).as_quat(scalar_first=True)) < TOLERANCE
    np.testing.assert_allclose(rotations.rotate(a, vector), scipy_of(a).apply(vector), atol=1e-10)
    np.testing.assert_allclose(
        rotations.rotate(rotations.conjugate(a), rotations.rotate(a, vector)), vector, atol=1e-10
    )


@given(rotvecs, rotvecs, st.floats(0, 1))
@PATIENT
def test_slerp_goes_the_way_of_scipy(first, second, fraction):
    a, b = rotations.from_rotvec(first), rotations.from_rotvec(second)
    apart = np.linalg.norm(rotations.to_rotvec(rotations.multiply(rotations.conjugate(a), b)), axis=-1)
    theirs = [Slerp([0, 1], scipy_of(np.stack(pair)))(fraction).as_quat(scalar_first=True) for pair in zip(a, b)]
    unambiguous = apart < np.pi - 1e-6  # at half a turn both ways are the shortest
    if unambiguous.any():
        assert distance(rotations.slerp(a, b, fraction)[unambiguous], np.stack(theirs)[unambiguous]) < 1e-9
    assert distance(rotations.slerp(a, -b, np.zeros(5)), a) < TOLERANCE
    assert distance(rotations.slerp(a, -b, np.ones(5)), b) < TOLERANCE


@given(st.lists(st.booleans(), min_size=3, max_size=40))
@PATIENT
def test_signs_unroll_along_time_and_change_no_rotation(flips):
    time = np.linspace(0, 1, len(flips))[:, None, None]
    smooth = rotations.from_rotvec(time * np.array([[3.0, 0.0, 1.0], [0.0, 0.5, 0.0]]))
    flipped = smooth * np.where(flips, -1.0, 1.0)[:, None, None]
    unrolled = rotations.continuous(flipped)
    assert (np.sum(unrolled[1:] * unrolled[:-1], axis=-1) >= 0).all()
    np.testing.assert_array_equal(unrolled[0], flipped[0])
    np.testing.assert_array_equal(np.abs(unrolled), np.abs(smooth))


def test_continuous_accepts_one_frame():
    np.testing.assert_array_equal(rotations.continuous([rotations.IDENTITY]), [rotations.IDENTITY])


def test_a_zero_quaternion_does_not_pass_for_a_rotation():
    assert np.isnan(rotations.normalize(np.zeros(4))).all()
    np.testing.assert_allclose(rotations.normalize([2.0, 0, 0, 0]), rotations.IDENTITY)
