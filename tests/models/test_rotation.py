"""The rotations that run every step, against scipy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.transform import Rotation

from musclewarp.models.rotation import angle_between, heading, inverse, matrix_to_quat, rotate

PATIENT = settings(deadline=None, max_examples=50)
rotvecs = arrays(np.float64, (4, 3), elements=st.floats(-4, 4))
vectors = arrays(np.float64, (4, 3), elements=st.floats(-10, 10))


def quat_of(rotation: Rotation) -> torch.Tensor:
    return torch.from_numpy(rotation.as_quat(scalar_first=True))


@given(rotvecs, vectors)
@PATIENT
def test_rotate_turns_vectors_as_scipy_does(rotvec, vector):
    rotation = Rotation.from_rotvec(rotvec)
    np.testing.assert_allclose(rotate(quat_of(rotation), torch.from_numpy(vector)), rotation.apply(vector), atol=1e-12)


def test_rotate_broadcasts_one_rotation_over_many_vectors():
    rotation = Rotation.random(3, rng=np.random.default_rng(0))
    vector = np.random.default_rng(1).normal(size=(3, 5, 3))
    expected = np.stack([turn.apply(rows) for turn, rows in zip(rotation, vector, strict=True)])
    np.testing.assert_allclose(rotate(quat_of(rotation)[:, None], torch.from_numpy(vector)), expected, atol=1e-12)


@given(rotvecs, vectors)
@PATIENT
def test_inverse_undoes_a_rotation(rotvec, vector):
    quat, vector = quat_of(Rotation.from_rotvec(rotvec)), torch.from_numpy(vector)
    np.testing.assert_allclose(rotate(inverse(quat), rotate(quat, vector)), vector, atol=1e-12)


@given(rotvecs, rotvecs)
@PATIENT
def test_angle_between_is_that_of_scipy_whatever_the_signs(first, second):
    first, second = Rotation.from_rotvec(first), Rotation.from_rotvec(second)
    expected = (first.inv() * second).magnitude()
    for sign in (1.0, -1.0):
        angle = angle_between(quat_of(first), sign * quat_of(second))
        np.testing.assert_allclose(angle, expected, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_angle_between_equal_and_opposite_quaternions_is_finite_where_acos_is_not(dtype):
    quat = quat_of(Rotation.random(500, rng=np.random.default_rng(2))).to(dtype)
    quat = quat / quat.norm(dim=-1, keepdim=True)
    assert torch.acos((quat * quat).sum(-1)).isnan().any(), "acos would do: the test proves nothing"
    for other in (quat, -quat):
        angle = angle_between(quat, other)
        assert torch.isfinite(angle).all()
        assert angle.max() < 4 * torch.finfo(dtype).eps


def test_angle_between_keeps_small_angles_in_float32():
    angle = torch.tensor([1e-6, 1e-4, 1e-2], dtype=torch.float64)
    quat = torch.stack((torch.cos(angle / 2), torch.sin(angle / 2), 0 * angle, 0 * angle), -1).float()
    one = torch.tensor([1.0, 0.0, 0.0, 0.0]).expand_as(quat)
    np.testing.assert_allclose(angle_between(one, quat), angle, rtol=1e-6)


def test_angle_between_a_half_turn_and_none_is_pi():
    one, turned = torch.tensor([1.0, 0, 0, 0]), torch.tensor([0.0, 0, 1.0, 0])
    assert float(angle_between(one, turned)) == pytest.approx(np.pi)


STANDING = Rotation.from_rotvec([np.pi / 2, 0.0, 0.0])  # the body's x axis forward along x, its y axis up


@given(st.floats(-np.pi, np.pi), st.floats(-1.5, 1.5))
@PATIENT
def test_heading_of_a_bending_or_tilting_body_is_where_it_faced_before(yaw, angle):
    about_z = Rotation.from_rotvec([0.0, 0.0, yaw])
    for axis in np.eye(3)[:2]:  # to the side, and over the hips until beyond the horizontal
        body = about_z * Rotation.from_rotvec(1.2 * angle * axis) * STANDING
        np.testing.assert_allclose(heading(quat_of(body)), about_z.as_matrix(), atol=1e-9)


@given(rotvecs, st.floats(-np.pi, np.pi))
@PATIENT
def test_heading_turns_with_the_world_about_z(rotvec, yaw):
    rotation, about_z = Rotation.from_rotvec(rotvec), Rotation.from_rotvec([0.0, 0.0, yaw])
    upright = (rotation * STANDING.inv()).as_quat(scalar_first=True)
    defined = np.linalg.norm(upright[:, [0, 3]], axis=1) > 1e-3  # upside down there is no heading
    before, after = (heading(quat_of(r)).numpy() for r in (rotation, about_z * rotation))
    np.testing.assert_allclose((about_z.as_matrix() @ before)[defined], after[defined], atol=1e-7)


def test_heading_upside_down_is_finite():
    body = Rotation.from_rotvec([np.pi, 0.0, 0.0]) * STANDING
    frame = heading(quat_of(body))
    np.testing.assert_allclose(frame @ frame.T, np.eye(3), atol=1e-9)


@given(rotvecs)
@PATIENT
def test_matrices_become_the_quaternions_of_scipy_with_w_not_negative(rotvec):
    rotation = Rotation.from_rotvec(rotvec)
    quat = matrix_to_quat(torch.from_numpy(rotation.as_matrix()))
    assert (quat[:, 0] >= 0).all()
    expected = quat_of(rotation)
    sign = torch.sign((quat * expected).sum(-1, keepdim=True))  # at w = 0 either sign is right
    np.testing.assert_allclose(quat, sign * expected, atol=1e-12)


@pytest.mark.parametrize("axis", [[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0], [0.6, 0.8, 0], [-0.6, 0, 0.8]])
def test_half_turns_keep_every_digit(axis):
    quat = matrix_to_quat(torch.from_numpy(Rotation.from_rotvec(np.pi * np.array(axis)).as_matrix()))
    np.testing.assert_allclose(abs(quat[1:] @ torch.tensor(axis, dtype=torch.float64)), 1.0, atol=1e-14)
    np.testing.assert_allclose(quat[0], 0.0, atol=1e-14)
