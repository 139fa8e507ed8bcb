"""`ReferenceLibrary`: many references in one set of device tensors."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import mujoco
import numpy as np
import torch

from musclewarp.errors import FileError
from musclewarp.kernels.interpolation import Clips, interpolate, interpolate_rotations, rounds
from musclewarp.models import MuscleModel
from musclewarp.models.kinematics import Kinematics
from musclewarp.models.rotation import matrix_to_quat
from musclewarp.references.body_state import BodyState
from musclewarp.references.cycle import Cycle, Placement
from musclewarp.references.reference import SUFFIX, Reference
from musclewarp.references.split import split_files


@dataclass(slots=True, eq=False)
class Goal(BodyState):
    """The reference at some instants. Leading dimensions: worlds, or worlds x look-ahead.

    Attributes:
        recorded_pos: `(..., S, 3)` the recording's own scaled joints, at the sites.
    """

    recorded_pos: torch.Tensor


_KIND = {"root_quat": 1}
_KIND |= dict.fromkeys(("root_linvel", "root_angvel", "site_vel"), 2)
_KIND |= dict.fromkeys(("root_pos", "site_pos", "recorded_pos"), 3)
"""Orientations, vectors and points in the world, which change as a loop leads on; all else, 0, does not."""


class ReferenceLibrary:
    """Clips of one model at one rate, side by side on a device.

    Attributes:
        model_hash: of the model that the references move.
        names: of the C clips.
        lengths: frames of each clip `(C,)`; a loop's last is its first one again.
        last: the frame `(C,)` at which a clip ends; never for a loop.
        dt: s between frames.
        qpos `(F, nq)`, qvel `(F, nv)`: float64, what a world is reset to; F frames of all clips.
        activation: `(F, M)` float32, zero where a reference has none.
        has_activation: whether each frame `(F,)` knows its muscle activations.
    """

    def __init__(self, references: Sequence[Reference], model: MuscleModel, device: torch.device | str = "cpu") -> None:
        if not references:
            raise FileError("no references: retarget a clip first (musclewarp retarget --help)")
        for reference in references:
            reference.check_model(model)
            if abs(reference.dt - model.physics.control_dt) > 1e-9:
                raise FileError(
                    f"reference '{reference.name}' has a frame every {reference.dt:g} s, the environment acts every "
                    f"{model.physics.control_dt:g} s; retarget the clip with --dt {model.physics.control_dt:g}"
                )
        self.model_hash = model.hash
        self.names = tuple(reference.name for reference in references)
        duplicates = {name for name in self.names if self.names.count(name) > 1}
        if duplicates:
            raise FileError(f"several references are called {', '.join(sorted(duplicates))}; rename the files' clips")
        self.dt = model.physics.control_dt
        self.device = torch.device(device)
        lengths = [reference.num_frames for reference in references]
        self.lengths = torch.tensor(lengths, device=device)
        self._starts = torch.tensor(np.concatenate(([0], np.cumsum(lengths)[:-1])), device=device)
        loop = torch.tensor([reference.loop for reference in references], device=device)
        self.has_loops = bool(loop.any())
        never = torch.iinfo(torch.int64).max
        self.last = torch.where(loop, never, self.lengths - 1)
        self._periods = torch.where(loop, self.lengths - 1, never)
        self._cycles = _cycles(references, device) if model.has_free_root and self.has_loops else None
        self._clips = Clips(
            self._starts, self.lengths, torch.full_like(self.lengths, self.dt, dtype=torch.float64), loop
        )
        self.qpos = torch.from_numpy(np.concatenate([r.qpos for r in references])).to(device)
        self.qvel = torch.from_numpy(np.concatenate([r.qvel for r in references])).to(device)
        recorded = torch.from_numpy(np.concatenate([r.target_positions for r in references])).to(device)
        muscles = model.mj_model.nu
        activation = [np.zeros((r.num_frames, muscles)) if r.activations is None else r.activations for r in references]
        self.activation = torch.from_numpy(np.concatenate(activation)).float().to(device)
        fields = _goal_fields(model, self.qpos, self.qvel) | {"recorded_pos": recorded, "activation": self.activation}
        # all fields in one table: worlds gather their rows once, and the fields are views of them
        fields = dict(sorted(fields.items(), key=lambda item: _KIND.get(item[0], 0)))
        self._table = torch.cat([field.flatten(1).float() for field in fields.values()], dim=1)
        self._widths = [field[0].numel() for field in fields.values()]
        self._shapes = {name: field.shape[1:] for name, field in fields.items()}
        self._kind_widths = [
            sum(width for name, width in zip(fields, self._widths, strict=True) if _KIND.get(name, 0) == kind)
            for kind in range(4)
        ]
        self._root_quat = fields["root_quat"].float()[:, None].contiguous()
        known = [r.num_frames * [r.activations is not None] for r in references]
        self.has_activation = torch.tensor(np.concatenate(known), device=device)

    @property
    def num_clips(self) -> int:
        """C."""
        return len(self.names)

    def some_postures(self, per_clip: int = 20, most: int = 500) -> torch.Tensor:
        """`(F, nq)` evenly out of every clip, `per_clip` of each, or out of as many clips as make `most`."""
        clips = torch.arange(0, self.num_clips, max(1, self.num_clips * per_clip // most), device=self.device)
        share = torch.linspace(0, 1, per_clip, device=self.device)
        frames = (share * (self.lengths[clips, None] - 1)).long()
        return self.qpos[(self._starts[clips, None] + frames).flatten()]

    def index(self, clip: torch.Tensor, frame: torch.Tensor) -> torch.Tensor:
        """Row of `frame` of `clip` (any equal shapes) among all F: past the end the last of a clip, a loop's again."""
        if self.has_loops:
            frame = frame % self._periods[clip]
        return self._starts[clip] + torch.minimum(frame, self.lengths[clip] - 1)

    def goal(self, clip: torch.Tensor, frame: torch.Tensor) -> Goal:
        """The reference at `frame` of `clip` (any equal shapes); past the end the last frame holds, a loop goes on."""
        return self.goal_of(self.rows(self.index(clip, frame), clip, frame))

    def rows(self, index: torch.Tensor, clip: torch.Tensor, frame: torch.Tensor) -> torch.Tensor:
        """All numbers of `goal`, side by side `(..., W)`: gathered once, then seen in parts.

        `index (...)` is that of `frame` of `clip`, of the same shape or one that broadcasts to it.
        """
        rows = self._table.index_select(0, index.flatten()).view(*index.shape, -1)  # five times as fast as indexing
        return (
            rows if self._cycles is None else self._led_on(rows, self._cycles.after(clip, frame // self._periods[clip]))
        )

    def sample(self, clip: torch.Tensor, time: torch.Tensor) -> Goal:
        """The reference `time (N,)` s after the first frame of `clip (N,)`, also between frames and across seams.

        The root turns along the shortest arc, all else is linear between frames: sites are up to a dt^2 / 8 from where
        the joints put them, at an acceleration a.
        """
        rows = interpolate(self._table, self._clips, clip, time)
        first = self._kind_widths[0]
        rows[:, first : first + 4] = interpolate_rotations(self._root_quat, self._clips, clip, time)[:, 0]
        if self._cycles is not None:
            rows = self._led_on(rows, self._cycles.after(clip, rounds(self._clips, clip, time)))
        return self.goal_of(rows)

    def state(self, clip: torch.Tensor, frame: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """`qpos (..., nq)` and `qvel (..., nv)` at `frame` of `clip`, float64: what worlds are reset to."""
        index = self.index(clip, frame)
        qpos, qvel = self.qpos[index], self.qvel[index]
        if self._cycles is None:
            return qpos, qvel
        place = self._cycles.after(clip, frame // self._periods[clip])
        return place.place_qpos(qpos), place.turn_qvel(qvel)

    def _led_on(self, rows: torch.Tensor, place: Placement) -> torch.Tensor:
        """`rows (..., W)` of loops that have got to `place`, in place: most columns stay."""
        place = Placement(*(part.float() for part in place))
        _, quat, vectors, points = rows.split(self._kind_widths, dim=-1)
        vectors, points = (part.unflatten(-1, (-1, 3)) for part in (vectors, points))
        for part, moved in (
            (quat, place.turn_quat(quat)),
            (vectors, place.turn(vectors)),
            (points, place.place(points)),
        ):
            part.copy_(moved)
        return rows

    def goal_of(self, rows: torch.Tensor) -> Goal:
        """`rows (..., W)` by their names."""
        parts = dict(zip(self._shapes, rows.split(self._widths, dim=-1), strict=True))
        for name, shape in self._shapes.items():
            if len(shape) > 1:
                parts[name] = parts[name].unflatten(-1, shape)
        return Goal(**parts)


def _cycles(references: Sequence[Reference], device: torch.device | str) -> Cycle:
    """What a cycle of each reference adds; nothing for those that are no loops."""
    ends = [r.qpos[[0, -1 if r.loop else 0], :7] for r in references]
    first, last = torch.from_numpy(np.stack(ends, axis=1)).to(device)
    return Cycle.between(first, last)


def _goal_fields(model: MuscleModel, qpos: torch.Tensor, qvel: torch.Tensor) -> dict[str, torch.Tensor]:
    """What `Goal` holds of F states that follows from the model alone, `(F, ...)` each."""
    kinematics = Kinematics(model, device=qpos.device)
    chunks = [kinematics(q) for q in qpos.split(512)]
    position, rotation = (torch.cat([getattr(c, key) for c in chunks]) for key in ("position", "rotation"))
    velocity = torch.cat(
        [(c.jacobian @ v[:, None, :, None]).squeeze(-1) for c, v in zip(chunks, qvel.split(512), strict=True)]
    )
    length, lengthening = muscle_lengths(model, qpos, qvel)
    fibre_length, fibre_velocity = model.fibre_state(length, lengthening)
    return {
        "joint_pos": qpos[:, model.joint_qpos],
        "joint_vel": qvel[:, model.joint_dofs],
        "root_pos": position[:, 0],
        "root_quat": matrix_to_quat(rotation[:, 0]),
        "root_linvel": velocity[:, 0, :3],
        "root_angvel": velocity[:, 0, 3:],
        "site_pos": position,
        "site_vel": velocity[:, :, :3],
        "fibre_length": fibre_length,
        "fibre_velocity": fibre_velocity,
    }


def muscle_lengths(model: MuscleModel, qpos: torch.Tensor, qvel: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Lengths `(F, M)` m and lengthening speeds m/s of the muscle-tendon units at F states, by MuJoCo."""
    m = model.stepped
    data = mujoco.MjData(m)
    rows = np.empty((2, len(qpos), m.nu))
    for t, (posture, velocity) in enumerate(zip(qpos.cpu().numpy(), qvel.cpu().numpy(), strict=True)):
        data.qpos[:], data.qvel[:] = posture, velocity
        mujoco.mj_fwdPosition(m, data)
        mujoco.mj_fwdVelocity(m, data)
        rows[0, t], rows[1, t] = data.actuator_length, data.actuator_velocity
    length, speed = torch.from_numpy(rows).to(qpos.device)
    return length, speed


def find_references(paths: str | Path | Sequence[str | Path]) -> list[Path]:
    """Reference files among `paths`: files, folders with all that is below them, and parts of split files.

    A folder's are sorted; `FILE:train` and `FILE:test` are parts of a split file (`references.split`).

    Raises:
        FileError: a path is missing, nothing is found, or a split file leaks.
    """
    found: list[Path] = []
    for path in [paths] if isinstance(paths, str | Path) else paths:
        split = re.fullmatch(r"(.+\.(?:yaml|yml|json))(?::(.*))?", str(path))
        path = Path(path)
        if path.is_dir():
            found += sorted(path.rglob(f"*{SUFFIX}"))
        elif split:
            found += split_files(Path(split[1]), split[2] or "")
        elif path.is_file():
            found.append(path)
        else:
            raise FileError(
                f"{path}: no such file or folder of references; make one with: musclewarp retarget CLIP.npz"
            )
    if not found:
        raise FileError(
            f"{paths}: no files ending in {SUFFIX}; make some with: musclewarp retarget CLIP.npz --out FOLDER"
        )
    return found


def load_library(
    paths: str | Path | Sequence[str | Path], model: MuscleModel, device: torch.device | str = "cpu"
) -> ReferenceLibrary:
    """All references of `paths` (see `find_references`), which must have been made for `model`."""
    return ReferenceLibrary([Reference.load(path, model) for path in find_references(paths)], model, device)
