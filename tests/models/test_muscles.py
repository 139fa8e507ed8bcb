"""The muscle table and moment arms."""

from __future__ import annotations

from collections.abc import Callable

import mujoco
import numpy as np
import pytest
import torch

from musclewarp.models import MuscleModel, moment_arms
from musclewarp.models.muscles import joint_group

Get = Callable[..., MuscleModel]


def test_table_follows_the_actuators(model: MuscleModel):
    names = [model.mj_model.actuator(i).name for i in range(model.mj_model.nu)]
    assert list(model.muscles.index) == names
    assert model.muscles.index.name == "muscle"
    assert (model.muscles["peak_force"] > 0).all()
    assert (model.muscles[["time_activation", "time_deactivation", "max_velocity"]] > 0).all().all()


def test_limb_muscles_come_in_equal_pairs(model: MuscleModel):
    table = model.muscles[model.muscles["group"] != "trunk"]
    assert (table["side"] == "left").sum() == (table["side"] == "right").sum()
    right = table[table["side"] == "right"]
    left = table[table["side"] == "left"]
    columns = ["peak_force", "time_activation", "time_deactivation", "max_velocity"]
    for group in right["group"].unique():
        a, b = right[right["group"] == group][columns], left[left["group"] == group][columns]
        np.testing.assert_allclose(np.sort(a, axis=0), np.sort(b, axis=0), rtol=1e-6, err_msg=group)


def test_implied_lengths_of_one_muscle_are_those_computed_by_hand(model_of: Get):
    """L = (l - LT) / L0 must be r0 and r1 at the ends of the length range."""
    model = model_of("bimanual")
    name = "BIClong"
    actuator = model.mj_model.actuator(name)
    (l0, l1), (r0, r1) = actuator.lengthrange, actuator.gainprm[:2]
    row = model.muscles.loc[name]
    assert (l0 - row["tendon_slack_length"]) / row["optimal_fibre_length"] == pytest.approx(r0)
    assert (l1 - row["tendon_slack_length"]) / row["optimal_fibre_length"] == pytest.approx(r1)
    assert 0.05 < row["optimal_fibre_length"] < 0.3
    assert row["peak_force"] == actuator.gainprm[2]


def test_moment_arms_equal_finite_differences_of_muscle_length(model: MuscleModel):
    m, couplings, h = model.mj_model, model.couplings, 1e-6
    qpos = couplings.project_qpos(torch.as_tensor(m.qpos0.copy()))
    arms = moment_arms(m, couplings, qpos.numpy())
    data = mujoco.MjData(m)

    def lengths(posture: torch.Tensor) -> np.ndarray:
        data.qpos[:] = couplings.project_qpos(posture)
        mujoco.mj_fwdPosition(m, data)
        return data.actuator_length.copy()

    for dof in model.joint_dofs[::4]:
        step = torch.zeros_like(qpos)
        step[m.jnt_qposadr[m.dof_jntid[dof]]] = h
        numerical = (lengths(qpos + step) - lengths(qpos - step)) / (2 * h)
        column = list(couplings.independent).index(dof)
        np.testing.assert_allclose(arms[:, column], numerical, atol=2e-6, err_msg=model.dof_names[dof])


def test_flexors_shorten_and_extensors_lengthen_with_the_elbow(model_of: Get):
    model = model_of("bimanual")
    qpos = model.mj_model.qpos0.copy()
    qpos[model.mj_model.joint("elbow_flex_r").qposadr[0]] = 1.2  # in the straight arm a flexor has no lever
    arms = moment_arms(model.mj_model, model.couplings, qpos)
    elbow = list(model.couplings.independent).index(model.dof_names.index("elbow_flex_r"))
    column = dict(zip(model.muscles.index, arms[:, elbow], strict=True))
    assert column["BRA"] < -0.005, "the brachialis flexes"
    assert column["TRIlong"] > 0.005, "the triceps extends"


@pytest.mark.parametrize(
    ("joint", "group"),
    [("knee_angle_r", "knee"), ("hip_flexion_l", "hip"), ("elbow_flex_r", "elbow"), ("root", "other")],
)
def test_joint_names_fall_into_groups(joint: str, group: str):
    assert joint_group(joint) == group


def test_every_muscle_has_a_group(model: MuscleModel):
    assert "other" not in set(model.muscles["group"])
