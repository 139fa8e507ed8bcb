"""Readers of foreign files either give a valid object or raise FileError: nothing else, whatever the bytes."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import warnings
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse

from musclewarp.errors import FileError
from musclewarp.motion.amass import FPS_KEYS, read_amass
from musclewarp.motion.motion import Motion
from musclewarp.motion.pickles import read_body_file, read_pickle, to_array

KEYS = ("poses", "trans", "betas", "gender", "mocap_framerate", "fps", "time")
SHARED_FOLDER = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def clip(frames=4):
    return {
        "poses": np.zeros((frames, 156)),
        "trans": np.zeros((frames, 3)),
        "betas": np.zeros(16),
        "gender": np.array("male"),
        "mocap_framerate": np.array(100.0),
    }


def npz(arrays, compressed=False):
    file = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(file, **arrays)
    return file.getvalue()


GOOD = {compressed: npz(clip(), compressed) for compressed in (False, True)}


def read_bytes(folder, data):
    path = folder / "clip.npz"
    path.write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy and zipfile warn of what they then refuse
        try:
            motion = read_amass(path)
        except FileError as error:
            message = str(error)
        else:
            assert isinstance(motion, Motion)
            return motion
    assert str(path) in message
    return None


@given(st.binary(max_size=300))
@SHARED_FOLDER
def test_random_bytes_are_refused(tmp_path, data):
    for start in (b"", b"PK\x03\x04", b"\x93NUMPY\x01\x00"):
        assert read_bytes(tmp_path, start + data) is None


@given(st.booleans(), st.integers(0, 2**20), st.binary(min_size=1, max_size=8))
@SHARED_FOLDER
def test_overwritten_bytes_give_a_motion_or_a_file_error(tmp_path, compressed, place, patch):
    data = bytearray(GOOD[compressed])
    place %= len(data)
    data[place : place + len(patch)] = patch
    read_bytes(tmp_path, bytes(data))


@given(st.booleans(), st.integers(0, 2**20), st.integers(0, 2**20))
@SHARED_FOLDER
def test_a_missing_stretch_of_bytes_is_refused_or_harmless(tmp_path, compressed, start, length):
    data = GOOD[compressed]
    start %= len(data)
    read_bytes(tmp_path, data[:start] + data[start + 1 + length % len(data) :])


@given(st.binary(min_size=1, max_size=60), st.integers(0, 127), st.sampled_from(sorted(clip())))
@SHARED_FOLDER
def test_forged_array_headers_are_refused_or_harmless(tmp_path, patch, place, key):
    member = io.BytesIO()
    np.save(member, clip()[key])
    data = bytearray(member.getvalue())
    data[place : place + len(patch)] = patch
    forged = io.BytesIO(npz({name: value for name, value in clip().items() if name != key}))
    with zipfile.ZipFile(forged, "a") as archive:
        archive.writestr(f"{key}.npy", bytes(data))
    read_bytes(tmp_path, forged.getvalue())


def any_array():
    kinds = st.one_of(hnp.scalar_dtypes(), hnp.unicode_string_dtypes(), hnp.byte_string_dtypes())
    shapes = st.one_of(
        hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=6),
        st.sampled_from([(4, 72), (4, 156), (4, 165), (1, 156), (0, 156), (4, 3), (1, 3), (4,), (16,)]),
    )
    return hnp.arrays(kinds, shapes)


@given(st.dictionaries(st.sampled_from(KEYS), any_array()), st.sets(st.sampled_from(KEYS)))
@SHARED_FOLDER
def test_any_dtype_any_shape_and_any_missing_key_give_a_motion_or_a_file_error(tmp_path, changes, missing):
    arrays = {key: value for key, value in (clip() | changes).items() if key not in missing}
    motion = read_bytes(tmp_path, npz(arrays))
    if motion is not None:
        assert {"poses", "trans"} <= arrays.keys()
        assert "time" in arrays or any(key in arrays for key in FPS_KEYS)


class Trap:
    """Unpickling it makes a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@given(st.sampled_from(KEYS), hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5), st.integers(0, 2**16))
@SHARED_FOLDER
def test_traps_of_any_shape_never_spring(tmp_path, sprung, key, shape, cut):
    array = np.empty(shape, dtype=object)
    array.fill(Trap(sprung))
    data = npz(clip() | {key: array})
    assert read_bytes(tmp_path, data) is None
    read_bytes(tmp_path, data[: cut % len(data)])
    assert not sprung.exists()


ARRAY_KINDS: set[str] = set()  # of all arrays that damaged pickles gave
PICKLES = [
    pickle.dumps({"v_template": np.arange(6.0).reshape(2, 3), "J": sparse.csc_matrix(np.eye(3)), "s": {1, 2}}, protocol)
    for protocol in range(6)
]


def read_both_ways(path):
    with contextlib.suppress(FileError):
        for value in read_pickle(path).values():
            with contextlib.suppress(Exception):  # an inconsistent record; read_body_file makes it a FileError
                array = to_array(value)
                ARRAY_KINDS.add(array.dtype.kind)
    assert set("biuf") >= ARRAY_KINDS
    with contextlib.suppress(FileError):
        read_body_file(path)


@given(st.sampled_from(PICKLES), st.integers(0, 2**16), st.binary(max_size=6), st.integers(0, 6))
@SHARED_FOLDER
def test_a_damaged_pickle_gives_records_or_a_file_error(tmp_path, data, place, patch, lost):
    place %= len(data)
    path = tmp_path / "body.pkl"
    path.write_bytes(data[:place] + patch + data[place + lost :])
    read_both_ways(path)


@given(st.binary(max_size=200))
@SHARED_FOLDER
def test_random_pickles_give_records_or_a_file_error(tmp_path, data):
    path = tmp_path / "body.pkl"
    path.write_bytes(b"\x80\x02" + data + b".")
    read_both_ways(path)


@given(st.integers(0, 5), st.integers(0, 2**16))
@SHARED_FOLDER
def test_a_truncated_pickle_is_refused(tmp_path, protocol, length):
    path = tmp_path / "body.pkl"
    path.write_bytes(PICKLES[protocol][: length % len(PICKLES[protocol])])
    with pytest.raises(FileError):
        read_pickle(path)


def test_a_pickle_that_unfolds_without_end_is_refused(tmp_path):
    # a list of ten references to a list of ten references to ...: 10^30 numbers in a few hundred bytes
    nested = [1.0] * 10
    for _ in range(29):
        nested = [nested] * 10
    path = tmp_path / "body.pkl"
    path.write_bytes(pickle.dumps({"v_template": nested}))
    with pytest.raises(FileError, match="not an SMPL model file"):
        read_body_file(path)
