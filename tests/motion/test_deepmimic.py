"""DeepMimic's clips: the same joints as by its own kinematics, and errors that name the place."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from musclewarp.errors import FileError
from musclewarp.motion.body import body_of, load_body
from musclewarp.motion.deepmimic import read_deepmimic
from musclewarp.motion.motion import SMPL_JOINTS, Motion
from musclewarp.motion.read import read_motion

SHARED_FOLDER = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
# of humanoid3d: joint, its parent, offset from it (m), numbers of a frame
CHARACTER = [
    ("root", None, (0, 0, 0), slice(4, 8)),
    ("chest", "root", (0, 0.236151, 0), slice(8, 12)),
    ("neck", "chest", (0, 0.223894, 0), slice(12, 16)),
    ("right_hip", "root", (0, 0, 0.084887), slice(16, 20)),
    ("right_knee", "right_hip", (0, -0.421546, 0), 20),
    ("right_ankle", "right_knee", (0, -0.409870, 0), slice(21, 25)),
    ("right_shoulder", "chest", (-0.02405, 0.24350, 0.18311), slice(25, 29)),
    ("right_elbow", "right_shoulder", (0, -0.274788, 0), 29),
    ("right_wrist", "right_elbow", (0, -0.258947, 0), None),
    ("left_hip", "root", (0, 0, -0.084887), slice(30, 34)),
    ("left_knee", "left_hip", (0, -0.421546, 0), 34),
    ("left_ankle", "left_knee", (0, -0.409870, 0), slice(35, 39)),
    ("left_shoulder", "chest", (-0.02405, 0.24350, -0.18311), slice(39, 43)),
    ("left_elbow", "left_shoulder", (0, -0.274788, 0), 43),
    ("left_wrist", "left_elbow", (0, -0.258947, 0), None),
]
SMPL_NAME = {"root": "pelvis", "chest": "spine1"}


def frames(count=5, seed=0):
    """Random postures of the character."""
    random = np.random.default_rng(seed)
    numbers = random.uniform(-1, 1, size=(count, 44))
    numbers[:, 0] = 1 / 30
    numbers[-1, 0] = 0.0
    for *_, where in CHARACTER:
        if isinstance(where, slice):
            numbers[:, where] /= np.linalg.norm(numbers[:, where], axis=1, keepdims=True)
    return numbers


@pytest.fixture
def write(tmp_path):
    """Write a clip; what is not given is that of a sound one."""

    def write(numbers=None, name="humanoid3d_clip.txt", **changes):
        content = {"Loop": "wrap", "Frames": (frames() if numbers is None else np.asarray(numbers)).tolist(), **changes}
        path = tmp_path / name
        path.write_text(json.dumps(content))
        return path

    return write


def own_kinematics(numbers):
    """Positions and rotation matrices of the character's joints, as DeepMimic has them, by scipy."""
    position, matrix = {}, {}
    for name, parent, offset, where in CHARACTER:
        turn = np.tile(np.eye(3), (len(numbers), 1, 1))
        if isinstance(where, slice):
            turn = Rotation.from_quat(numbers[:, where], scalar_first=True).as_matrix()
        elif where is not None:
            turn = Rotation.from_euler("z", numbers[:, [where]]).as_matrix()
        if parent is None:
            position[name], matrix[name] = numbers[:, 1:4], turn
        else:
            position[name] = position[parent] + matrix[parent] @ np.array(offset)
            matrix[name] = matrix[parent] @ turn
    return position, matrix


def test_joints_are_where_the_character_has_them(write):
    numbers = frames(20)
    motion = read_deepmimic(write(numbers))
    joints = body_of(motion).joints(motion).positions
    expected, _ = own_kinematics(numbers)
    for name, position in expected.items():
        x, y, z = position.T
        found = joints[:, SMPL_JOINTS.index(SMPL_NAME.get(name, name))]
        np.testing.assert_allclose(found, np.stack([x, -z, y], axis=1), atol=1e-7, err_msg=name)


def test_hands_and_feet_turn_with_the_characters_forearms_and_ankles(write):
    numbers = frames(20)
    motion = read_deepmimic(write(numbers))
    turned = body_of(motion).joints(motion).orientations
    _, matrix = own_kinematics(numbers)
    to_z_up = Rotation.from_euler("x", 90, degrees=True)
    for joint in ("left_wrist", "right_wrist", "left_ankle", "right_ankle", "neck"):
        found = Rotation.from_quat(turned[:, SMPL_JOINTS.index(joint)], scalar_first=True)
        # what is forward at rest: in SMPL's frame z, in the character's x
        forward = to_z_up.apply(matrix[joint] @ [1.0, 0.0, 0.0])
        np.testing.assert_allclose(found.apply([0.0, 0.0, 1.0]), forward, atol=1e-12)


def test_the_rest_posture_is_a_t_pose_with_the_characters_lengths(write):
    rest = load_body(kind="deepmimic").rest_joints(torch.zeros(1, 10))[0].numpy()
    at = dict(zip(SMPL_JOINTS, rest, strict=True))
    np.testing.assert_allclose(at["left_wrist"] - at["left_shoulder"], [0.274788 + 0.258947, 0, 0], atol=1e-12)
    np.testing.assert_allclose(rest[:, 1:].min(axis=0)[0], at["right_foot"][1])
    np.testing.assert_allclose(at["right_ankle"] * [-1, 1, 1], at["left_ankle"], atol=1e-15)


def test_rate_name_and_provenance_are_read(write):
    motion = read_motion(write())
    assert motion.fps == pytest.approx(30)
    assert motion.name == "humanoid3d_clip"
    assert motion.source["loop"] == "wrap"
    assert len(motion.source["sha256"]) == 64


def test_quaternions_are_normalised_as_deepmimic_does(write):
    numbers = frames()
    scaled = numbers.copy()
    scaled[:, 16:20] *= 0.6
    np.testing.assert_allclose(
        read_deepmimic(write(scaled)).rotations, read_deepmimic(write(numbers)).rotations, atol=1e-12
    )


def changed(column, value, frame=3):
    numbers = frames()
    numbers[frame, column] = value
    return numbers


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        (changed(20, np.nan), "number 20 of frame 3 is nan"),
        (changed(20, 75.0), "right_knee in frame 3 is 75.0, expected rad"),
        (changed(slice(39, 43), 0.0), "quaternion of left_shoulder in frame 3 has length 0"),
        (changed(2, 93.0), "root height in frame 3 is 93.0, expected m"),
        (changed(0, 0.1), "frame 3 lasts 0.1 s, the others"),
        (changed(0, 0.0, slice(None)), "frames last 0.0 s"),
        (frames()[:, :43], "frame 0 is 43 numbers, expected the 44 numbers of humanoid3d"),
        (frames()[:0], "empty"),
        (frames()[0], "frame 0 is float"),
    ],
)
def test_a_wrong_number_is_refused_with_its_place(write, numbers, message):
    path = write(numbers)
    with pytest.raises(FileError, match=message) as caught:
        read_deepmimic(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "neither"),
        ("{", "not JSON"),
        ('{"Frames": 3}', "no list 'Frames'"),
        ('{"Motion": []}', "no list 'Frames'"),
        ("[1, 2]", "neither an AMASS npz nor a DeepMimic clip"),
        ('{"Frames": [[' + ", ".join(["true"] * 44) + "]]}", "something else than numbers"),
        ('{"Frames": [[' + ", ".join(["1" + "0" * 400] * 44) + "]]}", "double precision"),
        ('{"Frames":' + "[" * 100_000, "not JSON"),
    ],
)
def test_other_files_are_refused(tmp_path, text, message):
    path = tmp_path / "clip.txt"
    path.write_text(text)
    with pytest.raises(FileError, match=message):
        read_motion(path)


def test_another_loop_is_refused(write):
    with pytest.raises(FileError, match="'Loop' is 'often'"):
        read_deepmimic(write(Loop="often"))


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    for path in (tmp_path / "none.txt", tmp_path):
        for read in (read_motion, read_deepmimic):
            with pytest.raises(FileError, match=str(path)):
                read(path)


def test_the_format_is_told_from_the_content_not_the_name(write, whole_clip_path):
    assert read_motion(write(name="clip.npz")).shape_space == "deepmimic"
    assert read_motion(whole_clip_path).shape_space == "smpl"


@pytest.fixture
def whole_clip_path():
    return Path(__file__).parents[2] / "data" / "motions" / "demo" / "whole_body.npz"


@SHARED_FOLDER
@given(data=st.data())
def test_damaged_bytes_give_a_motion_or_a_file_error(tmp_path, data):
    path = tmp_path / "clip.txt"
    whole = json.dumps({"Loop": "wrap", "Frames": frames(3).tolist()}).encode()
    position = data.draw(st.integers(0, len(whole)))
    inserted = data.draw(
        st.one_of(st.binary(max_size=4), st.sampled_from([b"NaN", b"1e999", b"[", b"]", b"-", b"null"]))
    )
    skipped = data.draw(st.sampled_from([0, 1, 20, len(whole)]))
    path.write_bytes(whole[:position] + inserted + whole[position + skipped :])
    with contextlib.suppress(FileError):
        assert isinstance(read_motion(path), Motion)


@SHARED_FOLDER
@given(
    content=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["Frames", "Loop"]), inner),
        max_leaves=10,
    )
)
def test_any_json_gives_a_motion_or_a_file_error(tmp_path, content):
    path = tmp_path / "clip.json"
    path.write_text(json.dumps({"Frames": content}))
    with pytest.raises(FileError):
        read_motion(path)


def test_real_clips_are_read_with_the_published_offsets(data_root):
    folder = data_root / "motions" / "deepmimic"
    clips = sorted(folder.glob("humanoid3d_*.txt"))
    assert len(clips) == 9
    for clip in clips:
        motion = read_motion(clip)
        assert 0.7 < motion.duration < 4
        floor = body_of(motion).joints(motion).positions[..., 2].min()
        assert -0.25 < floor < 0.3, clip
    joints = json.loads((folder / "character_humanoid3d.txt").read_text())["Skeleton"]["Joints"]
    published = {j["Name"]: (j["AttachX"], j["AttachY"], j["AttachZ"]) for j in joints}
    assert published == {name: pytest.approx(offset) for name, _, offset, _ in CHARACTER}
