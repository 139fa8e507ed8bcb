"""OpenSim's joint angles on MyoFullBody: the same angles, the same speed, feet where the laboratory saw them."""

from __future__ import annotations

from dataclasses import replace

import mujoco
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from musclewarp.biomechanics.experiments import load_experiment
from musclewarp.cli import main
from musclewarp.errors import FileError, ModelError
from musclewarp.motion.table import Table
from musclewarp.references.quality import lowest_foot_heights
from musclewarp.references.reference import SUFFIX, Reference
from musclewarp.retarget.opensim import JOINTS, OFFSETS, PELVIS_PLACE, PELVIS_TURN, from_opensim, opensim_qpos

TO_Z_UP = Rotation.from_euler("X", 90, degrees=True)
LEGS = [name for name in JOINTS if name.startswith(("hip", "knee", "ankle"))]
# s; the middle of each stance, foot flat, by the force plates
FLAT = {"r": (0.50, 0.80), "l": (0.99, 1.29)}


@pytest.fixture(scope="module")
def walk(data_root):
    return load_experiment("rajagopal2016_walk", data_root)


@pytest.fixture(scope="module")
def reference(walk, body):
    return walk.reference(body)


@pytest.fixture(scope="module")
def angles(walk, reference):
    """What was measured at the frames of the reference, unfiltered."""
    times = walk.kinematics.time[0] + reference.dt * np.arange(reference.num_frames)
    return times, dict(zip(walk.kinematics.columns, walk.kinematics.at(times).T))


@pytest.fixture(scope="module")
def bodies(body, reference):
    """World poses of the model's bodies by MuJoCo: `bodies(name)` gives positions `(T, 3)` and rotations."""
    m, data = body.mj_model, mujoco.MjData(body.mj_model)
    places, turns = [], []
    for posture in reference.qpos:
        data.qpos[:] = posture
        mujoco.mj_kinematics(m, data)
        places.append(data.xpos.copy())
        turns.append(data.xmat.reshape(-1, 3, 3).copy())

    def bodies(name):
        index = m.body(name).id
        return np.array(places)[:, index], Rotation.from_matrix(np.array(turns)[:, index])

    return bodies


def still(frames=4, **values):
    """A table of a body that stands still."""
    columns = dict.fromkeys((*PELVIS_TURN, *PELVIS_PLACE), 0.0) | values
    units = tuple("m" if name in PELVIS_PLACE else "rad" for name in columns)
    rows = np.tile([*columns.values()], (frames, 1))
    return Table("still.mot", 0.02 * np.arange(frames), tuple(columns), rows, units)


def test_leg_angles_are_reproduced_to_half_a_degree(body, reference, angles):
    for name in LEGS:
        value = reference.qpos[:, body.mj_model.joint(name).qposadr[0]]
        assert np.abs(np.degrees(value - angles[1][name])).max() < 0.5, name


def test_the_command_takes_the_angles_and_leaves_what_is_done(data_root, body, reference, tmp_path, capsys):
    file = data_root / "experimental" / "rajagopal2016_walk" / "coordinates.sto"
    command = ["retarget", str(file), "--model", "myofullbody", "--out", str(tmp_path), "--workers", "1"]
    assert main(command) == 0
    made = Reference.load(tmp_path / f"coordinates{SUFFIX}", body)
    np.testing.assert_allclose(made.qpos, reference.qpos, atol=1e-9)
    capsys.readouterr()
    assert main(command) == 0
    assert capsys.readouterr().err.strip().startswith("1 done before")
    assert main([*command[:1], str(file.with_name("grf_walk.mot")), *command[2:]]) == 2
    assert "grf_walk.mot: no column 'pelvis_t" in capsys.readouterr().err


def test_pelvis_torso_and_upper_arms_are_oriented_as_measured(bodies, angles):
    def turned(*names, mirrored=False):
        sign = -1 if mirrored else 1
        return Rotation.from_euler("ZXY", np.stack([angles[1][n] for n in names], 1) * [1, sign, sign])

    _, pelvis = bodies("pelvis")
    _, torso = bodies("torso")
    _, thorax = bodies("thorax")
    assert np.degrees((TO_Z_UP * turned(*PELVIS_TURN) * pelvis.inv()).magnitude()).max() < 0.5
    trunk = turned("lumbar_extension", "lumbar_bending", "lumbar_rotation")
    assert np.degrees((trunk * (pelvis.inv() * torso).inv()).magnitude()).max() < 0.5
    for side in "rl":
        _, humerus = bodies(f"humerus_{side}")
        arm = turned(*(f"{name}_{side}" for name in ("arm_flex", "arm_add", "arm_rot")), mirrored=side == "l")
        assert np.degrees((arm * (thorax.inv() * humerus).inv()).magnitude()).max() < 1.0


def test_the_walker_keeps_his_speed(walk, reference):
    distance = reference.qpos[-1, 0] - reference.qpos[0, 0]
    assert distance / reference.duration == pytest.approx(1.243, abs=0.005)
    assert reference.duration == pytest.approx(1.349, abs=0.02)


def test_ankles_of_standing_feet_stay_where_they_are_at_one_height(bodies, angles):
    heights = []
    for side, (start, end) in FLAT.items():
        flat = (angles[0] > start) & (angles[0] < end)
        ankle = bodies(f"talus_{side}")[0][flat]
        assert np.ptp(ankle, axis=0).max() < 0.025
        heights.append(ankle[:, 2].mean())
    assert heights[0] == pytest.approx(heights[1], abs=0.01)


def test_both_feet_stand_on_the_floor(body, reference, angles):
    # his shanks are longer: as he pushes off, toes that are bent as far as they go are in the floor
    assert reference.quality["penetration_max_m"] < 0.03
    lowest = lowest_foot_heights(body, reference.qpos)
    assert np.median(np.abs(lowest)) < 0.008
    for side, (start, end) in FLAT.items():
        flat = (angles[0] > start) & (angles[0] < end)
        foot = {"r": "right", "l": "left"}[side]
        assert np.abs(lowest_foot_heights(body, reference.qpos[flat], foot)).max() < 0.015
    assert reference.quality["joint_limit_violation_fraction"] == 0.0
    assert reference.quality["coupling_residual_max"] < 1e-12


def test_knees_ankles_and_heels_move_with_their_markers(walk, bodies, angles):
    for side in "RL":
        for marker, name in (("Knee", "tibia"), ("Ankle", "talus"), ("Heel", "calcn")):
            seen = walk.markers[f"{side}.{marker}"]
            there = np.stack([np.interp(angles[0], walk.markers.time, axis) for axis in seen.T], 1)
            apart = bodies(f"{name}_{side.lower()}")[0] - there
            assert np.linalg.norm(apart.std(axis=0)) < 0.04, (side, marker)
            assert np.linalg.norm(apart.mean(axis=0)) < 0.12, (side, marker)


def test_steps_are_as_long_as_the_ankle_markers_say(walk, bodies, angles):
    strikes = {"r": walk.times("heel strike", "right")[1], "l": walk.times("heel strike", "left")[0]}
    for side, other in ("rl", "lr"):
        ours = [np.interp(strikes[side], angles[0], bodies(f"talus_{s}")[0][:, 0]) for s in (side, other)]
        ankles = [walk.markers[f"{s.upper()}.Ankle"][:, 0] for s in (side, other)]
        theirs = [np.interp(strikes[side], walk.markers.time, ankle) for ankle in ankles]
        assert theirs[0] - theirs[1] > 0.6
        # his shanks are 4 to 6 % longer than the model's
        assert ours[0] - ours[1] == pytest.approx(theirs[0] - theirs[1], abs=0.03)


def test_what_was_not_measured_rests_and_is_told(reference):
    assert "subtalar_angle_r" in reference.source["at_rest"]
    assert reference.source["unmapped"] == []
    assert reference.source["clipped_rad"] == {}
    assert reference.source["licence"] == "Apache-2.0"


def test_a_treadmill_runner_moves_over_the_floor_and_an_elbow_bent_too_far_is_told(data_root, body):
    run = load_experiment("hamner_run", data_root).reference(body)
    assert (run.qpos[-1, 0] - run.qpos[0, 0]) / run.duration == pytest.approx(3.7, abs=0.1)
    assert run.source["clipped_rad"]["elbow_flex_l"] == pytest.approx(np.radians(138.1) - 2.269, abs=0.02)
    assert "wrist_flex_r" in run.source["unmapped"]
    assert run.quality["joint_limit_violation_fraction"] == 0.0


def test_each_joint_goes_to_the_joint_of_its_name(body):
    for name in JOINTS:
        posture = opensim_qpos(still(**{name: 0.2 - OFFSETS.get(name, 0.0)}), body)
        assert posture.qpos[:, body.mj_model.joint(name).qposadr[0]] == pytest.approx(0.2), name
        assert name not in posture.at_rest
        assert posture.clipped == {}


def test_any_pelvis_orientation_is_exact_and_its_quaternions_do_not_flip(body):
    random = np.random.default_rng(0)
    turns = random.uniform(-1, 1, (50, 3)) * [1, 0.4, 1] + np.linspace(0, 15, 50)[:, None] * [0, 0, 1]
    place = random.normal(size=(50, 3))
    table = Table("spin", np.arange(50.0), (*PELVIS_TURN, *PELVIS_PLACE), np.hstack([turns, place]),
                  ("rad",) * 3 + ("m",) * 3)  # fmt: skip
    qpos = opensim_qpos(table, body).qpos
    assert (np.sum(qpos[1:, 3:7] * qpos[:-1, 3:7], axis=1) >= 0).all()
    data = mujoco.MjData(body.mj_model)
    for posture, turn, there in zip(qpos, turns, place):
        data.qpos[:] = posture
        mujoco.mj_kinematics(body.mj_model, data)
        expected = (TO_Z_UP * Rotation.from_euler("ZXY", turn)).as_matrix()
        assert data.body("pelvis").xmat.reshape(3, 3) == pytest.approx(expected, abs=1e-9)
        assert data.body("pelvis").xpos == pytest.approx(TO_Z_UP.apply(there), abs=1e-9)


def test_a_turn_that_jumps_by_a_circle_is_no_jump(body):
    heading = np.linspace(3.0, 3.3, 40)
    wrapped = (heading + np.pi) % (2 * np.pi) - np.pi
    table = still(40)
    values = table.values.copy()
    values[:, table.columns.index("pelvis_rotation")] = wrapped
    reference = from_opensim(replace(table, values=values), body)
    assert np.abs(reference.qvel[:, 3:6]).max() < 0.5


def test_locked_toes_bend_like_those_that_have_no_column(body):
    raised = {"ankle_angle_r": -0.4, "ankle_angle_l": -0.4, "pelvis_ty": 1.0}
    locked = from_opensim(still(**raised, mtp_angle_r=0.0, mtp_angle_l=0.0), body)
    assert set(locked.source["bent_toes"]) == {"right", "left"}
    np.testing.assert_allclose(locked.qpos, from_opensim(still(**raised), body).qpos, atol=1e-12)


def test_the_floor_is_under_the_lower_foot_if_only_the_others_toes_are_locked(body):
    table = still(40, knee_angle_r=1.2, hip_flexion_r=0.6, mtp_angle_r=0.0, mtp_angle_l=0.0)
    values = table.values.copy()
    values[:, table.columns.index("mtp_angle_l")] = np.linspace(0.0, 0.1, 40)
    reference = from_opensim(replace(table, values=values), body)
    assert reference.source["bent_toes"] == ["right"]
    assert np.abs(lowest_foot_heights(body, reference.qpos, "left")).max() < 0.01
    assert lowest_foot_heights(body, reference.qpos, "right").min() > 0.05


def test_degrees_or_unknown_units_are_refused(body):
    table = still(knee_angle_r=0.3)
    units = tuple("" if name == "knee_angle_r" else unit for name, unit in zip(table.columns, table.units))
    with pytest.raises(FileError, match="column 'knee_angle_r' is in '', expected 'rad'"):
        from_opensim(replace(table, units=units), body)


def test_a_pelvis_is_needed_and_a_whole_body(arms, body):
    with pytest.raises(FileError, match="no column 'pelvis_tx'"):
        from_opensim(still().select([*PELVIS_TURN, "pelvis_ty", "pelvis_tz"]), body)
    with pytest.raises(ModelError, match="has no free root or no legs"):
        from_opensim(still(), arms)
