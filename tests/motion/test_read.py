"""The door to the readers, and what is a recording in a folder of many files."""

from __future__ import annotations

import numpy as np
import pytest

from musclewarp.errors import FileError
from musclewarp.motion import rotations
from musclewarp.motion.amass import read_amass, write_amass
from musclewarp.motion.motion import Motion
from musclewarp.motion.read import find_motions, read_motion


@pytest.fixture
def clip(tmp_path):
    local = np.tile(rotations.IDENTITY, (3, 24, 1))
    return write_amass(tmp_path / "clip.npz", Motion("clip", local, np.zeros((3, 3)), 60.0))


@pytest.mark.parametrize("suffix", [".npz", ".NPZ"])
def test_an_npz_is_read_as_amass_whatever_its_case(clip, suffix):
    path = clip.rename(clip.with_suffix(suffix))
    np.testing.assert_array_equal(read_motion(path).rotations, read_amass(path).rotations)


@pytest.mark.parametrize("content", [b"Kaydara FBX Binary", b"", b"[1, 2]"])
def test_an_unknown_format_is_refused_with_those_that_are_known(tmp_path, content):
    (tmp_path / "clip.npz").write_bytes(content)
    with pytest.raises(FileError, match=r"clip.npz: neither an AMASS npz nor a DeepMimic clip"):
        read_motion(tmp_path / "clip.npz")


def test_recordings_are_found_in_folders_of_any_depth_and_nothing_else(tmp_path):
    wanted = ["a.npz", "s1/a.npz", "s1/x/y/b.NPZ"]
    others = ["readme.txt", "s1/shape.npz", "s1/neutral_stagei.npz", ".hidden.npz", ".cache/a.npz", "s1/.x.tmp-12.npz"]
    for name in (*wanted, *others):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "folder.npz").mkdir()
    assert find_motions(tmp_path) == [tmp_path / name for name in wanted]


def test_a_folder_without_recordings_is_named(tmp_path):
    with pytest.raises(
        FileError, match=r"no recordings in it or below; they are called \*\.npz or humanoid3d_\*\.txt"
    ) as caught:
        find_motions(tmp_path)
    assert str(tmp_path) in str(caught.value)
