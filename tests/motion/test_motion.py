from __future__ import annotations

import dataclasses
import pickle

import numpy as np
import pytest

from musclewarp.errors import FileError, MusclewarpError
from musclewarp.motion import rotations
from musclewarp.motion.motion import SMPL_JOINTS, SMPL_PARENTS, Motion


def make(frames=5, **changes):
    fields = {
        "name": "clip",
        "rotations": np.tile(rotations.IDENTITY, (frames, 24, 1)),
        "translation": np.arange(3.0 * frames).reshape(frames, 3),
        "fps": 50.0,
    }
    return Motion(**{**fields, **changes})


def test_skeleton_is_a_tree_with_parents_first():
    assert len(SMPL_JOINTS) == len(SMPL_PARENTS) == len(set(SMPL_JOINTS)) == 24
    assert all(parent < joint for joint, parent in enumerate(SMPL_PARENTS))
    parent_of = {name: SMPL_JOINTS[SMPL_PARENTS[index]] for index, name in enumerate(SMPL_JOINTS) if index}
    assert parent_of["left_shoulder"] == "left_collar"
    assert parent_of["right_foot"] == "right_ankle"
    assert parent_of["right_collar"] == parent_of["neck"] == "spine3"


def test_duration_is_from_first_frame_to_last():
    assert make(101).duration == pytest.approx(2.0)
    assert make(1).duration == 0


def test_arrays_are_copies_that_nobody_can_write_to():
    mine = np.zeros((5, 3))
    motion = make(translation=mine)
    mine[0] = 7
    assert (motion.translation == 0).all()
    for array in (motion.rotations, motion.translation, motion.betas):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        motion.fps = 60.0


def test_motion_survives_pickle_between_processes():
    motion = pickle.loads(pickle.dumps(make(source={"file": "a.npz"})))
    assert motion.source == {"file": "a.npz"}
    np.testing.assert_array_equal(motion.translation, make().translation)


def test_clip_takes_frames_half_open():
    clip = make(10).clip(2, 5)
    assert clip.num_frames == 3
    np.testing.assert_array_equal(clip.translation, make(10).translation[2:5])
    assert (clip.name, clip.fps) == ("clip", 50.0)


@pytest.mark.parametrize(("start", "end"), [(-1, 3), (3, 3), (4, 2), (0, 11)])
def test_clip_outside_the_motion_is_refused(start, end):
    with pytest.raises(FileError, match="it has 0 to 10"):
        make(10).clip(start, end)


def broken(frame, joint, value):
    array = np.tile(rotations.IDENTITY, (5, 24, 1))
    array[frame, joint] = value
    return array


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rotations": broken(3, 18, [1, 1, 0, 0])}, "left_elbow in frame 3"),
        ({"rotations": broken(2, 0, np.nan)}, "pelvis in frame 2"),
        ({"rotations": broken(2, 0, [1e308, 1e308, 0, 0])}, "pelvis in frame 2"),
        ({"rotations": np.zeros((0, 24, 4)), "translation": np.zeros((0, 3))}, "shape"),
        ({"rotations": np.zeros((5, 23, 4))}, "shape"),
        ({"rotations": 1.0}, "shape"),
        ({"translation": np.zeros((4, 3))}, "shape"),
        ({"translation": np.full((5, 3), np.inf)}, "translation in frame 0"),
        ({"betas": np.zeros(17)}, "betas"),
        ({"betas": np.full(10, np.nan)}, "betas"),
        ({"fps": 0.0}, "fps"),
        ({"fps": np.nan}, "fps"),
        ({"gender": "none"}, "gender"),
    ],
)
def test_a_wrong_motion_is_refused_with_its_place(changes, message):
    with pytest.raises(MusclewarpError, match=message) as caught:
        make(**changes)
    assert "'clip'" in str(caught.value)
