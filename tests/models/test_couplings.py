"""Couplings hold exactly after projection, and their derivatives are derivatives."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from musclewarp.errors import ModelError
from musclewarp.models import Couplings, MuscleModel, load_model

NAMES = ["bimanual", "myofullbody"]


def random_qpos(model: MuscleModel, seed: int, spread: float = 0.5) -> torch.Tensor:
    """Independent joints within `spread` of their ranges about the middle, coupled ones anywhere."""
    rng = np.random.default_rng(seed)
    low, high = model.mj_model.jnt_range[model.mj_model.dof_jntid[model.joint_dofs]].T
    qpos = model.mj_model.qpos0 + rng.normal(scale=0.1, size=model.mj_model.nq)
    qpos[model.joint_qpos] = (low + high) / 2 + spread * (high - low) * rng.uniform(-0.5, 0.5, len(low))
    return torch.as_tensor(qpos)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_projection_leaves_no_residual_and_touches_only_dependents(name: str, seed: int):
    model = _model(name)
    qpos = random_qpos(model, seed)
    projected = model.couplings.project_qpos(qpos)
    assert model.couplings.residual(projected).abs().max() == 0
    others = np.setdiff1d(np.arange(model.mj_model.nq), model.couplings.dependent_qpos)
    assert torch.equal(projected[others], qpos[others])
    assert torch.equal(model.couplings.project_qpos(projected), projected)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_slopes_equal_finite_differences_of_the_projection(name: str, seed: int):
    couplings = (model := _model(name)).couplings
    qpos, h = random_qpos(model, seed), 1e-6
    moving = np.flatnonzero(couplings.driver >= 0)
    forward, back = qpos.clone(), qpos.clone()
    drivers = np.unique(couplings.driver_qpos[moving])
    forward[drivers] += h
    back[drivers] -= h
    difference = (couplings.project_qpos(forward) - couplings.project_qpos(back)) / (2 * h)
    expected = difference[couplings.dependent_qpos[moving]]
    torch.testing.assert_close(couplings.slopes(qpos)[moving], expected, atol=1e-7, rtol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_projected_velocities_move_along_the_couplings(name: str):
    couplings = (model := _model(name)).couplings
    qpos = couplings.project_qpos(random_qpos(model, 1))
    qvel = torch.as_tensor(np.random.default_rng(2).normal(size=model.mj_model.nv))
    projected = couplings.project_qvel(qpos, qvel)
    assert torch.equal(projected[couplings.independent], qvel[couplings.independent])
    moved, h = qpos.numpy().copy(), 1e-6
    mujoco.mj_integratePos(model.mj_model, moved, projected.numpy(), h)
    assert couplings.residual(torch.as_tensor(moved)).abs().max() < 100 * h * h


@pytest.mark.parametrize("name", NAMES)
def test_mujoco_agrees_that_a_projected_posture_satisfies_its_equalities(name: str):
    model = _model(name)
    data = mujoco.MjData(model.mj_model)
    data.qpos[:] = model.couplings.project_qpos(random_qpos(model, 3))
    mujoco.mj_fwdPosition(model.mj_model, data)
    equality = data.efc_type == mujoco.mjtConstraint.mjCNSTR_EQUALITY
    assert equality.sum() == len(model.couplings.dependent)
    assert np.abs(data.efc_pos[equality]).max() < 1e-12


@pytest.mark.parametrize("name", NAMES)
def test_methods_take_any_batch_shape(name: str):
    couplings = (model := _model(name)).couplings
    qpos = torch.stack([random_qpos(model, seed) for seed in range(6)]).reshape(2, 3, -1)
    qvel = torch.ones(2, 3, model.mj_model.nv, dtype=torch.float64)
    batched = couplings.project_qpos(qpos), couplings.project_qvel(qpos, qvel), couplings.slopes(qpos)
    for i in range(2):
        for j in range(3):
            single = (
                couplings.project_qpos(qpos[i, j]),
                couplings.project_qvel(qpos[i, j], qvel[i, j]),
                couplings.slopes(qpos[i, j]),
            )
            assert all(torch.equal(whole[i, j], one) for whole, one in zip(batched, single, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_reduced_columns_equal_finite_differences_along_the_couplings(name: str):
    """dl/dq of every muscle, moved along one independent joint with its coupled joints following."""
    model = _model(name)
    m, couplings, h = model.mj_model, model.couplings, 1e-6
    qpos = couplings.project_qpos(random_qpos(model, 4, spread=0.3))
    data = mujoco.MjData(m)

    def lengths(posture: torch.Tensor) -> np.ndarray:
        data.qpos[:] = couplings.project_qpos(posture)
        mujoco.mj_fwdPosition(m, data)
        return data.actuator_length.copy()

    lengths(qpos)
    dense = np.zeros((m.nu, m.nv))
    mujoco.mju_sparse2dense(dense, data.actuator_moment, data.moment_rownnz, data.moment_rowadr, data.moment_colind)
    reduced = couplings.reduce_columns(qpos, torch.as_tensor(dense)).numpy()
    assert reduced.shape == (m.nu, len(couplings.independent))
    for column, dof in enumerate(couplings.independent):
        if dof not in model.joint_dofs:
            continue
        step = torch.zeros_like(qpos)
        step[m.jnt_qposadr[m.dof_jntid[dof]]] = h
        numerical = (lengths(qpos + step) - lengths(qpos - step)) / (2 * h)
        np.testing.assert_allclose(reduced[:, column], numerical, atol=2e-6, err_msg=model.dof_names[dof])


def test_left_knee_moves_like_the_right():
    """musclemimic-models 1.0.5 had a sign of the left knee wrong; polynomials and the path of the shin must agree."""
    model = _model("myofullbody")
    m, couplings, names = model.mj_model, model.couplings, model.dof_names
    row = {names[dof]: couplings.coefficients[i] for i, dof in enumerate(couplings.dependent)}
    knee = [name for name in row if name.startswith("knee") and name.endswith("_r")]
    assert len(knee) == 7
    for name in knee:
        np.testing.assert_allclose(row[name], row[f"{name[:-1]}l"], atol=1e-12, err_msg=name)
    data = mujoco.MjData(m)
    for angle in (0.0, 0.5, 1.0, 1.5):
        for side in "rl":
            data.qpos[m.joint(f"knee_angle_{side}").qposadr[0]] = angle
        data.qpos[:] = couplings.project_qpos(torch.as_tensor(data.qpos.copy()))
        data.qpos[:7] = m.qpos0[:7]
        mujoco.mj_kinematics(m, data)
        for body in ("tibia", "patella", "talus"):
            femurs = [data.body(f"femur_{side}") for side in "rl"]
            shins = [data.body(f"{body}_{side}") for side in "rl"]
            right, left = (f.xmat.reshape(3, 3).T @ (b.xpos - f.xpos) for f, b in zip(femurs, shins, strict=True))
            np.testing.assert_allclose(left, right * [1, 1, -1], atol=1e-4, err_msg=f"{body} at {angle} rad")


TINY = """<mujoco><worldbody><body><joint name="a"/><joint name="b"/><joint name="c"/>{extra}<geom size=".1"/></body>
</worldbody><equality>{equalities}</equality></mujoco>"""


def tiny(equalities: str, extra: str = "") -> mujoco.MjModel:
    return mujoco.MjModel.from_xml_string(TINY.format(equalities=equalities, extra=extra))


def test_driver_that_is_itself_coupled_is_an_error():
    chain = '<joint joint1="a" joint2="b"/><joint joint1="b" joint2="c"/>'
    with pytest.raises(ModelError, match="joint 'a' is driven by 'b', itself coupled"):
        Couplings.from_model(tiny(chain))


def test_joint_coupled_twice_is_an_error():
    with pytest.raises(ModelError, match="first joint of two equalities"):
        Couplings.from_model(tiny('<joint joint1="a" joint2="b"/><joint joint1="a" joint2="c"/>'))


def test_locked_joint_has_no_slope_and_an_inactive_equality_is_no_coupling():
    locked = '<joint joint1="a" polycoef="0.3 0 0 0 0"/><joint joint1="b" joint2="c" active="false"/>'
    couplings = Couplings.from_model(tiny(locked))
    qpos = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    assert couplings.project_qpos(qpos).tolist() == [0.3, 2.0, 3.0]
    assert couplings.project_qvel(qpos, torch.ones_like(qpos)).tolist() == [0.0, 1.0, 1.0]
    assert couplings.reduce_columns(qpos, torch.ones(1, 3, dtype=torch.float64)).tolist() == [[1.0, 1.0]]


def test_polynomial_is_the_one_of_the_documentation():
    couplings = Couplings.from_model(tiny('<joint joint1="a" joint2="b" polycoef="1 2 3 4 5"/>'))
    x = 0.7
    projected = couplings.project_qpos(torch.tensor([0.0, x, 0.0], dtype=torch.float64))
    assert projected[0].item() == pytest.approx(1 + 2 * x + 3 * x**2 + 4 * x**3 + 5 * x**4)


_models: dict[str, MuscleModel] = {}


def _model(name: str) -> MuscleModel:
    """Cached by hand: hypothesis does not reuse function-scoped fixtures."""
    if name not in _models:
        _models[name] = load_model(name)
    return _models[name]
