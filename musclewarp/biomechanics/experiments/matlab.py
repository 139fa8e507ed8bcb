"""Structures in MATLAB files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from numpy.typing import NDArray
from scipy.io.matlab import mat_struct

from musclewarp.errors import FileError

Floats = NDArray[np.float64]


def load_struct(path: Path, variable: str) -> MatlabStruct:
    """The structure `variable` of a MATLAB 5 to 7 file.

    Raises:
        FileError: no such file, damaged, of MATLAB 7.3, or without that structure.
    """
    if not path.is_file():
        raise FileError(f"{path}: no such file")
    try:
        content = scipy.io.loadmat(path, variable_names=[variable], struct_as_record=False, squeeze_me=True)
    except NotImplementedError as error:
        raise FileError(f"{path}: of MATLAB 7.3; save it again with '-v7'") from error
    except Exception as error:  # scipy and zlib raise a dozen kinds on damaged bytes
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise FileError(f"{path}: not a MATLAB file, or truncated ({reason})") from error
    if variable not in content:
        raise FileError(f"{path}: has no variable '{variable}'")
    return MatlabStruct(path, variable, content[variable])


class MatlabStruct:
    """A structure, and where it stands, for messages."""

    def __init__(self, path: Path, place: str, value: Any) -> None:
        if not isinstance(value, mat_struct):
            raise FileError(f"{path}: '{place}' is not a structure")
        self.path, self.place, self._value = path, place, value

    def fields(self) -> tuple[str, ...]:
        """Names of its fields."""
        return tuple(vars(self._value).get("_fieldnames", ()))

    def value(self, field: str) -> Any:
        """What a field holds.

        Raises:
            FileError: there is no such field.
        """
        if field not in self.fields():
            raise FileError(f"{self.path}: no '{self.place}.{field}'; there is {', '.join(self.fields()[:20])}")
        return getattr(self._value, field)

    def struct(self, *fields: str) -> MatlabStruct:
        """The structure that is reached through these fields."""
        inner = self
        for field in fields:
            inner = MatlabStruct(self.path, f"{inner.place}.{field}", inner.value(field))
        return inner

    def numbers(self, field: str, shape: tuple[int | None, ...]) -> Floats:
        """A field's finite real numbers, of this shape (None: any length).

        Raises:
            FileError: they are not.
        """
        array = np.atleast_1d(np.asarray(self.value(field)))
        place = f"{self.path}: '{self.place}.{field}'"
        if len(shape) == 2 and array.ndim == 1:  # a single row or column was squeezed
            array = array.reshape(1, -1) if shape[1] == array.size else array.reshape(-1, 1)
        if array.dtype.kind not in "fiu" or array.ndim != len(shape):
            raise FileError(f"{place} has shape {array.shape} and dtype {array.dtype}, expected {len(shape)}-D numbers")
        if any(want is not None and want != have for want, have in zip(shape, array.shape)):
            raise FileError(f"{place} has shape {array.shape}, expected {shape}")
        numbers = array.astype(np.float64)
        wrong = ~np.isfinite(numbers)
        if wrong.any():
            raise FileError(f"{place} is {numbers[wrong][0]} at {tuple(np.argwhere(wrong)[0] + 1)}")
        return numbers

    def texts(self, field: str) -> list[str]:
        """A field's cell array of texts."""
        cells = np.atleast_1d(np.asarray(self.value(field), dtype=object)).ravel()
        if not all(isinstance(cell, str) for cell in cells):
            raise FileError(f"{self.path}: '{self.place}.{field}' is not a cell array of texts")
        return [str(cell) for cell in cells]
