"""Licensed SMPL files without their code: a pickle becomes inert records, and of these only arrays are made.

SMPL's pickles come from Python 2 and name classes of numpy, scipy.sparse and chumpy. None of them is imported or
called while reading: each name on the allow-list becomes a record of its arguments and state, any other is refused.
"""

from __future__ import annotations

import io
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from musclewarp.errors import FileError

BODY_KEYS = ("v_template", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table", "f")
LARGEST = 2**24  # entries of a sparse matrix made dense; SMPL-X's regressor, the largest, has half a million

_KINDS = {
    **{(module, "_reconstruct"): "array" for module in ("numpy.core.multiarray", "numpy._core.multiarray")},
    **{(module, "scalar"): "scalar" for module in ("numpy.core.multiarray", "numpy._core.multiarray")},
    **{(module, "_frombuffer"): "buffer" for module in ("numpy.core.numeric", "numpy._core.numeric")},
    ("numpy", "ndarray"): "class",
    ("numpy", "dtype"): "dtype",
    **{(f"scipy.sparse.{module}", "csc_matrix"): "csc" for module in ("csc", "_csc")},
    **{(f"scipy.sparse.{module}", "csr_matrix"): "csr" for module in ("csr", "_csr")},
    ("chumpy.ch", "Ch"): "chumpy",
    ("chumpy.reordering", "Select"): "chumpy",
    **{(module, "_reconstructor"): "reconstruct" for module in ("copy_reg", "copyreg")},
    **{(module, name): "class" for module in ("__builtin__", "builtins") for name in ("object", "set")},
    ("_codecs", "encode"): "encode",
    **{(module, "bytes"): "empty" for module in ("__builtin__", "builtins")},
}


class _Record:
    """What the pickle said about one object: its kind, the arguments it was made with, the state it was given."""

    kind = ""
    args: tuple[Any, ...]
    state: Any = None

    def __new__(cls, *args: Any) -> _Record:
        record = super().__new__(cls)
        record.args = args
        return record

    def __setstate__(self, state: Any) -> None:
        self.state = state


# the Python unpickler: the one in C allocates whatever a forged memo index asks for
class _Unpickler(pickle._Unpickler):  # pyright: ignore[reportPrivateUsage]
    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)  # pyright: ignore[reportPrivateUsage]

    read: Callable[[int], bytes]
    append: Callable[[object], None]

    def load_bytearray8(self) -> None:  # its own allocates whatever a forged length asks for
        (length,) = struct.unpack("<Q", self.read(8))
        self.append(bytearray(self.read(length)))

    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray8

    def find_class(self, module: str, name: str) -> Any:
        kind = _KINDS.get((module, name))
        if kind is None:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not on the allow-list")
        # each is new, for a pickle may write to what it names
        if kind == "reconstruct":  # Python 2: an instance of a class, without arguments
            return lambda record_class, *_: record_class()
        if kind == "encode":  # Python 3 writing bytes in an old protocol
            return lambda text, encoding: text.encode({"latin1": "latin1"}[encoding])
        if kind == "empty":  # the same, of no bytes
            return lambda: b""
        return type("_KindOfRecord", (_Record,), {"kind": kind})


def read_pickle(path: str | Path) -> dict[str, Any]:
    """Read a foreign pickle of one dict: plain values as they are, everything else as inert records (`to_array`).

    Raises:
        FileError: not a pickle of a dict, truncated, or it names a class that is not on the allow-list.
    """
    path = Path(path)
    if not path.is_file():
        raise FileError(f"{path}: no such file")
    try:
        content = _Unpickler(io.BytesIO(path.read_bytes()), encoding="latin1").load()
    except Exception as error:  # a forged pickle can make the unpickler raise anything
        raise FileError(
            f"{path}: not a pickle that may be read ({str(error)[:200] or type(error).__name__})"
        ) from error
    if not isinstance(content, dict):
        raise FileError(f"{path}: holds no dict of arrays")
    return content


def to_array(value: Any) -> NDArray[Any]:
    """The numeric array that an inert record of numpy, scipy.sparse (made dense) or chumpy stands for.

    Raises:
        ValueError, TypeError, KeyError and their like: the record is inconsistent.
    """
    kind = value.kind if isinstance(value, _Record) else None
    if kind == "array":
        _, shape, dtype, fortran, raw = value.state
        return _from_raw(raw, dtype, shape, "F" if fortran else "C")
    if kind == "buffer":
        raw, dtype, shape, order = value.args
        return _from_raw(raw, dtype, shape, order)
    if kind in ("csc", "csr"):
        return _dense(value.state, by_column=kind == "csc")
    if kind == "chumpy" and "a" in value.state:  # Select: the entries `idxs` of `a`, in a shape of its own
        chosen = to_array(value.state["a"]).ravel()[to_array(value.state["idxs"])]
        return chosen.reshape(value.state.get("preferred_shape", chosen.shape))
    if kind == "chumpy":
        return to_array(value.state["x"])
    raise TypeError(f"a {kind or type(value).__name__} where an array was expected")


def read_body_file(path: str | Path) -> dict[str, NDArray[Any]]:
    """The arrays of an SMPL, SMPL-H or SMPL-X model file (.pkl or .npz) that `smplx` needs, dense and numeric.

    V vertices, F faces, K joints: `v_template` `(V, 3)` m, `shapedirs` `(V, 3, B)`, `posedirs` `(V, 3, 9 (K - 1))`,
    `J_regressor` `(K, V)`, `weights` `(V, K)`, `kintree_table` `(2, K)` int64, `f` `(F, 3)` int64.

    Raises:
        FileError: missing, not such a file, truncated, a key is missing, inconsistent or not finite, or a pickle
            names a class that is not on the allow-list.
    """
    path = Path(path)
    if not path.is_file():
        raise FileError(f"{path}: no such file")
    arrays: dict[str, NDArray[Any]] = {}
    try:
        if path.suffix == ".pkl":
            content = read_pickle(path)
            arrays |= {key: to_array(content[key]) for key in BODY_KEYS}
        else:
            with np.load(path, allow_pickle=False) as content:
                arrays |= {key: np.asarray(content[key]) for key in BODY_KEYS}
        _check_body(path, arrays)
    except FileError:
        raise
    except Exception as error:  # the records of a forged pickle, or the bytes of a forged npz, can be anything
        raise FileError(f"{path}: not an SMPL model file ({type(error).__name__}: {str(error)[:120]})") from error
    return arrays


def _check_body(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    vertices, joints = arrays["v_template"].shape[0], arrays["kintree_table"].shape[1]
    shapes = {
        "v_template": (vertices, 3),
        "shapedirs": (vertices, 3, arrays["shapedirs"].shape[-1]),
        "posedirs": (vertices, 3, 9 * (joints - 1)),
        "J_regressor": (joints, vertices),
        "weights": (vertices, joints),
        "kintree_table": (2, joints),
        "f": (arrays["f"].shape[0], 3),
    }
    for key, shape in shapes.items():
        if arrays[key].shape != shape:
            raise FileError(f"{path}: '{key}' has shape {arrays[key].shape}, expected {shape}")
        if arrays[key].dtype.kind not in "fiu" or not np.isfinite(arrays[key]).all():
            raise FileError(f"{path}: '{key}' holds something other than finite numbers")
    for key in ("kintree_table", "f"):
        arrays[key] = arrays[key].astype(np.int64)
    parents = arrays["kintree_table"][0, 1:]
    if joints < 24 or (parents < 0).any() or (parents >= np.arange(1, joints)).any():
        raise FileError(f"{path}: 'kintree_table' is no tree of 24 joints or more, parents first")


def _from_raw(raw: Any, dtype: Any, shape: Any, order: Any) -> NDArray[Any]:
    code, byte_order = dtype.args[0], dtype.state[1]
    if code not in ("b1", "f2", "f4", "f8", *(f"{sign}{size}" for sign in "iu" for size in (1, 2, 4, 8))):
        raise TypeError(f"an array of dtype {code!r}")
    if isinstance(raw, str):  # Python 2 wrote bytes as str, read as latin1
        raw = raw.encode("latin1")
    flat = np.frombuffer(raw, dtype=np.dtype(code).newbyteorder(byte_order))
    return flat.reshape(shape, order=order).astype(np.dtype(code))


def _dense(state: Any, by_column: bool) -> NDArray[Any]:
    # by hand, for scipy's own check of the format lets through what makes its C code crash
    data, indices, indptr = (to_array(state[key]) for key in ("data", "indices", "indptr"))
    shape = tuple(int(size) for size in state.get("_shape", state.get("shape")))
    counts = np.diff(indptr.astype(np.int64))
    if len(shape) != 2 or min(shape) < 0 or shape[0] * shape[1] > LARGEST or len(counts) != shape[by_column]:
        raise ValueError(f"a sparse matrix of shape {shape}")
    if indptr[0] != 0 or (counts < 0).any() or not counts.sum() == len(indices) == len(data) or (indices < 0).any():
        raise ValueError("a sparse matrix whose indices do not fit together")
    major = np.repeat(np.arange(len(counts)), counts)
    dense = np.zeros(shape, dtype=data.dtype)
    np.add.at(dense, (indices, major) if by_column else (major, indices), data)
    return dense
