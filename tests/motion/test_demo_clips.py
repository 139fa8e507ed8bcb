from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from musclewarp.motion import rotations
from musclewarp.motion.amass import read_amass
from musclewarp.motion.body import load_body
from musclewarp.motion.motion import SMPL_JOINTS

DATA = Path(__file__).resolve().parents[2] / "data"
JOINT = {name: index for index, name in enumerate(SMPL_JOINTS)}


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("make_demo_clips", DATA / "make_demo_clips.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def body():
    return load_body(kind="stand-in")


@pytest.fixture(scope="module", params=["arms", "whole_body"])
def motion(request):
    return read_amass(DATA / "motions" / "demo" / f"{request.param}.npz")


def speed(positions, fps):
    return np.linalg.norm(np.gradient(positions, 1 / fps, axis=0), axis=-1)


def test_script_makes_the_committed_clips_again(tmp_path):
    subprocess.run([sys.executable, DATA / "make_demo_clips.py", "--out", tmp_path], check=True, capture_output=True)
    for name in ("arms", "whole_body"):
        made, committed = read_amass(tmp_path / f"{name}.npz"), read_amass(DATA / "motions" / "demo" / f"{name}.npz")
        np.testing.assert_allclose(made.rotations, committed.rotations, atol=1e-9)
        np.testing.assert_allclose(made.translation, committed.translation, atol=1e-9)


@pytest.mark.parametrize("side", ["left", "right"])
def test_arms_move_for_real_for_eight_seconds(body, side):
    motion = read_amass(DATA / "motions" / "demo" / "arms.npz")
    assert (motion.duration, motion.fps, motion.source["layout"]) == (8.0, 60.0, "SMPL-H")
    wrist = body.joints(motion).positions[:, JOINT[f"{side}_wrist"]]
    assert np.linalg.norm(np.diff(wrist, axis=0), axis=-1).sum() > 6.0
    assert 1.0 < speed(wrist, motion.fps).max() < 1.8
    power = np.abs(np.fft.rfft(wrist - wrist.mean(axis=0), axis=0)).sum(axis=1)
    strong = np.flatnonzero(power > 0.2 * power.max()) / motion.duration  # Hz
    assert strong.min() <= 0.5
    assert strong.max() >= 0.75


def test_left_and_right_arm_do_not_mirror_each_other(body):
    positions = body.joints(read_amass(DATA / "motions" / "demo" / "arms.npz")).positions
    left, right = positions[:, JOINT["left_wrist"]], positions[:, JOINT["right_wrist"]] * [-1, 1, 1]
    for axis in range(3):
        assert abs(np.corrcoef(left[:, axis], right[:, axis])[0, 1]) < 0.8


def test_clips_start_and_end_at_rest_and_never_jerk(body, motion):
    positions = body.joints(motion).positions
    assert speed(positions, motion.fps)[[0, -1]].max() < 0.01
    acceleration = np.diff(positions, 2, axis=0) * motion.fps**2
    assert np.linalg.norm(acceleration, axis=-1).max() < 12
    assert np.linalg.norm(acceleration[[0, -1]], axis=-1).max() < 0.7
    assert np.linalg.norm(np.diff(acceleration, axis=0), axis=-1).max() < 3  # m/s2 from one frame to the next


def test_clips_face_minus_y_upright(body, motion):
    forward = rotations.rotate(motion.rotations[:, 0], [0.0, 0.0, 1.0])
    np.testing.assert_allclose(np.arctan2(forward[:, 1], forward[:, 0]), -np.pi / 2, atol=1e-6)
    positions = body.joints(motion).positions
    assert (positions[:, JOINT["left_shoulder"], 0] > positions[:, JOINT["right_shoulder"], 0] + 0.3).all()
    assert (positions[:, JOINT["head"], 2] > 1.4).all()


def test_soles_stay_flat_on_the_floor(body, motion):
    world = torch.from_numpy(rotations.to_matrix(motion.rotations))
    output = body.module(
        betas=torch.zeros(motion.num_frames, 16, dtype=torch.float64),
        global_orient=world[:, :1],
        body_pose=world[:, 1:],
        transl=torch.from_numpy(motion.translation.copy()),
    )
    soles = output.vertices[:, body.module.vertex_joint_selector.extra_joints_idxs[5:11]].numpy()  # toes and heels
    np.testing.assert_allclose(soles[..., 2], 0, atol=1e-6)
    assert np.ptp(soles, axis=0).max() < 1e-6


def test_script_refuses_a_clip_that_is_not_what_it_is_meant_to_be(script):
    arms = script.arms_clip()
    with pytest.raises(ValueError, match="wrist path"):
        script.check_arms(arms.clip(0, 200))
    with pytest.raises(ValueError, match="slide"):
        script.check_whole_body(script.Motion("still", arms.rotations, np.cumsum(arms.translation, axis=0), 60.0))
