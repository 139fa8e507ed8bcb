"""MuscleMimic's own evaluation kit reads our trials, and finds in them what is there."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os

import numpy as np
import pytest
import torch
from scipy.io import savemat

from musclewarp.biomechanics.mm_evalkit import export_mm_evalkit
from musclewarp.cli import main
from musclewarp.errors import ConfigError, FileError, SignalError
from musclewarp.evaluation.trial import SUFFIX, Trial

if os.environ.get("MUSCLEWARP_REQUIRE_DATA") != "1":  # where nothing may be missing, the kit may not be either
    pytest.importorskip("mm_evalkit", reason="mm-evalkit is not installed: pip install mm-evalkit")

from mm_evalkit.datasets.wang import JOINT_NAMES, MUSCLE_NAMES, SUBJECTS, Wang_muscle_map
from mm_evalkit.policies import single_policy_spec
from mm_evalkit.workflows.bimanual.constants import PRIMARY_JOINTS
from mm_evalkit.workflows.bimanual.muscles import build_muscle_groups, load_muscle_names
from mm_evalkit.workflows.bimanual.rollout import open_rollout
from mm_evalkit.workflows.gait import human_data, kinetics_data, metrics, policy_data
from mm_evalkit.workflows.gait.channels import (
    common_joint_names,
    common_muscle_names,
    joint_names_myo,
    muscle_names_myo,
)
from mm_evalkit.workflows.gait.config import FullBodyConfig
from mm_evalkit.workflows.gait.loading import build_channels, load_gait_analysis
from mm_evalkit.workflows.gait.rollout_validation import validate_rollout_archive

PERIOD, SECONDS, DT = 1.1, 4.0, 0.02  # s of a step cycle, of the trial, of a frame
WEIGHT_SHARE = 1.05  # of a foot's vertical force in stance


def phase(time, side):
    """Of the gait cycle, 0 to 1; the right heel strikes at 0.15 s, the left one half a cycle later."""
    return ((np.asarray(time) - 0.15) / PERIOD - (0.5 if side == "l" else 0.0)) % 1.0


def angle(joint, time):
    """Of a joint of the legs: some wave of its own, rad; zero for what does not swing."""
    swinging = ("hip_flexion", "hip_adduction", "hip_rotation", "knee_angle", "ankle_angle")
    if joint[:-2] not in swinging:
        return np.zeros_like(time)
    k = swinging.index(joint[:-2])
    mean = 0.4 if k == 3 else 0.0
    return mean + (0.35 - 0.06 * k) * np.sin(2 * np.pi * (phase(time, joint[-1]) - 0.13 * k))


def burst(muscle, time):
    """Activation of a muscle: a smooth burst at a place of its own in the cycle."""
    place = (7 * common_muscle_names.index(muscle) % 8) / 8 if muscle in common_muscle_names else 0.5
    return 0.02 + 0.6 * np.exp(3.0 * (np.cos(2 * np.pi * (phase(time, "r") - place)) - 1.0))


def make_trial(model, time, feet=True, failed_at=-1):
    """Of a person who swings the legs as if walking, in the air, the forces of the ground being said."""
    m = model.mj_model
    qpos = np.tile(m.qpos0, (len(time), 1))
    for joint in range(m.njnt):
        name = m.joint(joint).name
        if name.endswith(("_r", "_l")):
            qpos[:, m.jnt_qposadr[joint]] += angle(name, time)
    if model.has_free_root:
        qpos[:, 0] += 1.2 * time
        qpos[:, 2] += 0.5
        qpos[1::2, 3:7] *= -1.0  # the same orientations
    qpos = model.couplings.project_qpos(torch.from_numpy(qpos)).numpy()
    force = np.zeros((len(time), len(model.feet), 3))
    weight = WEIGHT_SHARE * m.body_mass.sum() * 9.80665
    for foot, name in enumerate(model.feet):
        force[:, foot, 2] = weight * (phase(time, name[0]) < 0.6)
        force[:, foot, 0] = 50.0
    arrays = {
        "qpos": qpos,
        "qvel": np.zeros((len(time), m.nv)),
        "reference_qpos": qpos,
        "activation": np.stack([burst(name, time) for name in model.muscles.index], axis=1),
        "foot_force": force,
    }
    return Trial(
        "walk", "policy", model.name, model.hash, time[1] - time[0], tuple(model.muscles.index), (), model.sites,
        model.feet, failed_at, {key: value.astype(np.float32) for key, value in arrays.items()},
    )  # fmt: skip


@pytest.fixture(scope="module")
def walk(body):
    return make_trial(body, np.arange(0.0, SECONDS + 1e-9, DT))


@pytest.fixture(scope="module")
def archive(body, walk, tmp_path_factory):
    """The walk, whole and cut at a fall after 2 s, as the first and third motion of the kit's list."""
    fallen = make_trial(body, walk.time, failed_at=round(2.0 / DT))
    path = tmp_path_factory.mktemp("evalkit") / "rollout.npz"
    return export_mm_evalkit(path, body, [walk, fallen], "GAIT120_TESTING", [0, 2])


def test_the_kits_loader_takes_the_archive(archive):
    with np.load(archive, allow_pickle=False) as data:
        episodes = validate_rollout_archive(
            data,
            archive,
            subject_based=True,
            motion_count=20,
            expected_joint_names=tuple(joint_names_myo),
            expected_joint_width=len(joint_names_myo) + 6,
            expected_activation_width=len(muscle_names_myo),
        )
        assert episodes == 2
        assert list(data["muscle_names"]) == muscle_names_myo
        assert data["episode_1_joint_positions"].shape[0] == 200  # frames before the fall, at 100 Hz
        assert data["episode_1_traj_length"] == 401


def test_even_rows_are_the_trials_own_frames_and_odd_ones_lie_between(archive, walk):
    with np.load(archive) as data:
        qpos, activation = data["episode_0_joint_positions"], data["episode_0_muscle_activations"]
    own = walk["qpos"].astype(np.float64)
    own[1::2, 3:7] *= -1.0
    np.testing.assert_allclose(qpos[::2], own, atol=1e-6)
    np.testing.assert_allclose(activation[::2], walk["activation"], atol=1e-7)
    np.testing.assert_allclose(np.linalg.norm(qpos[:, 3:7], axis=1), 1.0)
    between = 0.02 * np.arange(200) + 0.01
    knee = joint_names_myo.index("knee_angle_r") + 6
    np.testing.assert_allclose(qpos[1::2, knee], angle("knee_angle_r", between), atol=1e-5)
    np.testing.assert_allclose(qpos[1::2, 0] - qpos[0, 0], 1.2 * between, atol=1e-5)


def test_the_kit_finds_the_cycles_angles_and_activations(archive):
    channels = build_channels("Wang")
    with np.load(archive) as data:
        joints, _, muscles, lengths, cycles = policy_data.extract_episode_gaits(channels, data, 0, expected_n=4)
    # the first cycle begins with the trial, in swing: the kit counts from heel strikes alone
    starts = [start for start, _ in cycles]
    np.testing.assert_allclose(starts, 100 * (0.15 + PERIOD * np.arange(len(starts))), atol=1.0)
    assert len(starts) == 3
    np.testing.assert_allclose(lengths, 100 * PERIOD, atol=1)
    time = np.linspace(starts[1] / 100, (cycles[1][1] - 1) / 100, 100)
    for name, found in zip(channels.joint_names, joints):
        np.testing.assert_allclose(found[1], np.rad2deg(angle(name, time)), atol=0.3)
    for name, found in zip(channels.muscle_names, muscles):
        np.testing.assert_allclose(found[1], burst(name, time), atol=0.01)


def write_wang(folder, noise):
    """Nine people who walk as in `angle` and `burst`, in the layout of Wang et al.; the knee bends the other way."""
    random = np.random.default_rng(0)
    time = 0.15 + PERIOD * np.linspace(0.0, 1.0, 100)
    electrodes = {channel: muscle for muscle, channel in Wang_muscle_map.items()}
    for subject in SUBJECTS:
        columns = [np.rad2deg(angle(name, time)) * (-1 if "knee" in name else 1) for name in JOINT_NAMES]
        joints = np.stack(columns, axis=1) + noise * random.normal(size=(100, len(columns)))
        columns = [burst(electrodes[name], time) if name in electrodes else time for name in MUSCLE_NAMES]
        emg = np.stack(columns, axis=1) + 0.02 * noise * random.normal(size=(100, len(columns)))
        average = {"EMG": {"ave_r": emg}, "IKAngData": {"ave_r": joints}}
        (folder / f"Subj{subject:02d}").mkdir(parents=True)
        savemat(
            folder / f"Subj{subject:02d}" / f"Subj{subject:02d}_walk_45.mat",
            {"Datastr": {"Resample": {"Sych": {"Average": average}}}},
        )


def test_the_kits_gait_evaluation_finds_a_walk_like_its_own_people(archive, tmp_path):
    """People whose curves are known, in the layout of Wang et al.: the kit's own numbers tell whether names fit."""
    write_wang(tmp_path / "wang", noise=1.0)
    (tmp_path / "policies.yaml").write_text(
        f"policies:\n  - id: ours\n    label: ours\n    trajectory_data_path: {archive}\n"
    )
    config = FullBodyConfig.from_arguments(
        dataset_name="Wang",
        dataset_dir=tmp_path / "wang",
        policy_config_file=tmp_path / "policies.yaml",
        subject_based=None,
        motion_set_name=None,
        plots_root=tmp_path / "plots",
        kinematics_source="opensim-ik",
        human_subject_policy="error",
    )
    with contextlib.redirect_stdout(io.StringIO()):
        analysis = load_gait_analysis(config)
        human_data.refresh_human_rsms(analysis.human)
        metrics.compute_human_to_model_metrics_population(analysis)
    found = analysis.policies[0].population
    assert found.avg_joint_rmse["all_joints"] < 1.5  # degrees; the people's own noise is 1
    assert min(found.avg_joint_corr[name] for name in common_joint_names) > 0.97
    assert min(found.avg_muscle_corr[name] for name in common_muscle_names) > 0.95
    assert found.avg_rsa > 0.9


def write_kinetics(folder, time, weight_share):
    """The laboratory's forces of subject 51, trial 5, in the kit's layout: the left foot as in `phase`."""
    joints = [f"{name}_moment" for name in kinetics_data.TORQUE_JOINTS]
    force = np.stack([weight_share * (phase(time, side) < 0.6) for side in "lr"], axis=1)
    path = folder / "S051" / "S051_Trial05_Step01_Step02.npz"
    path.parent.mkdir(parents=True)
    np.savez(
        path,
        subject="S051",
        trial="Trial05",
        step_label="Step01_Step02",
        joint_torque=np.tile(np.sin(time)[:, None], (1, len(joints))),
        joint_torque_columns=joints,
        joint_torque_units="Nm/kg",
        computed_grf=force,
        computed_grf_columns=["ground_force1_vy", "ground_force2_vy"],
        computed_grf_units="BW",
    )


def test_the_kit_reads_our_forces_and_they_are_not_the_net_moments(archive, body, tmp_path):
    time = np.arange(0.0, SECONDS + 1e-9, 0.01)
    write_kinetics(tmp_path, time, WEIGHT_SHARE)
    motions = policy_data.MOTION_SETS["GAIT120_TESTING"]
    loaded = kinetics_data.load_policy_kinetics(
        single_policy_spec(archive), reference_dir=tmp_path, motion_list=motions
    )
    cycles = loaded.cycles
    assert list(cycles.subject_ids) == [51] * len(cycles.grf)
    assert len(cycles.grf) == 4  # the first from the start, where the left foot stands already
    # ground forces: stance is where the laboratory has it, but for the frame in which the sampling rates differ
    assert np.abs(cycles.grf - cycles.grf_ref).mean() < 0.03
    start = int(np.ceil(100 * (0.15 + PERIOD / 2)))
    with np.load(archive) as data:
        actuator = {name: data["episode_0_generalized_actuator_forces"][:, i] for i, name in enumerate(body.dof_names)}
        names = list(data["net_joint_moment_names"])
        net = dict(zip(names, data["episode_0_net_joint_moments"].T, strict=True))
        mass = float(data["model_mass_kg"])
    for i, name in enumerate(kinetics_data.TORQUE_JOINTS):
        sign = -1.0 if name.startswith("knee") else 1.0
        np.testing.assert_allclose(cycles.torque[1, i], sign * actuator[name][start : start + 100] / mass, atol=1e-9)

    # of the hip the two agree, but for passive tissue; of the knee the actuators' lack what goes through the kneecap
    def apart(name):
        return np.sqrt(np.mean((net[name] - actuator[name]) ** 2)) / np.abs(net[name]).max()

    assert apart("hip_flexion_r") < 0.05
    assert apart("knee_angle_r") > 0.2


def test_feet_have_their_vertical_force_and_all_of_it_beside(archive, walk):
    with np.load(archive) as data:
        touch, whole = data["episode_0_touch_observations"], data["episode_0_foot_forces"]
        np.testing.assert_array_equal(data["episode_0_force_sensor_values"], touch)
        assert list(data["force_sensor_names"]) == ["r_foot", "r_toes", "l_foot", "l_toes"]
        assert list(data["feet"]) == ["right", "left"]
    np.testing.assert_allclose(touch[::2, [0, 2]], walk["foot_force"][:, :, 2], rtol=1e-6)
    assert not touch[:, [1, 3]].any()
    np.testing.assert_allclose(whole[::2], walk["foot_force"], rtol=1e-6)


def test_the_kit_reads_arms_without_fingers(arms, tmp_path):
    trial = make_trial(arms, np.arange(0.0, 1.0, 0.01))
    path = export_mm_evalkit(tmp_path / "arms.npz", arms, [trial])
    names = load_muscle_names()
    with open_rollout(path, expected_activation_count=len(names)) as (data, metadata):
        assert set(metadata.joint_names) >= {f"{joint}_r" for joint in PRIMARY_JOINTS}
        activation = data["episode_0_muscle_activations"]
        np.testing.assert_array_equal(data["muscle_names"], names)
    groups, columns = build_muscle_groups(names, "")
    for column in columns:
        np.testing.assert_allclose(activation[:, column], burst(names[column], trial.time), atol=1e-6)
    fingers = [i for i, name in enumerate(names) if name not in arms.muscles.index]
    assert len(groups) == 3
    assert len(fingers) == 62
    assert not activation[:, fingers].any()


def test_the_command_exports_trials(arms, tmp_path, capsys):
    make_trial(arms, np.arange(0.0, 1.0, DT)).save(tmp_path / f"a{SUFFIX}")
    arguments = ["trials", "export", str(tmp_path / f"a{SUFFIX}"), "--out", str(tmp_path / "a.npz")]
    assert main([*arguments, "--motion-group", "ULTRA_MOCAP_BIMANUAL_TESTING_SUBJECTS", "--motions", "7"]) == 0
    assert "1 episodes" in capsys.readouterr().out
    with np.load(tmp_path / "a.npz") as data:
        assert (str(data["motion_group"]), int(data["episode_0_traj_id"])) == (
            "ULTRA_MOCAP_BIMANUAL_TESTING_SUBJECTS",
            7,
        )


def test_what_the_kit_cannot_read_is_refused(arms, body, walk, tmp_path):
    short = make_trial(arms, np.array([0.0, DT]))
    short = dataclasses.replace(short, arrays={key: value[:1] for key, value in short.arrays.items()})
    with pytest.raises(SignalError, match="1 frame"):
        export_mm_evalkit(tmp_path / "x.npz", arms, [short])
    with pytest.raises(FileError, match="not of this 'bimanual'"):
        export_mm_evalkit(tmp_path / "x.npz", arms, [walk])
    with pytest.raises(ConfigError, match="3 places of motions for 1 trials"):
        export_mm_evalkit(tmp_path / "x.npz", body, [walk], motions=[0, 1, 2])
    assert not list(tmp_path.iterdir())
