"""The bodies are the ones of the fact sheet."""

from __future__ import annotations

import copy
from collections.abc import Callable
from importlib.metadata import requires, version

import mujoco
import numpy as np
import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from musclewarp.errors import ConfigError, ModelError
from musclewarp.models import MuscleModel, PhysicsConfig, load_model, model_of_rate
from musclewarp.models.model import Layout
from musclewarp.models.surfaces import foot_geoms, lowest_foot_point

Get = Callable[..., MuscleModel]

# name, fingers: muscles, nq, nv, couplings, tracking sites, mass in kg
FACTS = {
    ("myofullbody", True): (416, 129, 128, 51, 17, 84.27),
    ("myofullbody", False): (354, 89, 88, 51, 17, 84.27),
    ("bimanual", True): (126, 76, 76, 22, 7, 16.53),
    ("bimanual", False): (64, 36, 36, 22, 7, 16.53),
}


@pytest.mark.parametrize(("name", "fingers"), FACTS)
def test_sizes_and_mass_are_those_of_the_fact_sheet(model_of: Get, name: str, fingers: bool):
    model = model_of(name, fingers)
    m = model.mj_model
    found = (m.nu, m.nq, m.nv, len(model.couplings.dependent), len(model.sites), round(float(m.body_mass.sum()), 2))
    assert found == FACTS[name, fingers]
    assert m.na == m.nu == len(model.muscles)


def test_excitations_are_limited_to_the_unit_interval(model: MuscleModel):
    assert model.mj_model.actuator_ctrllimited.all()
    np.testing.assert_array_equal(model.mj_model.actuator_ctrlrange, [[0.0, 1.0]] * model.mj_model.nu)


def test_mujoco_may_not_heal_a_world_in_silence(model: MuscleModel):
    assert model.mj_model.opt.disableflags & mujoco.mjtDisableBit.mjDSBL_AUTORESET
    assert model.mj_model.opt.jacobian == mujoco.mjtJacobian.mjJAC_DENSE


def test_time_is_cut_as_the_physics_config_says():
    model = load_model("bimanual", physics=PhysicsConfig(0.002, 10))
    assert model.mj_model.opt.timestep == 0.002
    assert model.physics.control_dt == pytest.approx(0.02)


@pytest.mark.parametrize("timestep", [0.0, -0.001, 0.05])
def test_timestep_out_of_range_is_an_error(timestep: float):
    with pytest.raises(ConfigError, match=r"physics.timestep is .* choose one in"):
        PhysicsConfig(timestep, 1)


def test_substeps_count_at_least_one():
    with pytest.raises(ConfigError, match=r"physics\.substeps is 0"):
        PhysicsConfig(0.004, 0)


def test_unknown_model_names_the_choices():
    with pytest.raises(ModelError, match="unknown model 'arm26'; choose one of bimanual, myofullbody"):
        load_model("arm26")


def test_unknown_sensor_is_named(model: MuscleModel):
    with pytest.raises(ModelError, match=f"model '{model.name}' has no sensor 'tail_pos'"):
        model.sensor_slice("tail_pos")


def test_tracking_sites_lie_at_the_origins_of_their_bodies(model: MuscleModel):
    data = mujoco.MjData(model.mj_model)
    mujoco.mj_kinematics(model.mj_model, data)
    np.testing.assert_allclose(data.site_xpos[model.site_ids], data.xpos[model.site_body_ids], atol=1e-12)
    assert len(set(model.site_body_ids.tolist())) == len(model.sites)


def test_fixing_fingers_moves_no_tracking_site(model_of: Get):
    poses = []
    for fingers in (False, True):
        model = model_of("bimanual", fingers)
        data = mujoco.MjData(model.mj_model)
        mujoco.mj_kinematics(model.mj_model, data)
        poses.append(data.site_xpos[model.site_ids])
    np.testing.assert_allclose(*poses, atol=1e-9)


def test_remaining_muscles_are_unchanged_by_fixing_fingers(model_of: Get):
    fixed, free = model_of("myofullbody").muscles, model_of("myofullbody", True).muscles
    assert set(fixed.index) < set(free.index)
    columns = ["peak_force", "optimal_fibre_length", "tendon_slack_length"]
    np.testing.assert_allclose(fixed[columns], free.loc[fixed.index, columns], atol=1e-9)


def test_a_person_stands_about_a_metre_from_pelvis_to_sole(model_of: Get):
    assert 0.85 < model_of("myofullbody").standing_root_height < 1.05


def test_lowest_foot_point_touches_the_floor_where_mujoco_finds_contact(model_of: Get):
    model = model_of("myofullbody")
    m, data = model.mj_model, mujoco.MjData(model.mj_model)
    mujoco.mj_kinematics(m, data)
    height = lowest_foot_point(model, data)
    for offset, touches in ((-1e-4, True), (5e-3, False)):
        data.qpos[:] = m.qpos0
        data.qpos[2] += offset - height
        mujoco.mj_fwdPosition(m, data)
        floor = m.geom("floor").id
        assert any(floor in contact.geom for contact in data.contact) == touches


def test_a_touch_begins_without_force_and_standing_feet_lie_less_than_2_mm_deep(model_of: Get):
    model = model_of("myofullbody")
    m, data = copy.copy(model.mj_model), mujoco.MjData(model.mj_model)
    m.dof_damping[6:] = 1e6  # nobody holds this person up: joints that hardly move do
    mujoco.mj_kinematics(m, data)
    data.qpos[2] -= lowest_foot_point(model, data) - 1e-3
    floor, weight = model.sensor_slice("floor"), m.body_mass.sum() * 9.81
    force, depth = np.zeros(150), np.zeros(150)
    for step in range(len(force)):
        mujoco.mj_step(m, data)
        force[step] = abs(data.sensordata[floor][3]) / weight
        depth[step] = -min(contact.dist for contact in data.contact if 0 in contact.geom)
    assert force[0] < 0.01
    assert force[100:].mean() == pytest.approx(1.0, abs=0.1)
    assert depth[100:].max() < 2e-3


def test_arms_have_no_standing_height(model_of: Get):
    with pytest.raises(ModelError, match="model 'bimanual' has no feet"):
        _ = model_of("bimanual").standing_root_height


def test_dof_names_are_one_for_each_dof_and_unique(model: MuscleModel):
    assert len(set(model.dof_names)) == model.mj_model.nv


def test_independent_joints_exclude_coupled_ones_and_the_root(model: MuscleModel):
    assert not set(model.joint_dofs) & set(model.couplings.dependent)
    assert len(model.joint_dofs) == len(model.couplings.independent) - 6 * model.has_free_root


def test_hash_tells_persons_apart_and_not_time_steps(model_of: Get):
    person = model_of("bimanual").hash
    assert load_model("bimanual", physics=PhysicsConfig(0.002, 5)).hash == person
    assert len({person, model_of("bimanual", True).hash, model_of("myofullbody").hash}) == 3


# every one of them changes how somebody moves, or what a posture means
PERSON = """
    body_parentid body_pos body_quat body_mass body_ipos body_iquat body_inertia body_gravcomp
    jnt_type jnt_bodyid jnt_pos jnt_axis jnt_limited jnt_range jnt_margin jnt_stiffness jnt_stiffnesspoly
    jnt_actfrclimited jnt_actfrcrange qpos0 qpos_spring dof_armature dof_damping dof_dampingpoly dof_frictionloss
    geom_bodyid geom_type geom_pos geom_quat geom_size geom_contype geom_conaffinity
    pair_geom1 pair_geom2 exclude_signature eq_type eq_objtype eq_obj1id eq_obj2id eq_active0 eq_data
    site_bodyid site_pos site_quat wrap_type wrap_objid wrap_prm
    tendon_adr tendon_num tendon_limited tendon_range tendon_stiffness tendon_lengthspring tendon_armature
    tendon_damping tendon_frictionloss actuator_trntype actuator_trnid actuator_gear actuator_dyntype actuator_dynprm
    actuator_gaintype actuator_gainprm actuator_biastype actuator_biasprm actuator_lengthrange actuator_forcerange
""".split()  # noqa: SIM905
PHYSICS = ["geom_friction", "geom_solref", "geom_solimp", "jnt_solref", "eq_solimp", "pair_friction", "pair_solref"]
LOOKS = ["geom_rgba", "tendon_rgba", "tendon_width", "site_size"]


def changed(model: MuscleModel, field: str, row: int = -1) -> MuscleModel:
    """A copy of `model` with the first number in a row of a field of its MjModel changed."""
    other = copy.copy(model)
    vars(other).pop("hash", None)
    other.mj_model = copy.copy(model.mj_model)
    values = getattr(other.mj_model, field).reshape(len(getattr(other.mj_model, field)), -1)
    values[row, 0] = not values[row, 0] if values.dtype == bool else values[row, 0] + 1
    return other


@pytest.mark.parametrize("field", PERSON)
def test_hash_tells_apart_whom_one_number_tells_apart(model_of: Get, field: str):
    model = model_of("bimanual")
    solid = np.flatnonzero(model.mj_model.geom_type != mujoco.mjtGeom.mjGEOM_MESH)[-1]
    assert changed(model, field, solid if field.startswith("geom_") else -1).hash != model.hash


@pytest.mark.parametrize("field", PHYSICS + LOOKS)
def test_hash_does_not_know_physics_options_and_looks(model_of: Get, field: str):
    model = model_of("bimanual")
    assert changed(model, field).hash == model.hash


def test_hash_does_not_know_how_a_mesh_is_placed(model_of: Get):
    model = model_of("bimanual")
    mesh = np.flatnonzero(model.mj_model.geom_type == mujoco.mjtGeom.mjGEOM_MESH)[0]
    assert changed(model, "geom_pos", mesh).hash == model.hash


def test_a_ball_joint_is_refused_by_name():
    spec = mujoco.MjSpec()
    hip = spec.worldbody.add_body(name="thigh")
    hip.add_geom(size=[0.1, 0.1, 0.1])
    hip.add_joint(name="hip", type=mujoco.mjtJoint.mjJNT_BALL)
    layout = Layout(sites={"hip": "thigh"}, feet={}, floor="", arena_bytes=1 << 20, finger_parents=())
    with pytest.raises(ModelError, match="joint 'hip' of model 'marionette' is a ball"):
        MuscleModel("marionette", spec, layout, PhysicsConfig())


@pytest.mark.parametrize("kind", ["BOX", "MESH", "CYLINDER"])
def test_a_foot_of_another_shape_has_no_lowest_point(model_of: Get, kind: str):
    model = copy.copy(model_of("myofullbody"))
    model.mj_model = m = copy.copy(model.mj_model)
    m.geom_type[foot_geoms(model)[-1]] = getattr(mujoco.mjtGeom, f"mjGEOM_{kind}")
    data = mujoco.MjData(model_of("myofullbody").mj_model)
    with pytest.raises(ModelError, match=f"of model 'myofullbody' is a {kind.lower()},"):
        lowest_foot_point(model, data)


def test_a_sphere_is_lowest_a_radius_below_its_centre(model_of: Get):
    model = copy.copy(model_of("myofullbody"))
    model.mj_model = m = copy.copy(model.mj_model)
    data = mujoco.MjData(m)
    mujoco.mj_kinematics(m, data)
    geoms = foot_geoms(model)
    m.geom_type[geoms], m.geom_size[geoms] = mujoco.mjtGeom.mjGEOM_SPHERE, [0.02, 0.0, 0.0]
    assert lowest_foot_point(model, data) == pytest.approx(data.geom_xpos[geoms, 2].min() - 0.02)


def test_package_requires_the_models_with_a_mended_left_knee():
    """1.0.5 has a sign error in the left knee."""
    assert Version(version("musclemimic-models")) >= Version("1.0.6")
    try:
        needed = [Requirement(text) for text in requires("musclewarp") or ()]
    except ImportError:
        pytest.skip("musclewarp is not installed, so it declares no requirements")
    [models] = [r for r in needed if r.name == "musclemimic-models" and not r.marker]
    assert "1.0.5" not in models.specifier
    assert "1.0.6" in models.specifier


def test_no_body_turns_as_if_it_were_larger_than_a_person(arms, body):
    """Phantom bodies of a gram: at most 0.01 kg m^2, a hundredth of what the trunk has."""
    for model in (arms, body):
        m = model.mj_model
        light = m.body_mass < 0.01
        light[m.body("thorax").id] = False
        assert m.body_inertia[light].max() <= 0.0101


def test_a_model_of_a_rate_is_stepped_four_times_in_each_of_its_frames(arms):
    model = model_of_rate("bimanual", 0.04)
    assert (model.hash, model.physics.substeps) == (arms.hash, 4)
    assert model.physics.control_dt == pytest.approx(0.04)
    assert model_of_rate("bimanual_fingers", 0.02).name == "bimanual_fingers"
