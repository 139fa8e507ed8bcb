"""`Reference`: what a muscle model should do, consistent with its constraints, at the control rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import torch
from numpy.typing import NDArray

from musclewarp.errors import FileError
from musclewarp.files import read_arrays, read_header, write_arrays
from musclewarp.models import MuscleModel
from musclewarp.models.kinematics import Kinematics
from musclewarp.references.seam import seam_gap

Floats = NDArray[np.float64]
SUFFIX = ".ref.safetensors"
_KIND, _VERSION = "reference", 1
_ARRAYS = ("qpos", "qvel", "site_positions", "target_positions")
_TEXTS, _TABLES = ("name", "model", "model_hash"), ("quality", "source")
_HEADER = {**dict.fromkeys(_TEXTS, str), "dt": (int, float), "sites": list, **dict.fromkeys(_TABLES, dict)}


@dataclass(frozen=True, eq=False)
class Reference:
    """A movement of one muscle model; float64 arrays, T frames at 1 / `dt` Hz.

    Attributes:
        name: of the clip.
        model: name of the muscle model.
        model_hash: `MuscleModel.hash` of the model that it was made for.
        dt: s between frames; the environment's control step.
        qpos: `(T, nq)`, on the joint couplings and inside the joint limits.
        qvel: `(T, nv)`, central differences of `qpos` in MuJoCo's sense, on the couplings' tangent.
        sites: names of the S tracking sites, the root first.
        site_positions: `(T, S, 3)` m, of the model at `qpos`.
        target_positions: `(T, S, 3)` m, the recording's own joints scaled to the model: what `qpos` was fitted to.
        activations: `(T, M)` in [0, 1], muscle activations that produce the movement (see
            `dynamics.static_optimization`); None where they are not known.
        loop: whether the movement repeats itself for ever: the last frame is the first one again, with a free root
            after a turn about z and a horizontal displacement, which add up from cycle to cycle (`loop.cut_loop`).
        quality: numbers about the fit, see `references.quality`.
        source: provenance of the recording.
    """

    name: str
    model: str
    model_hash: str
    dt: float
    qpos: Floats
    qvel: Floats
    sites: tuple[str, ...]
    site_positions: Floats
    target_positions: Floats
    activations: Floats | None = None
    loop: bool = False
    quality: Mapping[str, float] = field(default_factory=dict)
    source: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        frames = len(self.qpos)
        if self.activations is not None and not ((self.activations >= 0) & (self.activations <= 1)).all():
            raise FileError(f"reference '{self.name}': activations leave [0, 1]")
        if frames < 2:
            raise FileError(f"reference '{self.name}' has {frames} frames; it needs at least 2")
        for key, array in self._arrays().items():
            if len(array) != frames:
                raise FileError(f"reference '{self.name}': {key} has {len(array)} frames, qpos {frames}")
            bad = ~np.isfinite(array.reshape(frames, -1)).all(axis=1)
            if bad.any():
                raise FileError(f"reference '{self.name}': {key} is not finite in frame {int(bad.argmax())}")
        if not 0 < self.dt < 1:
            raise FileError(f"reference '{self.name}': dt is {self.dt} s")

    def _arrays(self) -> dict[str, Floats]:
        known = {key: getattr(self, key) for key in _ARRAYS}
        return known if self.activations is None else known | {"activations": self.activations}

    @property
    def num_frames(self) -> int:
        """T."""
        return len(self.qpos)

    @property
    def duration(self) -> float:
        """Seconds from the first frame to the last."""
        return (self.num_frames - 1) * self.dt

    def save(self, path: str | Path) -> Path:
        """Write to a safetensors file, atomically."""
        header = {
            "name": self.name,
            "model": self.model,
            "model_hash": self.model_hash,
            "dt": self.dt,
            "loop": self.loop,
            "sites": list(self.sites),
            "quality": dict(self.quality),
            "source": dict(self.source),
            "units": "SI, radians, world frame with z up; quaternions wxyz",
        }
        return write_arrays(path, self._arrays(), header, _KIND, _VERSION)

    @classmethod
    def load(cls, path: str | Path, model: MuscleModel | None = None) -> Reference:
        """Read what `save` wrote; with `model`, refuse a reference of another model or other physics.

        Raises:
            FileError: the file is not a reference, or not one of `model`.
        """
        arrays, header = read_arrays(path, _KIND, _VERSION)
        try:
            _check_header(header)
            reference = cls(
                **{key: arrays[key].astype(np.float64) for key in _ARRAYS},
                **{key: header[key] for key in ("name", "model", "model_hash", "quality", "source")},
                dt=float(header["dt"]),
                sites=tuple(header["sites"]),
                loop=header.get("loop", False) is True,
                activations=arrays["activations"].astype(np.float64) if "activations" in arrays else None,
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise _incomplete(path, error) from error
        if model is not None:
            reference.check_model(model, path)
        return reference

    def check_model(self, model: MuscleModel, path: str | Path = "") -> None:
        """Refuse a `model` that this reference was not made for."""
        where = f"{path}: " if path else ""
        if self.model != model.name:
            raise FileError(f"{where}reference '{self.name}' is for model '{self.model}', not '{model.name}'")
        m, sites = model.mj_model, (len(model.sites), 3)
        expected = {"qpos": (m.nq,), "qvel": (m.nv,), "site_positions": sites, "target_positions": sites}
        expected["activations"] = (m.nu,)
        if any(array.shape[1:] != expected[key] for key, array in self._arrays().items()):
            raise FileError(
                f"{where}reference '{self.name}' has arrays of another build of '{model.name}'; retarget again"
            )
        if self.model_hash != model.hash:
            raise FileError(
                f"{where}reference '{self.name}' was made for another version of '{model.name}' "
                f"({self.model_hash[:8]}, this one is {model.hash[:8]}); retarget the clip again"
            )
        if self.loop and (gap := seam_gap(model, self.qpos)) > 1e-6:
            raise FileError(f"{where}reference '{self.name}' is a loop whose ends are {gap:.2g} apart; cut it again")


class ReferenceFiles(Sequence[Reference]):
    """References in files, each read whenever it is asked for: what does not fit the memory stays on the disk.

    Args:
        paths: the files.
        model: that they must have been made for.
    """

    def __init__(self, paths: Sequence[Path], model: MuscleModel) -> None:
        self._paths, self._model = paths, model

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> Reference:  # type: ignore[override]
        return Reference.load(self._paths[index], self._model)


def read_reference_header(path: str | Path) -> dict[str, Any]:
    """What a reference's file says without its arrays being read: the fields that are none, and `num_frames`.

    Raises:
        FileError: the file is not a reference, or truncated.
    """
    shapes, header = read_header(path, _KIND, _VERSION)
    try:
        _check_header(header)
        return {key: header[key] for key in _HEADER} | {"num_frames": shapes["qpos"][0]}
    except (KeyError, TypeError, IndexError) as error:
        raise _incomplete(path, error) from error


def _check_header(header: Mapping[str, Any]) -> None:
    for key, kind in _HEADER.items():
        if not isinstance(header[key], kind) or isinstance(header[key], bool):
            raise TypeError(f"{key} is {header[key]!r}")


def _incomplete(path: str | Path, error: Exception) -> FileError:
    return FileError(f"{path}: incomplete reference ({error!r}); retarget the clip again")


def differentiate(model: MuscleModel, qpos: Floats, dt: float) -> Floats:
    """Velocities `(T, nv)` of `qpos (T, nq)`: by `mj_differentiatePos`, central differences; second order at the ends.

    Dependent velocities follow the couplings' chain rule, which finite differences only approach.
    """
    m, last = model.mj_model, len(qpos) - 1
    between = np.zeros((last, m.nv))  # a turn about an axis leaves it where it is, in the frame before as in that after
    for rate, before, after in zip(between, qpos[:-1], qpos[1:], strict=True):
        mujoco.mj_differentiatePos(m, rate, dt, before, after)
    qvel = np.concatenate((between[:1], (between[1:] + between[:-1]) / 2, between[-1:]))
    if last > 1:  # half a frame further on along the line
        qvel[0] += (between[0] - between[1]) / 2
        qvel[-1] += (between[-1] - between[-2]) / 2
    return model.couplings.project_qvel(torch.from_numpy(qpos), torch.from_numpy(qvel)).numpy()


def make_reference(
    model: MuscleModel,
    qpos: Floats,
    dt: float,
    name: str,
    target_positions: Floats | None = None,
    quality: Mapping[str, float] | None = None,
    source: Mapping[str, Any] | None = None,
) -> Reference:
    """A reference from postures `(T, nq)` alone: projected on the couplings, differentiated, with site positions."""
    qpos = model.couplings.project_qpos(torch.as_tensor(np.asarray(qpos, float))).numpy()
    sites = Kinematics(model)(torch.from_numpy(qpos), jacobian=False).position.numpy()
    return Reference(
        name=name,
        model=model.name,
        model_hash=model.hash,
        dt=dt,
        qpos=qpos,
        qvel=differentiate(model, qpos, dt),
        sites=model.sites,
        site_positions=sites,
        target_positions=sites.copy() if target_positions is None else target_positions,
        quality=quality or {},
        source=source or {},
    )
