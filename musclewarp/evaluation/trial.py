"""`Trial`: one recorded episode, everything a biomechanist would want, in SI units, in one file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musclewarp.errors import FileError
from musclewarp.files import read_arrays, write_arrays

Floats = NDArray[np.float32]
_KIND, _VERSION = "trial", 1
SUFFIX = ".trial.safetensors"
_HEADER: dict[str, Any] = {  # attribute: what it is in JSON
    **dict.fromkeys(("clip", "controller", "model", "model_hash"), str),
    **dict.fromkeys(("muscles", "joints", "sites", "feet"), list),
    "dt": (int, float),
    "failed_at": int,
    "source": dict,
}


@dataclass(frozen=True, eq=False)
class Trial:
    """T frames of one world following one clip; float32, world frame, frame t is `t * dt` seconds after the start.

    The state and the reference of a frame belong to the same instant; excitations, muscle forces and contacts to the
    control step that led to it (frame 0: to none, excitations are zero).

    Attributes:
        clip: name of the reference.
        controller: what acted: "policy", "untrained" or "zero_excitation".
        model, model_hash: of the muscle model.
        dt: s between frames.
        muscles, joints, sites, feet: names for the M, J, S and F columns.
        failed_at: first frame that broke the success rule; -1 if none did.
        arrays: by name. `qpos (T, nq)`, `qvel (T, nv)`; `joint_pos, joint_vel, reference_joint_pos,
            reference_joint_vel (T, J)` rad, rad/s; `site_pos, reference_site_pos, recorded_site_pos (T, S, 3)` m;
            `excitation, activation (T, M)` in [0, 1]; `muscle_length` m, `muscle_velocity` m/s, `muscle_force (T, M)`
            N; `foot_force, foot_cop (T, F, 3)` N, m; `reference_qpos (T, nq)`.
        source: provenance.
    """

    clip: str
    controller: str
    model: str
    model_hash: str
    dt: float
    muscles: tuple[str, ...]
    joints: tuple[str, ...]
    sites: tuple[str, ...]
    feet: tuple[str, ...]
    failed_at: int
    arrays: Mapping[str, Floats]
    source: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Floats:
        return self.arrays[name]

    @property
    def num_frames(self) -> int:
        """T."""
        return len(self.arrays["qpos"])

    @property
    def time(self) -> NDArray[np.float64]:
        """Seconds since the start `(T,)`."""
        return np.arange(self.num_frames, dtype=np.float64) * self.dt

    @property
    def success(self) -> bool:
        """No frame broke the success rule."""
        return self.failed_at < 0

    @property
    def survived(self) -> int:
        """Frames before the first failure."""
        return self.num_frames if self.success else self.failed_at

    def save(self, path: str | Path) -> Path:
        """Write to a safetensors file with a JSON header, atomically."""
        header = {key: getattr(self, key) for key in _HEADER} | {"source": dict(self.source), "units": "SI, radians"}
        return write_arrays(path, dict(self.arrays), header, _KIND, _VERSION)

    @classmethod
    def load(cls, path: str | Path) -> Trial:
        """Read what `save` wrote.

        Raises:
            FileError: the file is not a trial.
        """
        arrays, header = read_arrays(path, _KIND, _VERSION)
        for key, kind in _HEADER.items():
            value = header.get(key)
            if not isinstance(value, kind) or (isinstance(value, list) and not all(isinstance(n, str) for n in value)):
                raise FileError(f"{path}: incomplete trial: '{key}' is {value!r:.40}")
        frames = {key: len(array) if array.ndim else 0 for key, array in arrays.items()}
        if "qpos" not in arrays or set(frames.values()) - {frames["qpos"]}:
            raise FileError(f"{path}: incomplete trial: every array, 'qpos' too, needs the same frames ({frames})")
        values: dict[str, Any] = {
            key: tuple(header[key]) if kind is list else header[key] for key, kind in _HEADER.items()
        }
        return cls(**values, arrays=arrays)
