from __future__ import annotations

import contextlib
import io
import warnings

import numpy as np
import pytest
import smplx
import torch

from musclewarp.errors import ConfigError, FileError
from musclewarp.motion import rotations, stand_in
from musclewarp.motion.amass import read_amass
from musclewarp.motion.body import SHAPE_AXES, StandInBody, load_body
from musclewarp.motion.motion import SMPL_JOINTS, Motion

JOINT = {name: index for index, name in enumerate(SMPL_JOINTS)}
FLOAT32 = 2e-7  # m: smplx rounds the template to float32 on its way in


@pytest.fixture(scope="module")
def body():
    return load_body("neutral", kind="stand-in")


def resting(**changes):
    return Motion("rest", np.tile(rotations.IDENTITY, (1, 24, 1)), np.zeros((1, 3)), 60.0, **changes)


@pytest.mark.parametrize("frames", [1, 128, 129])
def test_stand_in_moves_as_independent_kinematics(body, frames, random_motion, independent_kinematics):
    motion = random_motion(frames)
    moved = body.joints(motion)
    positions, matrices = independent_kinematics(stand_in.rest_joints("neutral"), motion)
    np.testing.assert_allclose(moved.positions, positions, atol=FLOAT32)
    np.testing.assert_allclose(rotations.to_matrix(moved.orientations), matrices, atol=1e-12)
    assert moved.fps == motion.fps
    assert moved.positions.dtype == np.float64


def test_stand_in_is_an_smplx_body_in_t_pose_about_its_pelvis(body):
    assert isinstance(body.module, smplx.SMPL)
    assert isinstance(body.module, StandInBody)
    rest = body.joints(resting()).positions[0]
    np.testing.assert_allclose(rest[0], 0, atol=1e-12)
    np.testing.assert_allclose(rest, stand_in.rest_joints("neutral"), atol=FLOAT32)
    x, y, z = (rest[:, axis] for axis in range(3))
    assert x[JOINT["left_wrist"]] > x[JOINT["left_elbow"]] > x[JOINT["left_shoulder"]] > 0  # x is left
    assert np.ptp(y[[JOINT["left_shoulder"], JOINT["left_elbow"], JOINT["left_wrist"]]]) < 1e-6  # a T
    assert y[JOINT["head"]] > y[JOINT["neck"]] > 0 > y[JOINT["left_knee"]] > y[JOINT["left_ankle"]]  # y is up
    assert z[JOINT["left_foot"]] > z[JOINT["left_ankle"]]  # z is forward


@pytest.mark.parametrize(("gender", "stature"), [("male", 1.82), ("neutral", 1.75), ("female", 1.68)])
def test_stand_in_has_the_published_segment_lengths(gender, stature):
    rest = load_body(gender, kind="stand-in").joints(resting()).positions[0] / stature
    lengths = {
        ("knee", "hip"): 0.245,
        ("ankle", "knee"): 0.246,
        ("elbow", "shoulder"): 0.186,
        ("wrist", "elbow"): 0.146,
    }
    for (end, start), length in lengths.items():
        for side in ("left", "right"):
            found = np.linalg.norm(rest[JOINT[f"{side}_{end}"]] - rest[JOINT[f"{side}_{start}"]])
            assert found == pytest.approx(length, abs=1e-6)


def test_stand_in_is_symmetric(body):
    rest = body.joints(resting(), betas=np.linspace(-2, 2, 16)).positions[0]
    mirrored = [
        JOINT[name.replace("left", "RIGHT").replace("right", "left").replace("RIGHT", "right")] for name in JOINT
    ]
    np.testing.assert_allclose(rest, rest[mirrored] * [-1, 1, 1], atol=FLOAT32)


def lengths(body, betas):
    rest = body.joints(resting(), betas=betas).positions[0]
    at = dict(zip(SMPL_JOINTS, rest))

    def between(a, b):
        return float(np.linalg.norm(at[a] - at[b]))

    return {
        "leg": between("left_hip", "left_ankle"),
        "thigh": between("left_hip", "left_knee"),
        "arm": between("left_shoulder", "left_wrist"),
        "upper arm": between("left_shoulder", "left_elbow"),
        "trunk": between("pelvis", "neck"),
        "shoulders": between("left_shoulder", "right_shoulder"),
        "hips": between("left_hip", "right_hip"),
        "foot": float(at["left_foot"][2] - at["left_ankle"][2]),
        "neck": float(at["head"][1] - at["neck"][1]),
    }


EFFECTS = {
    "stature": dict.fromkeys(("leg", "thigh", "arm", "upper arm", "trunk", "shoulders", "hips", "foot", "neck"), 1.04),
    "leg": {"leg": 1.03, "thigh": 1.03},
    "arm": {"arm": 1.03, "upper arm": 1.03},
    "trunk": {"trunk": 1.03},
    "shoulder_width": {"shoulders": 0.020},
    "hip_width": {"hips": 0.010},
    "knee_height": {"thigh": -0.010},
    "elbow_distance": {"upper arm": 0.010},
    "foot_length": {"foot": 0.005},
    "neck_length": {"neck": 0.010},
}


@pytest.mark.parametrize("axis", SHAPE_AXES)
def test_each_shape_axis_does_what_its_line_says_and_nothing_else(body, axis):
    mean, changed = lengths(body, np.zeros(10)), lengths(body, np.eye(10)[SHAPE_AXES.index(axis)])
    for name, before in mean.items():
        effect = EFFECTS[axis].get(name, 0.0)
        expected = before * effect if effect > 1 else before + effect
        assert changed[name] == pytest.approx(expected, abs=1e-6), name


def test_shape_is_linear_and_leaves_the_pelvis_where_it_is(body):
    random = np.random.default_rng(2)
    first, second = random.normal(size=(2, 10))
    rest = [body.joints(resting(), betas=betas).positions[0] for betas in (np.zeros(10), first, second, first + second)]
    np.testing.assert_allclose(rest[1] + rest[2] - rest[0], rest[3], atol=1e-9)
    np.testing.assert_allclose([joints[0] for joints in rest], 0, atol=1e-9)


def test_ten_and_sixteen_betas_give_the_same_body(body, random_motion):
    betas = np.linspace(-1, 1, 10)
    ten = body.joints(random_motion(), betas=betas).positions
    np.testing.assert_array_equal(ten, body.joints(random_motion(), betas=np.append(betas, np.ones(6))).positions)
    own = body.joints(random_motion(betas=betas, shape_space="stand-in")).positions
    np.testing.assert_array_equal(ten, own)
    assert body.module.num_betas == 16
    for wrong in (np.zeros(17), np.zeros((1, 10)), np.full(3, np.nan)):
        with pytest.raises(ConfigError, match="betas"):
            body.joints(random_motion(), betas=wrong)


def test_betas_of_another_shape_space_are_not_taken_for_the_bodys_own(body, random_motion):
    with pytest.warns(UserWarning, match="mean shape"):
        moved = body.joints(random_motion(betas=np.ones(16)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mean = body.joints(random_motion(betas=np.zeros(10)))
    np.testing.assert_array_equal(moved.positions, mean.positions)


def test_rest_joints_agree_with_a_resting_motion_and_have_gradients(body):
    betas = torch.linspace(-1, 1, 10)[None].repeat(3, 1).requires_grad_()
    rest = body.rest_joints(betas)
    assert rest.shape == (3, 24, 3)
    np.testing.assert_allclose(
        rest[1].detach().numpy(), body.joints(resting(), betas=betas[0].tolist()).positions[0], atol=1e-9
    )
    rest[:, JOINT["left_knee"], 1].sum().backward()
    expected = stand_in.shape_axes(stand_in.rest_joints("neutral"))[:, JOINT["left_knee"], 1]
    np.testing.assert_allclose(betas.grad.numpy(), np.tile(expected, (3, 1)), atol=1e-6)


def test_skin_points_are_where_smplx_looks_for_them(body):
    output = body.module(betas=torch.zeros(1, 16, dtype=torch.float64))
    nose, heel = (
        output.joints[0, 24].numpy(),
        output.vertices[0, body.module.vertex_joint_selector.extra_joints_idxs[7]],
    )
    assert nose[2] > 0.1  # in front of the head
    assert heel[1].item() == pytest.approx(-0.570 * 1.75, abs=1e-6)  # the sole
    assert output.joints.shape == (1, 24 + 21, 3)


def test_making_a_body_prints_nothing():
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        load_body(kind="stand-in")
    assert out.getvalue() == ""


def test_without_licensed_files_the_stand_in_is_loaded_and_says_so(tmp_path, monkeypatch):
    for root in (None, tmp_path):
        monkeypatch.setenv("MUSCLEWARP_DATA", str(tmp_path))
        found = load_body("female", root=root)
        assert (found.name, found.gender, found.file, found.shape_space) == ("stand-in", "female", None, "stand-in")
    with pytest.raises(FileError, match=r"smplh: no female body.*README"):
        load_body("female", kind="smplh")
    with pytest.raises(ConfigError, match="gender"):
        load_body("other")
    with pytest.raises(ConfigError, match="kind"):
        load_body(kind="skeleton")


def test_real_walk_keeps_its_pelvis_and_its_feet_on_the_floor(data_root, body):
    motion = read_amass(data_root / "motions" / "cmu_smpl" / "cmu_02_01_smplh.npz")
    moved = body.joints(motion)
    np.testing.assert_array_equal(moved.positions[:, 0], motion.translation)
    lowest = moved.positions[:, [JOINT["left_foot"], JOINT["right_foot"]], 2].min(axis=1)
    assert -0.03 < np.median(lowest) < 0.06
    speed = np.linalg.norm(moved.positions[-1, 0, :2] - moved.positions[0, 0, :2]) / motion.duration
    assert speed == pytest.approx(1.18, rel=0.02)
    assert (moved.positions[:, JOINT["head"], 2] > 1.3).all()  # upright
