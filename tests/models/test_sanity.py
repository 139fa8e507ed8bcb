"""Each check finds the defect planted for it, on a copy of a model, and is silent without it."""

from __future__ import annotations

import copy
from collections.abc import Callable

import mujoco
import numpy as np
import pytest
import torch

from musclewarp.models import Couplings, MuscleModel
from musclewarp.models.excursion import muscle_lengths, sample_postures, sweep
from musclewarp.models.mirror import mirror_name
from musclewarp.models.sanity import CHECKS, KINDS, check_model, lengths, plausibility, symmetry

PERSON = """
<mujoco>
  <compiler angle="radian"/>
  <worldbody>
    <body name="trunk">
      <geom size=".1" mass="70"/>
      <site name="hook_r" pos="-.05 -.2 .15"/> <site name="hook_l" pos="-.05 .2 .15"/>
      <body name="arm_r" pos="0 -.2 0">
        <joint name="bend_r" axis="0 1 0" range="-1 1"/>
        <joint name="roll_r" axis="1 0 0" range="-.5 .2"/>
        <geom type="capsule" fromto="0 0 0 .3 0 0" size=".03" mass="2"/> <site name="hand_r" pos=".2 0 0"/>
      </body>
      <body name="arm_l" pos="0 .2 0">
        <joint name="bend_l" axis="0 1 0" range="-1 1"/>
        <joint name="roll_l" axis="1 0 0" range="-.2 .5"/>
        <geom type="capsule" fromto="0 0 0 .3 0 0" size=".03" mass="2"/> <site name="hand_l" pos=".2 0 0"/>
      </body>
    </body>
  </worldbody>
  <equality>
    <joint joint1="roll_r" joint2="bend_r" polycoef="0 .1 -.05 0 0"/>
    <joint joint1="roll_l" joint2="bend_l" polycoef="0 -.1 .05 0 0"/>
  </equality>
  <tendon>
    <spatial name="t_r"><site site="hook_r"/><site site="hand_r"/></spatial>
    <spatial name="t_l"><site site="hook_l"/><site site="hand_l"/></spatial>
  </tendon>
  <actuator>
    <muscle name="m_r" tendon="t_r" lengthrange=".15 .36" force="300" range=".6 1.5"/>
    <muscle name="m_l" tendon="t_l" lengthrange=".15 .36" force="300" range=".6 1.5"/>
  </actuator>
</mujoco>
"""

FLIP = """
<mujoco>
  <compiler angle="radian"/>
  <worldbody>
    <site name="start" pos="-.2 0 0"/> <site name="above" pos="0 .1 0"/>
    <geom name="bone" type="cylinder" size=".05 .1" contype="0" conaffinity="0"/>
    <body name="hand">
      <joint name="turn" axis="0 0 1" range="LOWEST 1"/>
      <geom size=".02" pos=".2 0 0" mass="1"/> <site name="end" pos=".2 0 0"/>
    </body>
  </worldbody>
  <tendon>
    <spatial name="t"><site site="start"/><geom geom="bone" sidesite="above"/><site site="end"/></spatial>
  </tendon>
  <actuator><muscle name="m" tendon="t" lengthrange=".3 .5" force="100"/></actuator>
</mujoco>
"""


@pytest.fixture
def person() -> mujoco.MjModel:
    """A flawless person of two arms whose lateral joints turn the other way."""
    return mujoco.MjModel.from_xml_string(PERSON)


def found(model: MuscleModel | mujoco.MjModel, *checks: Callable) -> dict[str, str]:
    """item -> kind of what is wrong."""
    table = check_model(model, checks)
    assert table["kind"].isin(list(KINDS)).all()
    return dict(zip(table["item"], table["kind"], strict=True))


def test_a_flawless_person_has_no_findings(person):
    table = check_model(person)
    assert table.empty, table["message"].tolist()
    assert list(table.columns) == ["severity", "kind", "item", "value", "expected", "excess", "message"]


def _scale(field: str, index: object, factor: float) -> Callable[[mujoco.MjModel], None]:
    def plant(model: mujoco.MjModel) -> None:
        getattr(model, field)[index] *= factor

    return plant


def _put(field: str, index: object, value: object) -> Callable[[mujoco.MjModel], None]:
    def plant(model: mujoco.MjModel) -> None:
        getattr(model, field)[index] = value

    return plant


DEFECTS = {  # what is planted: how, which check must find it, as what, at which item
    "NaN force": (_put("actuator_gainprm", (1, 2), np.nan), None, "non_finite", "m_l"),
    "infinite polynomial": (_put("eq_data", (0, 1), np.inf), None, "non_finite", "0"),
    "empty length range": (
        _put("actuator_lengthrange", 0, 0.2),
        plausibility.empty_length_ranges,
        "length_range",
        "m_r",
    ),
    "empty normalised range": (
        _put("actuator_gainprm", (0, slice(2)), 1.0),
        plausibility.empty_length_ranges,
        "length_range",
        "m_r",
    ),
    "fibres of 67 cm": (
        _put("actuator_lengthrange", 0, (0.6, 1.2)),
        plausibility.fibre_and_slack_lengths,
        "fibre_length",
        "m_r",
    ),
    "negative slack": (
        _put("actuator_lengthrange", 1, (0.05, 0.2)),
        plausibility.fibre_and_slack_lengths,
        "slack_length",
        "m_l",
    ),
    "range too narrow for its coupling": (
        _put("jnt_range", 1, (-0.1, 0.2)),
        plausibility.coupled_joints_in_range,
        "coupling_range",
        "roll_r",
    ),
    "reversed axis, half turned": (_put("jnt_axis", 3, (0.6, 0.8, 0)), symmetry.joints, "joint_symmetry", "roll_r"),
    "one range": (_put("jnt_range", 2, (-1.0, 0.9)), symmetry.joints, "range_symmetry", "bend_r"),
    "one coefficient": (_scale("eq_data", (1, 1), 1.1), symmetry.couplings, "coupling_symmetry", "roll_r"),
    "one sign, as in the left knee of 1.0.5": (
        _scale("eq_data", (1, slice(5)), -1.0),
        symmetry.couplings,
        "coupling_symmetry",
        "roll_r",
    ),
    "one coupling off": (_put("eq_active0", 1, 0), symmetry.couplings, "coupling_symmetry", "roll_r"),
    "one mass": (_scale("body_mass", 3, 1.1), symmetry.masses, "mass_symmetry", "arm_r"),
    "one inertia": (_scale("body_inertia", (2, 0), 1.1), symmetry.masses, "mass_symmetry", "arm_r"),
    "one peak force": (_scale("actuator_gainprm", (1, 2), 1.01), symmetry.muscle_parameters, "muscle_symmetry", "m_r"),
    "one time constant": (
        _scale("actuator_dynprm", (0, 0), 1.2),
        symmetry.muscle_parameters,
        "muscle_symmetry",
        "m_r",
    ),
    "one insertion": (
        _put("site_pos", (3, 0), 0.22),
        symmetry.moment_arms_mirrored,
        "moment_arm_symmetry",
        "m_r",
    ),
    "range too wide": (
        _put("actuator_lengthrange", 0, (0.15, 0.55)),
        lengths.length_ranges_attained,
        "length_unreached",
        "m_r",
    ),
    "range too narrow": (
        _put("actuator_lengthrange", 0, (0.19, 0.22)),
        lengths.length_ranges_attained,
        "length_exceeded",
        "m_r",
    ),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_planted_defect_is_found_and_only_it(defect, person):
    plant, check, kind, item = DEFECTS[defect]
    checks = (check,) if check else ()
    assert found(person, *checks) == {}
    plant(person)
    assert found(person, *checks) == {item: kind}


def test_a_number_that_is_not_finite_stops_the_other_checks(person):
    person.actuator_gainprm[0, 2] = np.nan
    assert set(check_model(person)["kind"]) == {"non_finite"}


@pytest.mark.parametrize(("lowest", "jumps"), [("-.5", False), ("-3.1", True)])
def test_a_tendon_that_flips_around_its_bone_is_found(lowest, jumps):
    model = mujoco.MjModel.from_xml_string(FLIP.replace("LOWEST", lowest))
    table = check_model(model, [lengths.wrap_jumps])
    assert table["item"].tolist() == ["m"] * jumps
    if jumps:  # from all the way round to straight
        assert 0.15 < table["value"].iloc[0] < 0.25


def test_a_muscle_without_a_partner_is_found():
    spec = mujoco.MjSpec.from_string(PERSON)
    assert found(spec.compile(), symmetry.unpaired) == {}
    spec.delete(spec.actuator("m_l"))
    assert found(spec.compile(), symmetry.unpaired) == {"m_r": "unpaired"}


def test_the_mass_of_a_whole_body_is_checked(body):
    model = copy.copy(body.mj_model)
    assert found(model, plausibility.total_mass) == {}
    model.body_mass[:] *= 0.5
    assert found(model, plausibility.total_mass) == {"body": "total_mass"}


def test_arms_alone_need_not_weigh_as_much_as_a_body(arms):
    assert arms.mj_model.body_mass.sum() < 20
    assert found(arms, plausibility.total_mass) == {}


def test_published_arms_have_no_error(arms):
    table = check_model(arms)
    assert set(table["severity"]) == {"warning"}
    assert "muscle_symmetry" not in set(table["kind"])


def test_published_body_has_the_flaws_that_others_counted(model_of):
    """160 of 416 negative slack lengths; the multifidus fascicle of 1.85 m (MyoHub/myo_sim, PR 123)."""
    table = check_model(model_of("myofullbody", True), [plausibility.fibre_and_slack_lengths])
    assert (table["kind"] == "slack_length").sum() == 160
    worst = table[table["kind"] == "fibre_length"].iloc[0]
    assert worst["item"].startswith("MF_m2t.1")
    assert worst["value"] == pytest.approx(1.85, abs=0.01)


def test_the_erector_on_the_wrong_side_is_found(body):
    """Both LTpT_T12 of musclemimic-models bend the trunk to the same side."""
    assert found(body, symmetry.moment_arms_mirrored) == {"LTpT_T12_r": "moment_arm_symmetry"}


def test_every_kind_has_a_remedy_and_errors_come_first(arms):
    assert all(kind.remedy and kind.severity in ("error", "warning") for kind in KINDS.values())
    model = copy.copy(arms.mj_model)
    model.actuator_lengthrange[0] = 0.3
    table = check_model(model, CHECKS[:3])
    severities = table["severity"].tolist()
    assert severities == sorted(severities)
    assert severities[0] == "error"
    for _, rows in table.groupby("kind"):
        assert rows["excess"].is_monotonic_decreasing


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("femur_r", "femur_l"),
        ("l_pelvis", "r_pelvis"),
        ("DELT1", "DELT1_left"),
        ("DELT1_left", "DELT1"),
        ("knee_angle_l_rotation2", "knee_angle_r_rotation2"),
        ("spine", "spine"),
        ("lone_r", None),
    ],
)
def test_names_have_partners(name, other):
    names = {"femur_r", "femur_l", "l_pelvis", "r_pelvis", "DELT1", "DELT1_left", "spine", "lone_r"}
    names |= {"knee_angle_l_rotation2", "knee_angle_r_rotation2"}
    assert mirror_name(name, frozenset(names)) == other


def test_sampled_postures_reach_both_ends_and_satisfy_the_couplings(arms):
    model = arms.mj_model
    qpos = sample_postures(model, arms.couplings, 200)
    joints = model.dof_jntid[arms.couplings.independent]
    angles = qpos[:, model.jnt_qposadr[joints]]
    np.testing.assert_allclose(angles.min(axis=0), model.jnt_range[joints, 0])
    np.testing.assert_allclose(angles.max(axis=0), model.jnt_range[joints, 1])
    assert float(arms.couplings.residual(torch.as_tensor(qpos)).abs().max()) < 1e-12


def test_slopes_of_a_sweep_are_the_derivatives_of_its_lengths(body):
    model = body.mj_model
    dof = body.dof_names.index("knee_angle_r")
    result = sweep(model, body.couplings, dof, 401)
    numerical = np.gradient(result.length, result.angle, axis=0)[1:-1]
    np.testing.assert_allclose(result.slope[1:-1], numerical, atol=5e-4)
    assert np.abs(result.slope).max() > 0.02


def test_lengths_are_those_of_mujoco(person):
    data = mujoco.MjData(person)
    qpos = sample_postures(person, Couplings.from_model(person), 5)
    length, rate = muscle_lengths(person, qpos)
    for posture, row in zip(qpos, length, strict=True):
        data.qpos[:] = posture
        mujoco.mj_forward(person, data)
        np.testing.assert_allclose(row, data.actuator_length, rtol=1e-12)
    assert (rate == 0).all()
