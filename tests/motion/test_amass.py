from __future__ import annotations

import io
import json
import os
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from musclewarp.errors import FileError
from musclewarp.motion import rotations
from musclewarp.motion.amass import read_amass, write_amass
from musclewarp.motion.motion import Motion


def clip(width=156, frames=12, **changes):
    """The arrays of a good clip, with some changed or, given None, left out."""
    random = np.random.default_rng(0)
    arrays = {
        "poses": random.normal(scale=0.5, size=(frames, width)),
        "trans": random.normal(size=(frames, 3)),
        "betas": random.normal(size=16),
        "gender": np.array("female"),
        "mocap_framerate": np.array(120.0),
    }
    return {key: value for key, value in {**arrays, **changes}.items() if value is not None}


@pytest.fixture
def save(tmp_path):
    def save(arrays):
        np.savez(tmp_path / "clip.npz", **arrays)
        return tmp_path / "clip.npz"

    return save


@pytest.mark.parametrize(("width", "layout"), [(72, "SMPL"), (156, "SMPL-H"), (165, "SMPL-X")])
def test_body_joints_are_read_from_every_layout_and_fingers_dropped(save, width, layout):
    arrays = clip(width)
    motion = read_amass(save(arrays))
    joints = 24 if layout == "SMPL" else 22
    expected = Rotation.from_rotvec(arrays["poses"][:, : 3 * joints].reshape(-1, 3)).as_matrix()
    np.testing.assert_allclose(
        rotations.to_matrix(motion.rotations[:, :joints]).reshape(-1, 3, 3), expected, atol=1e-12
    )
    if joints == 22:
        np.testing.assert_array_equal(motion.rotations[:, 22:], np.tile(rotations.IDENTITY, (12, 2, 1)))
    np.testing.assert_array_equal(motion.translation, arrays["trans"])
    np.testing.assert_array_equal(motion.betas, arrays["betas"])
    assert (motion.name, motion.fps, motion.gender) == ("clip", 120.0, "female")
    assert motion.source["layout"] == layout
    assert motion.source["file"] == "clip.npz"
    assert len(motion.source["sha256"]) == 64
    assert motion.shape_space == ("smplx" if layout == "SMPL-X" else "smpl")


def test_signs_of_quaternions_do_not_jump_where_axis_angle_does(save):
    angle = np.linspace(0, 4 * np.pi, 60)  # AMASS wraps at pi, and jumps there
    poses = np.zeros((60, 156))
    poses[:, 3] = (angle + np.pi) % (2 * np.pi) - np.pi
    motion = read_amass(save(clip(frames=60, poses=poses)))
    assert np.linalg.norm(np.diff(motion.rotations, axis=0), axis=-1).max() < 0.2


@pytest.mark.parametrize("gender", [np.array("male"), np.array(b"male"), np.array(["Male"]), np.array("male ")])
def test_gender_is_understood_as_text_bytes_or_list(save, gender):
    assert read_amass(save(clip(gender=gender))).gender == "male"


def test_optional_keys_have_neutral_defaults(save):
    motion = read_amass(save(clip(betas=None, gender=None)))
    assert motion.gender == "neutral"
    np.testing.assert_array_equal(motion.betas, np.zeros(16))


@pytest.mark.parametrize("shape", [(10,), (16,), (1, 16), (300,)])
def test_sixteen_betas_are_kept(save, shape):
    betas = np.arange(float(np.prod(shape)))
    motion = read_amass(save(clip(betas=betas.reshape(shape))))
    np.testing.assert_array_equal(motion.betas, betas[:16])


@pytest.mark.parametrize("key", ["mocap_framerate", "mocap_frame_rate", "fps"])
def test_frame_rate_is_read_under_each_of_its_names(save, key):
    assert read_amass(save(clip(**{"mocap_framerate": None, key: np.array([59.94])}))).fps == pytest.approx(59.94)


def test_frame_rate_comes_from_times_even_if_rounded_to_milliseconds(save):
    times = np.round(3 + np.arange(500) / 120, 3)
    motion = read_amass(save(clip(frames=500, mocap_framerate=None, time=times)))
    assert motion.fps == pytest.approx(120, rel=1e-3)


@pytest.mark.parametrize("lost", [1, 50, 98])
def test_a_lost_frame_shows_in_the_times(save, lost):
    times = np.delete(np.arange(101) / 120, lost)
    with pytest.raises(FileError, match="'time' is not uniform"):
        read_amass(save(clip(frames=100, time=times)))


def poses(frame, column, value):
    array = np.zeros((12, 156))
    array[frame, column] = value
    return array


TIMES = np.arange(12) / 120


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"poses": None}, "no 'poses'.*it has trans, betas"),
        ({"trans": None}, "no 'trans'"),
        ({"mocap_framerate": None}, "no frame rate"),
        ({"poses": np.zeros((12, 63))}, "63 wide, expected 72"),
        ({"poses": np.zeros((12, 52, 3))}, "'poses' has shape"),
        ({"poses": np.zeros((0, 156)), "trans": np.zeros((0, 3))}, "empty"),
        ({"poses": poses(7, 56, np.nan)}, r"'poses' is nan in frame 7, joint 18 \(left_elbow\)"),
        ({"poses": poses(7, 100, np.inf)}, "'poses' is inf in frame 7, joint 33"),
        ({"poses": poses(0, 0, 1e300)}, "in frame 0, joint 0"),
        ({"poses": np.zeros((12, 156), dtype=complex)}, "dtype complex128"),
        ({"poses": np.full((12, 156), "x")}, "dtype <U1"),
        ({"trans": np.zeros((11, 3))}, r"'trans' has shape \(11, 3\)"),
        ({"trans": np.full((12, 3), np.nan)}, "'trans' is nan in frame 0"),
        ({"betas": np.full(16, np.nan)}, "'betas' is nan"),
        ({"betas": np.zeros((12, 16))}, "'betas' has shape"),
        ({"mocap_framerate": np.array(0.0)}, "0.0 frames per second"),
        ({"mocap_framerate": np.array(-30)}, "-30.0 frames per second"),
        ({"mocap_framerate": np.array(np.nan)}, "nan frames per second"),
        ({"mocap_framerate": np.array(1e7)}, "frames per second"),
        ({"mocap_framerate": np.zeros(3)}, "expected one number"),
        ({"fps": np.array(60.0)}, "frame rates disagree: mocap_framerate 120, fps 60"),
        ({"time": 2 * TIMES}, "frame rates disagree"),
        ({"time": TIMES[:-1]}, "11 entries"),
        ({"time": TIMES[::-1]}, "does not increase after frame 0"),
        ({"time": np.where(np.arange(12) == 5, TIMES[4], TIMES)}, "does not increase after frame 4"),
        ({"time": np.full(12, np.nan)}, "'time' is nan"),
        ({"gender": np.array("robot")}, "'gender' is 'robot'"),
        ({"gender": np.array(["male", "male"])}, "'gender'"),
        ({"gender": np.array(1)}, "'gender' has shape"),
        ({"gender": np.frombuffer(b"\xff\xff\xff\xff", dtype="<U1")}, "'gender' is not text"),
    ],
)
def test_a_wrong_clip_is_refused_with_file_key_and_place(save, changes, message):
    path = save(clip(**changes))
    with pytest.raises(FileError, match=message) as caught:
        read_amass(path)
    assert str(path) in str(caught.value)


class Trap:
    """Unpickling it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("key", ["poses", "trans", "gender", "mocap_framerate", "betas"])
def test_pickled_objects_are_refused_and_never_run(save, tmp_path, key):
    trap = np.empty((), dtype=object)
    trap[()] = Trap(tmp_path / "sprung")
    with pytest.raises(FileError, match=f"'{key}' cannot be read.*pickled"):
        read_amass(save(clip(**{key: trap})))
    assert not (tmp_path / "sprung").exists()


def test_pickled_objects_under_other_keys_do_no_harm(save, tmp_path):
    trap = np.empty((), dtype=object)
    trap[()] = Trap(tmp_path / "sprung")
    assert read_amass(save(clip(marker_labels=trap))).num_frames == 12
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("kind", ["missing", "folder", "empty", "text", "npy", "zip of text", "fifo"])
def test_what_is_no_npz_is_refused(tmp_path, kind):
    path = tmp_path / "clip.npz"
    if kind == "folder":
        path.mkdir()
    elif kind == "empty":
        path.touch()
    elif kind == "text":
        path.write_text("poses, trans")
    elif kind == "npy":
        with open(path, "wb") as file:
            np.save(file, np.zeros((12, 156)))
    elif kind == "zip of text":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("poses", "not an array")
    elif kind == "fifo":
        os.mkfifo(path)
    with pytest.raises(FileError, match=str(path)):
        read_amass(path)


def test_truncated_clip_is_refused_at_every_length(tmp_path):
    whole = io.BytesIO()
    np.savez_compressed(whole, **clip(frames=2))
    data = whole.getvalue()
    path = tmp_path / "clip.npz"
    for length in range(0, len(data), 7):
        path.write_bytes(data[:length])
        with pytest.raises(FileError, match="truncated"):
            read_amass(path)


@pytest.mark.parametrize("turned_hands", [False, True])
def test_what_is_written_is_read_back(tmp_path, turned_hands):
    local = rotations.from_rotvec(np.random.default_rng(1).normal(size=(9, 24, 3)))
    if not turned_hands:
        local[:, 22:] = rotations.IDENTITY
    motion = Motion(
        "there", rotations.continuous(local), np.ones((9, 3)), 50.0, np.arange(16.0), "male", {"by": "test"}
    )
    back = read_amass(write_amass(tmp_path / "there.npz", motion))
    np.testing.assert_allclose(rotations.to_matrix(back.rotations), rotations.to_matrix(local), atol=1e-14)
    np.testing.assert_array_equal(back.translation, motion.translation)
    np.testing.assert_array_equal(back.betas, motion.betas)
    assert (back.name, back.fps, back.gender) == (motion.name, motion.fps, motion.gender)
    assert back.source["layout"] == ("SMPL" if turned_hands else "SMPL-H")
    with np.load(tmp_path / "there.npz") as arrays:
        assert json.loads(str(arrays["source"])) == {"by": "test"}
    first = (tmp_path / "there.npz").read_bytes()
    assert write_amass(tmp_path / "there.npz", motion).read_bytes() == first


def test_betas_of_smplx_come_back_as_those_of_smplx(tmp_path, save):
    arrays = clip(165)
    arrays["poses"][:, 66:] = 0.0
    motion = read_amass(save(arrays))
    back = read_amass(write_amass(tmp_path / "there.npz", motion))
    assert (back.shape_space, back.source["layout"]) == ("smplx", "SMPL-X")
    np.testing.assert_array_equal(back.betas, arrays["betas"])
    np.testing.assert_allclose(rotations.to_matrix(back.rotations), rotations.to_matrix(motion.rotations), atol=1e-14)


@pytest.mark.parametrize(("space", "hands"), [("stand-in", False), ("stand-in", True), ("smplx", True)])
def test_betas_that_no_layout_holds_are_refused(tmp_path, random_motion, space, hands):
    motion = random_motion(betas=np.eye(16)[2], shape_space=space)
    if not hands:
        local = motion.rotations.copy()
        local[:, 22:] = rotations.IDENTITY
        motion = replace(motion, rotations=local)
    with pytest.raises(FileError, match=f"no layout holds .*betas of '{space}'"):
        write_amass(tmp_path / "there.npz", motion)
    assert not list(tmp_path.iterdir())
    back = read_amass(write_amass(tmp_path / "there.npz", replace(motion, betas=np.zeros(16))))
    np.testing.assert_allclose(rotations.to_matrix(back.rotations), rotations.to_matrix(motion.rotations), atol=1e-14)


def test_real_clips_have_their_published_speed_and_length(data_root):
    expected = {"02_01": (343, 1.18), "02_02": (298, 1.63), "02_03": (173, 2.6)}  # frames, m/s: their CITATION.md
    for trial, (frames, speed) in expected.items():
        motion = read_amass(data_root / "motions" / "cmu_smpl" / f"cmu_{trial}_smplh.npz")
        assert (motion.num_frames, motion.fps, motion.source["layout"]) == (frames, 120.0, "SMPL-H")
        way = np.linalg.norm(motion.translation[-1, :2] - motion.translation[0, :2])
        assert way / motion.duration == pytest.approx(speed, rel=0.02)


def test_every_real_clip_is_read(data_root):
    paths = sorted((data_root / "motions" / "cmu_many").glob("*.npz"))
    assert len(paths) > 100
    assert all(read_amass(path).fps == 60.0 for path in paths)
