"""MS-Human-700 is the published person, on a free root."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
import torch

from musclewarp.errors import ModelError
from musclewarp.models import MuscleModel, load_model
from musclewarp.models.kinematics import Kinematics
from musclewarp.models.mirror import Mirror
from musclewarp.models.sanity import check_model, plausibility, symmetry


@pytest.fixture(scope="module")
def published(data_root):
    """The model as it is published."""
    path = data_root / "models" / "ms_human_700" / "scene.xml"
    return mujoco.MjModel.from_xml_path(str(path.resolve()))


def test_sizes_and_mass_are_those_of_the_fact_sheet(ms_human: MuscleModel):
    m = ms_human.mj_model
    assert (m.nu, m.nv, m.nbody, len(ms_human.couplings.dependent)) == (700, 85, 81, 42)
    assert len(ms_human.couplings.independent) == 6 + 37
    assert m.body_mass.sum() == pytest.approx(60.2, abs=0.05)


def test_the_root_is_free_and_everything_below_it_the_published_one(ms_human: MuscleModel, published: mujoco.MjModel):
    m = ms_human.mj_model
    assert [m.joint(j).name for j in range(m.njnt)] == ["root", *(published.joint(j).name for j in range(6, 85))]
    np.testing.assert_array_equal(m.jnt_range[1:], published.jnt_range[6:])
    for field in ("actuator_gainprm", "actuator_lengthrange", "body_mass", "body_inertia", "eq_data"):
        np.testing.assert_array_equal(getattr(m, field), getattr(published, field), err_msg=field)
    assert m.jnt_type[0] == mujoco.mjtJoint.mjJNT_FREE


def test_muscles_are_as_long_as_the_published_ones_in_any_posture(ms_human: MuscleModel, published: mujoco.MjModel):
    m = ms_human.mj_model
    ours, theirs = mujoco.MjData(m), mujoco.MjData(published)
    rng = np.random.default_rng(0)
    for _ in range(3):
        theirs.qpos[6:] = rng.uniform(*published.jnt_range[6:].clip(-1, 1).T)
        ours.qpos[7:] = theirs.qpos[6:]
        for model, data in ((m, ours), (published, theirs)):
            mujoco.mj_fwdPosition(model, data)
        np.testing.assert_allclose(ours.actuator_length, theirs.actuator_length, atol=1e-9)


def test_tracking_sites_have_the_names_of_the_other_whole_body_and_its_directions(
    ms_human: MuscleModel, body: MuscleModel
):
    assert ms_human.sites == body.sites
    poses = [Kinematics(m)(torch.from_numpy(m.mj_model.qpos0)[None], jacobian=False) for m in (ms_human, body)]
    ours, theirs = (pose.position[0] - pose.position[0, 0] for pose in poses)
    assert (ours - theirs).norm(dim=-1).max() < 0.13
    np.testing.assert_allclose(poses[0].rotation[0, 0], poses[1].rotation[0, 0], atol=1e-3)


def test_kinematics_of_all_sites_are_mujocos_also_where_one_is_not_at_its_bodys_origin(ms_human: MuscleModel):
    m, data = ms_human.mj_model, mujoco.MjData(ms_human.mj_model)
    data.qpos[:] = ms_human.posture({"shoulder_elv": 1.0, "knee_angle": 0.7})
    data.qpos[m.joint("T1_head_neck_FE").qposadr[0]] = 0.4
    mujoco.mj_kinematics(m, data)
    mujoco.mj_comPos(m, data)
    poses = Kinematics(ms_human)(torch.from_numpy(data.qpos.copy())[None])
    np.testing.assert_allclose(poses.position[0], data.site_xpos[ms_human.site_ids], atol=1e-12)
    linear, angular = np.zeros((2, 3, m.nv))
    for index, site in enumerate(ms_human.site_ids):
        mujoco.mj_jacSite(m, data, linear, angular, site)
        np.testing.assert_allclose(poses.jacobian[0, index], [*linear, *angular], atol=1e-12)


def test_every_muscle_joint_and_body_has_a_partner(ms_human: MuscleModel):
    mirror = Mirror.from_model(ms_human.mj_model)
    assert mirror is not None
    for partner in (mirror.muscle, mirror.body, mirror.joint):
        assert (partner >= 0).all()
    assert ms_human.muscles["side"].value_counts().to_dict() == {"right": 350, "left": 350}
    sides = ms_human.muscles["side"].to_numpy()
    assert (sides != sides[mirror.muscle]).all()


def test_postures_by_name_turn_both_sides_and_keep_the_couplings(ms_human: MuscleModel):
    qpos = torch.from_numpy(ms_human.posture({"shoulder_elv": 1.2}))
    assert ms_human.couplings.residual(qpos).abs().max() < 1e-12
    m = ms_human.mj_model
    assert [qpos[m.joint(f"shoulder_elv_{side}").qposadr[0]] for side in "rl"] == [1.2, 1.2]
    with pytest.raises(ModelError, match="model 'ms_human_700' has no joint 'tail_r'"):
        ms_human.posture({"tail": 1.0})


def test_the_arena_has_room_for_a_body_driven_into_the_floor(ms_human: MuscleModel):
    m, rng = ms_human.mj_model, np.random.default_rng(1)
    data = mujoco.MjData(m)
    for _ in range(50):
        data.qpos[:] = m.qpos0
        data.qpos[2] = rng.uniform(-0.6, 0.3)
        data.qpos[3:7] = rng.normal(size=4)
        mujoco.mj_forward(m, data)
    assert data.maxuse_arena < m.narena / 3


def test_the_check_of_models_runs_and_finds_no_flaw_between_the_sides(ms_human: MuscleModel):
    checks = (plausibility.fibre_and_slack_lengths, plausibility.total_mass, symmetry.unpaired, symmetry.couplings)
    kinds = set(check_model(ms_human, checks)["kind"])
    assert kinds == {"fibre_length", "slack_length"}  # most trunk muscles imply a negative one, as published


def test_a_missing_folder_says_where_to_put_it(tmp_path, monkeypatch):
    monkeypatch.setenv("MUSCLEWARP_DATA", str(tmp_path))
    with pytest.raises(ModelError, match="put the folder ms_human_700 of MuJoCo Menagerie") as caught:
        load_model("ms_human_700")
    assert str(tmp_path / "models") in str(caught.value)


def test_another_model_in_its_folder_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("MUSCLEWARP_DATA", str(tmp_path))
    scene = tmp_path / "models" / "ms_human_700" / "scene.xml"
    scene.parent.mkdir(parents=True)
    for text, message in (("<mujoco/>", "no pelvis on 6 joints"), ("<mujoco", "MuJoCo cannot read it")):
        scene.write_text(text)
        with pytest.raises(ModelError, match=message):
            load_model("ms_human_700")


def test_a_relative_data_root_is_enough(data_root, monkeypatch):
    monkeypatch.chdir(data_root.parent)
    monkeypatch.setenv("MUSCLEWARP_DATA", data_root.name)
    assert load_model("ms_human_700").mj_model.nu == 700


def test_it_has_no_fingers_to_keep(data_root, monkeypatch):
    monkeypatch.setenv("MUSCLEWARP_DATA", str(data_root))
    with pytest.raises(ModelError, match="'ms_human_700' has no finger joints"):
        load_model("ms_human_700", fingers=True)
