"""Files are written whole or not at all, and say what they hold."""

from __future__ import annotations

import json
import os
import stat

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save_file

from musclewarp.errors import FileError
from musclewarp.files import HEADER_KEY, read_arrays, write_arrays, write_atomically, write_text

ARRAYS = {
    "positions": np.random.default_rng(0).normal(size=(7, 3)),
    "count": np.arange(5, dtype=np.int64),
    "single": np.linspace(0, 1, 4, dtype=np.float32),
}
HEADER = {"name": "an ülna", "units": "m", "nested": {"list": [1, 2.5, None]}}
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def written(tmp_path):
    return write_arrays(tmp_path / "some.safetensors", ARRAYS, HEADER, "thing", 3)


def test_a_writer_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = write_text(tmp_path / "file.txt", "old")

    def fail_half_way(temporary):
        temporary.write_text("ne")
        raise RuntimeError("the disk is full")

    with pytest.raises(RuntimeError, match="disk"):
        write_atomically(path, fail_half_way)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file.txt"]


def test_a_writer_that_fails_makes_no_file_where_there_was_none(tmp_path):
    def fail(temporary):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "new.txt", fail)
    assert os.listdir(tmp_path) == []


def test_the_old_file_stands_until_the_new_one_is_whole(tmp_path):
    path = write_text(tmp_path / "file.txt", "old")
    seen = []

    def write(temporary):
        temporary.write_text("new")
        seen.append((path.read_text(), temporary.parent == path.parent, temporary.suffix))

    assert write_atomically(path, write) == path
    assert seen == [("old", True, ".txt")]  # in the same folder, or the rename would not be atomic
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["file.txt"]


def test_folders_are_made(tmp_path):
    assert write_text(tmp_path / "a" / "b" / "file.txt", "text").read_text() == "text"


def test_text_is_utf8_whatever_the_locale(tmp_path):
    assert write_text(tmp_path / "file.txt", "Δq ≤ 1°").read_bytes() == "Δq ≤ 1°".encode()


def test_files_are_as_readable_as_the_umask_lets_them_be(tmp_path):
    before = os.umask(0o027)
    try:
        mode = stat.S_IMODE(write_text(tmp_path / "file.txt", "text").stat().st_mode)
    finally:
        os.umask(before)
    assert mode == 0o640


def test_arrays_and_header_return_bit_for_bit(written):
    arrays, header = read_arrays(written, "thing", 3)
    assert arrays.keys() == ARRAYS.keys()
    for key, array in ARRAYS.items():
        assert arrays[key].dtype == array.dtype
        np.testing.assert_array_equal(arrays[key], array)
    assert header == {"kind": "thing", "version": 3, **HEADER}


def test_arrays_that_are_not_contiguous_return_in_their_order(tmp_path):
    array = np.arange(24.0).reshape(2, 3, 4)
    views = {"turned": array.transpose(2, 0, 1), "strided": array[:, ::2, ::-1]}
    arrays, _ = read_arrays(write_arrays(tmp_path / "f.safetensors", views, {}, "thing", 1), "thing", 1)
    for key, view in views.items():
        np.testing.assert_array_equal(arrays[key], view)


def test_other_programs_can_read_the_header_as_json(written):
    with safe_open(written, framework="numpy") as file:
        assert json.loads(file.metadata()[HEADER_KEY])["units"] == "m"


def test_a_header_that_is_not_json_is_refused_and_leaves_nothing(tmp_path):
    with pytest.raises(ValueError):
        write_arrays(tmp_path / "f.safetensors", ARRAYS, {"bad": float("nan")}, "thing", 1)
    assert os.listdir(tmp_path) == []


def test_another_kind_is_refused_with_both_names(written):
    with pytest.raises(FileError, match=r"some\.safetensors.*'thing'.*'other'"):
        read_arrays(written, "other", 3)


@pytest.mark.parametrize("version", [2, 4])
def test_another_version_is_refused_with_both_numbers(written, version):
    with pytest.raises(FileError, match=rf"version 3.*reads {version}"):
        read_arrays(written, "thing", version)


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    for path in (tmp_path / "nowhere.safetensors", tmp_path):
        with pytest.raises(FileError, match="no such file") as caught:
            read_arrays(path, "thing", 1)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize("metadata", [None, {"other": "x"}, {HEADER_KEY: "{not json"}, {HEADER_KEY: "[1, 2]"}])
def test_safetensors_of_others_are_refused(tmp_path, metadata):
    path = tmp_path / "theirs.safetensors"
    save_file({"x": np.zeros(3)}, path, metadata=metadata)
    with pytest.raises(FileError, match=r"theirs\.safetensors"):
        read_arrays(path, "thing", 1)


def test_every_truncated_file_is_refused(written):
    content = written.read_bytes()
    for size in range(0, len(content), 10):
        written.write_bytes(content[:size])
        with pytest.raises(FileError):
            read_arrays(written, "thing", 3)


@given(st.data())
@PATIENT
def test_damaged_bytes_are_refused_or_only_change_numbers(tmp_path, data):
    path = write_arrays(tmp_path / "some.safetensors", ARRAYS, HEADER, "thing", 3)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content))
    try:
        _, header = read_arrays(path, "thing", 3)
    except FileError:
        return
    assert header["kind"] == "thing"


@given(st.binary(max_size=200))
@PATIENT
def test_any_bytes_are_refused_as_a_file_error(tmp_path, content):
    path = tmp_path / "any.safetensors"
    path.write_bytes(content)
    with pytest.raises(FileError):
        read_arrays(path, "thing", 3)
