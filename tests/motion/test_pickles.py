from __future__ import annotations

import contextlib
import os
import pickle
import tracemalloc

import numpy as np
import pytest
from scipy import sparse

from musclewarp.errors import FileError
from musclewarp.motion.pickles import BODY_KEYS, read_body_file, read_pickle, to_array

ARRAY = np.arange(24, dtype=np.float64).reshape(2, 3, 4) / 7


class Call:
    """Pickles as a call of a function."""

    def __init__(self, function, *args):
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "array",
    [
        ARRAY,
        np.asfortranarray(ARRAY),
        ARRAY[:, ::2],
        ARRAY.astype(">f4"),
        np.arange(5, dtype=np.uint32),
        np.zeros((0, 3)),
        np.array(2.5),
        np.array([True, False]),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_arrays_come_back_exactly_from_every_protocol(write_old_pickle, array, protocol):
    found = to_array(read_pickle(write_old_pickle({"a": array}, protocol=protocol))["a"])
    np.testing.assert_array_equal(found, array)
    assert found.dtype == array.dtype.newbyteorder("=")


def test_strings_of_python_2_are_read_as_bytes_of_arrays(tmp_path):
    raw = np.array([1.5, -2.0]).tobytes()
    head = b"\x80\x02}U\x01acnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    dtype = b"cnumpy\ndtype\nU\x02f8K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    path = tmp_path / "two.pkl"
    path.write_bytes(head + b"(K\x01K\x02\x85" + dtype + b"\x89U\x10" + raw + b"tbs.")
    np.testing.assert_array_equal(to_array(read_pickle(path)["a"]), [1.5, -2.0])


@pytest.mark.parametrize("protocol", [0, 1, 2])
@pytest.mark.parametrize("kind", [sparse.csc_matrix, sparse.csr_matrix])
def test_sparse_matrices_become_dense(write_old_pickle, kind, protocol):
    dense = np.array([[0.0, 2.0, 0.0], [1.0, 0.0, 0.0]])
    found = read_pickle(write_old_pickle({"a": kind(dense)}, protocol=protocol))
    np.testing.assert_array_equal(to_array(found["a"]), dense)


@pytest.mark.parametrize("protocol", [0, 1, 2])
@pytest.mark.parametrize("select", [False, True])
def test_chumpy_arrays_are_read_without_chumpy(write_old_pickle, chumpy, select, protocol):
    found = read_pickle(write_old_pickle({"a": chumpy(ARRAY, select)}, protocol=protocol))
    np.testing.assert_array_equal(to_array(found["a"]), ARRAY)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    ("function", "named"),
    [(os.system, "system"), (os.mkdir, "mkdir"), (eval, "builtins.eval|__builtin__.eval"), (np.fromfile, "fromfile")],
)
def test_a_pickle_that_calls_a_function_is_refused_by_name_and_not_run(tmp_path, sprung, function, named, protocol):
    args = {os.system: f"mkdir {sprung}", os.mkdir: str(sprung), eval: f"__import__('os').mkdir({str(sprung)!r})"}
    path = tmp_path / "bad.pkl"
    path.write_bytes(pickle.dumps({"v_template": Call(function, args.get(function, str(path)))}, protocol=protocol))
    for read in (read_pickle, read_body_file):
        with pytest.raises(FileError, match=named) as caught:
            read(path)
        assert "allow-list" in str(caught.value)
    assert not sprung.exists()


def test_an_allowed_module_does_not_allow_its_other_names(tmp_path):
    path = tmp_path / "bad.pkl"
    for name in (b"numpy.core.multiarray\nfromfile", b"builtins\ngetattr", b"numpy\ncore.multiarray.fromfile"):
        path.write_bytes(b"\x80\x02c" + name + b"\n.")
        with pytest.raises(FileError, match="allow-list"):
            read_pickle(path)


def test_one_pickle_cannot_change_how_the_next_is_read(write_old_pickle, tmp_path):
    # BUILD writes {'kind': 'csc'} onto the class, not onto an instance of it
    path = tmp_path / "bad.pkl"
    for target in (b"cnumpy\ndtype\n", b"ccopy_reg\n_reconstructor\n", b"c_codecs\nencode\n"):
        path.write_bytes(b"\x80\x02" + target + b"N}U\x04kindU\x03cscs\x86b.")
        with pytest.raises(FileError):
            read_pickle(path)
    np.testing.assert_array_equal(to_array(read_pickle(write_old_pickle({"a": ARRAY}))["a"]), ARRAY)


@pytest.mark.parametrize(
    "forged",
    [
        b"\x80\x02}r\xff\xff\xff\x7f",  # a memo index: C's unpickler would allocate 2^31 slots
        b"\x80\x05}\x96\x00\x00\x00\x00\x02\x00\x00\x00",  # a bytearray of 8 GB
        b"\x80\x05}\x8e\x00\x00\x00\x00\x02\x00\x00\x00",  # bytes of 8 GB
        b"\x80\x04\x95\x00\x00\x00\x00\x02\x00\x00\x00}",  # a frame of 8 GB
        b"\x80\x02}\x8b\xff\xff\xff\x7f",  # an integer of 2 GB
    ],
)
def test_forged_lengths_cost_no_memory(tmp_path, forged):
    path = tmp_path / "bad.pkl"
    path.write_bytes(forged + b".")
    tracemalloc.start()
    with contextlib.suppress(FileError):
        read_pickle(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**20


@pytest.mark.parametrize("value", [3.0, "text", [1.0], None, {"x": 1}, {1, 2}, np.array(["a"]), np.array([None])])
def test_what_stands_for_no_numeric_array_is_refused(write_smpl, value, write_old_pickle):
    found = read_pickle(write_old_pickle({"a": value}, protocol=2))
    with pytest.raises((TypeError, ValueError)):
        to_array(found["a"])


def test_a_sparse_matrix_of_absurd_shape_is_refused(write_old_pickle):
    huge = sparse.csc_matrix((10**9, 5))
    with pytest.raises(ValueError, match="shape"):
        to_array(read_pickle(write_old_pickle({"a": huge}))["a"])


@pytest.mark.parametrize(
    ("key", "forged"),
    [
        ("indptr", [0, 5, 0]),  # scipy accepts this one, and its C code reads where it should not
        ("indptr", [0, -(2**31), 2]),
        ("indptr", [1, 1, 2]),
        ("indptr", [0, 1]),
        ("indices", [0, 3]),
        ("indices", [0, -1]),
        ("indices", [0, 1, 2]),
        ("data", [1.0]),
    ],
)
def test_a_sparse_matrix_with_forged_indices_is_refused(write_old_pickle, key, forged):
    matrix = sparse.csc_matrix(([1.0, 2.0], [0, 1], [0, 1, 2]), shape=(3, 2))
    matrix.__dict__[key] = np.array(forged)
    with pytest.raises((ValueError, IndexError)):
        to_array(read_pickle(write_old_pickle({"a": matrix}))["a"])


def test_smpl_pickle_gives_all_arrays(write_smpl):
    arrays, path = write_smpl("SMPL_MALE.pkl")
    found = read_body_file(path)
    assert set(found) == set(BODY_KEYS)
    for key in BODY_KEYS:
        np.testing.assert_array_equal(found[key], arrays[key])


@pytest.mark.parametrize("key", BODY_KEYS)
def test_npz_body_without_a_key_or_with_a_wrong_one_is_refused(tmp_path, model_arrays, key):
    path = tmp_path / "model.npz"
    arrays = model_arrays("smpl", shapes=1)
    np.savez(path, **{name: value for name, value in arrays.items() if name != key})
    with pytest.raises(FileError, match=key):
        read_body_file(path)
    for wrong in (arrays[key][:-1, ..., :-1], np.full(arrays[key].shape, np.nan), np.zeros(()), np.array(["a"])):
        np.savez(path, **{**arrays, key: wrong})
        with pytest.raises(FileError, match=str(path)):
            read_body_file(path)


def test_body_whose_parents_follow_their_children_is_refused(tmp_path, model_arrays):
    arrays = model_arrays("smpl", shapes=1)
    arrays["kintree_table"][0, 5] = 9
    np.savez(tmp_path / "model.npz", **arrays)
    with pytest.raises(FileError, match="tree"):
        read_body_file(tmp_path / "model.npz")


@pytest.mark.parametrize("name", ["gone.pkl", "gone.npz", "text.pkl", "text.npz", "list.pkl"])
def test_what_is_no_body_is_refused(tmp_path, name):
    if name.startswith("text"):
        (tmp_path / name).write_text("SMPL")
    if name.startswith("list"):
        (tmp_path / name).write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(FileError, match=name):
        read_body_file(tmp_path / name)
