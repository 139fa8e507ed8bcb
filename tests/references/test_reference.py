"""References: velocities that belong to their postures, and files that are whole or refused."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace

import mujoco
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from scipy.spatial.transform import Rotation

from musclewarp.errors import FileError
from musclewarp.files import read_arrays, write_arrays
from musclewarp.references import Reference, make_reference
from musclewarp.references.reference import differentiate

ARRAYS = ("qpos", "qvel", "site_positions", "target_positions")
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def saved(arms_reference, tmp_path):
    return arms_reference.save(tmp_path / "wave.ref.safetensors")


def test_a_saved_reference_returns_bit_for_bit(arms, arms_reference, saved):
    loaded = Reference.load(saved, arms)
    for key in ARRAYS:
        array = getattr(loaded, key)
        assert array.dtype == np.float64
        np.testing.assert_array_equal(array, getattr(arms_reference, key))
    for key in ("name", "model", "model_hash", "dt", "sites", "quality", "source"):
        assert getattr(loaded, key) == getattr(arms_reference, key)


def test_the_header_is_json_with_units(arms, saved):
    with safe_open(saved, framework="numpy") as file:
        header = json.loads(file.metadata()["musclewarp"])
    assert header["kind"] == "reference"
    assert header["dt"] == arms.physics.control_dt
    assert "radians" in header["units"]
    assert "wxyz" in header["units"]


def test_a_reference_of_another_model_is_refused_with_both_names(body, saved):
    with pytest.raises(FileError, match=r"wave\.ref\.safetensors: .* for model 'bimanual', not 'myofu"):
        Reference.load(saved, body)


def test_a_reference_of_another_version_of_the_model_is_refused_with_the_remedy(arms, arms_reference, tmp_path):
    path = replace(arms_reference, model_hash="0" * 64).save(tmp_path / "old.ref.safetensors")
    with pytest.raises(FileError, match=rf"old\.ref.*00000000.*{arms.hash[:8]}.*retarget the clip again"):
        Reference.load(path, arms)


def test_a_reference_with_arrays_of_another_width_is_refused(arms, arms_reference):
    narrow = replace(arms_reference, qpos=arms_reference.qpos[:, 1:])
    with pytest.raises(FileError, match="retarget again"):
        narrow.check_model(arms)


def test_a_file_of_another_kind_is_refused(tmp_path):
    path = write_arrays(tmp_path / "trial.safetensors", {"qpos": np.zeros((2, 3))}, {}, "trial", 1)
    with pytest.raises(FileError, match=r"'trial'.*'reference'"):
        Reference.load(path)


@pytest.mark.parametrize("key", ["qvel", "model_hash", "dt", "sites"])
def test_a_file_that_lacks_a_part_is_refused_by_name(saved, key):
    arrays, header = read_arrays(saved, "reference", 1)
    arrays.pop(key, None)
    header.pop(key, None)
    kind, version = header.pop("kind"), header.pop("version")
    write_arrays(saved, arrays, header, kind, version)
    with pytest.raises(FileError, match=rf"wave\.ref\.safetensors: incomplete reference.*{key}"):
        Reference.load(saved)


def test_a_file_cut_anywhere_is_a_file_error(saved):
    content = saved.read_bytes()
    for size in range(0, len(content), 10):
        saved.write_bytes(content[:size])
        with pytest.raises(FileError):
            Reference.load(saved)


@given(st.data())
@PATIENT
def test_damaged_bytes_never_raise_anything_but_a_file_error(arms, arms_reference, tmp_path, data):
    path = arms_reference.save(tmp_path / "damaged.ref.safetensors")
    content = bytearray(path.read_bytes())
    header = 8 + int.from_bytes(content[:8], "little")
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, header - 1) | st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content))
    with contextlib.suppress(FileError):
        Reference.load(path, arms)


HEADER_KEYS = ("name", "model", "model_hash", "dt", "sites", "quality", "source")
anything = st.none() | st.booleans() | st.integers() | st.floats(0, 1) | st.text(max_size=3) | st.just([1])


@given(st.dictionaries(st.sampled_from(HEADER_KEYS), anything, min_size=1))
@example({"model_hash": None})
@example({"dt": 10**400})
@PATIENT
def test_a_header_of_wrong_types_never_raises_anything_but_a_file_error(arms, arms_reference, tmp_path, changes):
    path = arms_reference.save(tmp_path / "odd.ref.safetensors")
    arrays, header = read_arrays(path, "reference", 1)
    kind, version = header.pop("kind"), header.pop("version")
    write_arrays(path, arrays, header | changes, kind, version)
    with contextlib.suppress(FileError):
        Reference.load(path, arms)


@pytest.mark.parametrize("key", ARRAYS)
@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_numbers_that_are_not_finite_are_refused_with_their_frame(arms_reference, key, value):
    array = getattr(arms_reference, key).copy()
    array[7, -1] = value
    array[9, -1] = value
    with pytest.raises(FileError, match=rf"'wave': {key} is not finite in frame 7"):
        replace(arms_reference, **{key: array})


def test_arrays_of_different_lengths_are_refused(arms_reference):
    with pytest.raises(FileError, match=r"qvel has 11 frames, qpos 12"):
        replace(arms_reference, qvel=arms_reference.qvel[1:])


def test_one_frame_is_no_reference(arms_reference):
    with pytest.raises(FileError, match=r"1 frames.*at least 2"):
        replace(arms_reference, **{key: getattr(arms_reference, key)[:1] for key in ARRAYS})


def test_activations_are_saved_and_loaded_bit_for_bit(arms, arms_reference, tmp_path):
    activations = np.random.default_rng(0).uniform(size=(12, arms.mj_model.nu))
    path = replace(arms_reference, activations=activations).save(tmp_path / "known.ref.safetensors")
    np.testing.assert_array_equal(Reference.load(path, arms).activations, activations)


def test_a_reference_without_activations_has_none_after_loading(arms, saved):
    assert Reference.load(saved, arms).activations is None


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_activations_outside_zero_to_one_are_refused(arms, arms_reference, value):
    activations = np.full((12, arms.mj_model.nu), 0.5)
    activations[3, 5] = value
    with pytest.raises(FileError, match="'wave': activations"):
        replace(arms_reference, activations=activations)


@pytest.mark.parametrize("dt", [0.0, -0.02, float("nan"), 1.5])
def test_a_dt_that_is_none_is_refused(arms_reference, dt):
    with pytest.raises(FileError, match="dt is"):
        replace(arms_reference, dt=dt)


def test_duration_is_from_first_to_last_frame(arms_reference):
    assert arms_reference.duration == pytest.approx(11 * arms_reference.dt)


@pytest.mark.parametrize("name", ["arms", "body"])
def test_made_references_satisfy_couplings_in_position_and_velocity(name, request, movement):
    model = request.getfixturevalue(name)
    off = movement(model, 5, 0.02)
    off[:, model.couplings.dependent_qpos] += 0.1
    reference = make_reference(model, off, 0.02, "off")
    m, data = model.mj_model, mujoco.MjData(model.mj_model)
    equality = m.eq_type == mujoco.mjtEq.mjEQ_JOINT
    assert equality.sum() == len(model.couplings.dependent)
    for qpos, qvel in zip(reference.qpos, reference.qvel, strict=True):
        data.qpos[:], data.qvel[:] = qpos, qvel
        mujoco.mj_forward(m, data)
        rows = data.efc_type == mujoco.mjtConstraint.mjCNSTR_EQUALITY
        np.testing.assert_allclose(data.efc_pos[rows], 0, atol=1e-9)
        np.testing.assert_allclose(data.efc_vel[rows], 0, atol=1e-9)


@pytest.mark.parametrize("name", ["arms", "body"])
def test_site_positions_are_those_of_mujoco(name, request):
    model, reference = request.getfixturevalue(name), request.getfixturevalue(f"{name}_reference")
    data = mujoco.MjData(model.mj_model)
    for qpos, sites in zip(reference.qpos, reference.site_positions, strict=True):
        data.qpos[:] = qpos
        mujoco.mj_kinematics(model.mj_model, data)
        np.testing.assert_allclose(sites, data.site_xpos[model.site_ids], atol=1e-12)


@pytest.mark.parametrize("name", ["arms", "body"])
def test_qvel_integrates_back_to_qpos_to_second_order(name, request, movement):
    model = request.getfixturevalue(name)
    m, difference = model.mj_model, np.zeros(model.mj_model.nv)

    def error(dt: float) -> float:
        """Largest distance, rad or m, of a midpoint step over the same second of movement."""
        qpos = movement(model, round(0.6 / dt) + 1, dt)
        qvel = differentiate(model, qpos, dt)
        worst = 0.0
        for t in range(1, len(qpos) - 1):
            ahead = qpos[t - 1].copy()
            mujoco.mj_integratePos(m, ahead, qvel[t], 2 * dt)
            mujoco.mj_differentiatePos(m, difference, 1.0, qpos[t + 1], ahead)
            worst = max(worst, np.abs(difference[model.couplings.independent]).max())
        return worst

    coarse, fine = error(0.04), error(0.02)
    # independent joints come back exactly; what the turning root leaves is of third order in a step, second overall
    assert fine < 1e-3
    assert fine <= coarse / 6 + 1e-12


def test_velocities_of_smooth_joints_are_right_to_second_order(arms):
    joint, errors = arms.joint_qpos[4], []
    dof = list(arms.joint_dofs)[4]
    for dt in (0.02, 0.01):
        time = dt * np.arange(round(1 / dt))
        qpos = np.tile(arms.mj_model.qpos0, (len(time), 1))
        qpos[:, joint] += 0.3 * np.sin(5 * time)
        errors.append(np.abs(differentiate(arms, qpos, dt)[1:-1, dof] - 1.5 * np.cos(5 * time[1:-1])).max())
    assert errors[0] < 3e-3
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.05)


def test_velocities_at_the_ends_are_right_to_second_order_too(body):
    errors = []
    for dt in (0.02, 0.01):
        time = dt * np.arange(9)
        qpos = np.tile(body.mj_model.qpos0, (9, 1))
        qpos[:, :3] += np.stack([np.sin(5 * time), np.cos(4 * time), time**3], 1)
        turned = Rotation.from_rotvec(np.sin(5 * time)[:, None] * [0.6, 0.0, 0.8])
        qpos[:, 3:7] = turned.as_quat(scalar_first=True)
        qvel = differentiate(body, qpos, dt)
        linear = np.stack([5 * np.cos(5 * time), -4 * np.sin(4 * time), 3 * time**2], 1)
        angular = 5 * np.cos(5 * time)[:, None] * [0.6, 0.0, 0.8]
        errors.append(np.abs(qvel[:, :6] - np.hstack([linear, angular]))[[0, -1]].max())
    assert errors[0] < 0.03
    assert errors[0] / errors[1] > 3.4


@pytest.mark.parametrize("spin", [[2.0, 0, 0], [0, -1.5, 0], [0.5, 1.0, -2.0]])
def test_angular_velocity_of_the_root_is_exact_and_local_at_a_constant_rate(body, spin):
    dt, start = 0.02, Rotation.from_rotvec([0.3, -0.8, 1.1])
    time = dt * np.arange(9)
    qpos = np.tile(body.mj_model.qpos0, (len(time), 1))
    turned = start * Rotation.from_rotvec(time[:, None] * np.array(spin))  # `spin` is in the body's own axes
    qpos[:, 3:7] = turned.as_quat(scalar_first=True)
    qvel = differentiate(body, qpos, dt)
    np.testing.assert_allclose(qvel[:, 3:6], np.tile(spin, (len(time), 1)), atol=1e-9)


def test_angular_velocity_does_not_jump_where_a_quaternion_changes_sign(body):
    dt = 0.02
    qpos = np.tile(body.mj_model.qpos0, (9, 1))
    turned = Rotation.from_rotvec(dt * np.arange(9)[:, None] * np.array([0.0, 0.0, 3.0]))
    qpos[:, 3:7] = turned.as_quat(scalar_first=True)
    qpos[4:, 3:7] *= -1
    np.testing.assert_allclose(differentiate(body, qpos, dt)[:, 3:6], np.tile([0, 0, 3.0], (9, 1)), atol=1e-9)
