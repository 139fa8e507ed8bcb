"""`ReferenceLibrary`: many references in one set of device tensors."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from musclewarp.errors import ConfigError, FileError
from musclewarp.kernels.interpolation import Clips, interpolate, interpolate_rotations, rounds
from musclewarp.models import MuscleModel
from musclewarp.references.cycle import Cycle
from musclewarp.references.goal import Goal, GoalTable
from musclewarp.references.reference import SUFFIX, Reference, ReferenceFiles
from musclewarp.references.shelf import Shelf
from musclewarp.references.split import split_files

MEGABYTE = 1e6


class ReferenceLibrary:
    """Clips of one model at one rate on a device: all side by side, or those that `megabytes` hold.

    A clip keeps its index whether it is held or not; the rows of one that is not are out of range.

    Args:
        references: the clips. Where not all are held they are read anew as they come to the device; `ReferenceFiles`
            stay on the disk meanwhile.
        model: whom they move.
        device: where they are held.
        megabytes: most that the held clips may take, in 10^6 bytes; 0: what all need. Where all need more, none is
            held until `hold`.

    Attributes:
        model_hash: of the model that the references move.
        names: of the C clips.
        lengths: frames of each clip `(C,)`; a loop's last is its first one again.
        last: the frame `(C,)` at which a clip ends; never for a loop.
        dt: s between frames.
        qpos `(F, nq)`, qvel `(F, nv)`: float64, what a world is reset to; F frames of all clips, or as many as are
            held at most.
        activation: `(F, M)` float32, zero where a reference has none.
        has_activation: whether each frame `(F,)` knows its muscle activations.
        knows_some, knows_all: whether some, or all, of the C clips do.
        postures: `(P, nq)` float64 numpy, 20 out of every clip, or out of as many clips as make 500.

    Raises:
        FileError: there are no references, or one does not fit the model, or two have one name.
        ConfigError: two clips do not fit into `megabytes`.
    """

    def __init__(
        self,
        references: Sequence[Reference],
        model: MuscleModel,
        device: torch.device | str = "cpu",
        megabytes: float = 0.0,
    ) -> None:
        if not references:
            raise FileError("no references: retarget a clip first (musclewarp retarget --help)")
        self.model_hash, self.dt = model.hash, model.physics.control_dt
        self.device = torch.device(device)
        self._references, self._model = references, model
        self._read()
        self._goals = GoalTable(model, self.device)
        m, empty = model.mj_model, partial(torch.empty, device=device)
        like = [empty(1, width, dtype=torch.float64) for width in (m.nq, m.nv)]
        like += [empty(1, dtype=torch.bool), empty(1, self._goals.width), empty(1, 1, 4)]
        capacity = self._capacity(sum(part.nbytes for part in like), megabytes)
        self.streams = capacity < sum(self._frames)
        self._shelf = Shelf(self._frames, capacity, like)
        self.qpos, self.qvel, self.has_activation, self._table, self._root_quat = self._shelf.parts
        self.activation = self._table[:, self._goals.column("activation")]
        dt = torch.full_like(self.lengths, self.dt, dtype=torch.float64)
        self._clips = Clips(self._shelf.first, self.lengths, dt, self._loop)
        if not self.streams:
            self._shelf.hold(range(self.num_clips), self._rows)
            self._references = ()  # nobody asks for them again

    def _read(self) -> None:
        """What is known of every clip, held or not; each is read once, and not kept."""
        names, frames, loops, known, ends, postures = [], [], [], [], [], []
        of_each, every = torch.linspace(0, 1, 20), max(1, len(self._references) * 20 // 500)
        for number, reference in enumerate(self._references):
            reference.check_model(self._model)
            if abs(reference.dt - self.dt) > 1e-9:
                raise FileError(
                    f"reference '{reference.name}' has a frame every {reference.dt:g} s, the environment acts every "
                    f"{self.dt:g} s; retarget the clip with --dt {self.dt:g}"
                )
            names.append(reference.name)
            frames.append(reference.num_frames)
            loops.append(reference.loop)
            known.append(reference.activations is not None)
            ends.append(reference.qpos[[0, -1 if reference.loop else 0], :7])
            if number % every == 0:
                postures.append(reference.qpos[(of_each * (reference.num_frames - 1)).long().numpy()])
        duplicates = {name for name, count in Counter(names).items() if count > 1}
        if duplicates:
            raise FileError(f"several references are called {', '.join(sorted(duplicates))}; rename the files' clips")
        self.names, self._frames = tuple(names), frames
        self.lengths, self._loop = (torch.tensor(values, device=self.device) for values in (frames, loops))
        self.has_loops, self.knows_some, self.knows_all = any(loops), any(known), all(known)
        never = torch.iinfo(torch.int64).max
        self.last = torch.where(self._loop, never, self.lengths - 1)
        self._periods = torch.where(self._loop, self.lengths - 1, never)
        self._cycles = None
        if self._model.has_free_root and self.has_loops:  # nothing is added to those that are none
            first, last = torch.from_numpy(np.stack(ends, axis=1)).to(self.device)
            self._cycles = Cycle.between(first, last)
        self.postures = np.concatenate(postures)

    def _capacity(self, row: int, megabytes: float) -> int:
        """How many frames of `row` bytes to hold."""
        need = sum(self._frames)
        capacity = min(need, int(megabytes * MEGABYTE / row)) if megabytes else need
        longest = sorted(range(self.num_clips), key=lambda clip: -self._frames[clip])[:2]
        least = sum(self._frames[clip] for clip in longest)
        if least > capacity:
            size = " and ".join(f"'{self.names[i]}' ({self._frames[i] * row / MEGABYTE:.3g} MB)" for i in longest)
            raise ConfigError(
                f"env.library_mb is {megabytes:g}, which does not hold {size}: the longest clip and the one that it is "
                f"exchanged for must fit together; give at least {least * row / MEGABYTE + 0.1:.1f}, or 0 to hold all "
                f"({need * row / MEGABYTE:.3g} MB), or cut these clips"
            )
        return capacity

    @property
    def num_clips(self) -> int:
        """C."""
        return len(self.names)

    @property
    def held(self) -> torch.Tensor:
        """Whether each clip is held, `(C,)` on the CPU."""
        return self._shelf.held.clone()

    @property
    def capacity(self) -> int:
        """F."""
        return self._shelf.capacity

    @property
    def nbytes(self) -> int:
        """What all that is or can be held takes on the device."""
        return sum(part.nbytes for part in self._shelf.parts)

    def fits(self, clips: Iterable[int]) -> bool:
        """Whether `clips` can be held together."""
        return sum(self._frames[clip] for clip in set(clips)) <= self.capacity

    def hold(self, clips: Iterable[int]) -> None:
        """Hold `clips`, and no others, unless all fit; those that are not held yet are read.

        Raises:
            ConfigError: they do not fit together.
            FileError: a clip is no longer what it was when the library was made; it is not held then.
        """
        if not self.streams:
            return
        clips = set(clips)
        if not self.fits(clips):
            raise ConfigError(
                f"{len(clips)} clips of {sum(self._frames[clip] for clip in clips)} frames cannot be held together: "
                f"there is room for {self.capacity}; ask for fewer, or give a larger env.library_mb, or 0"
            )
        self._shelf.hold(clips, self._rows)

    def _rows(self, clip: int) -> Sequence[torch.Tensor]:
        """What the shelf keeps of a clip."""
        reference, frames = self._references[clip], self._frames[clip]
        if (reference.name, reference.num_frames) != (self.names[clip], frames):
            raise FileError(f"reference '{self.names[clip]}' has been changed since training began; start again")
        known = reference.activations is not None
        activation = reference.activations if known else np.zeros((frames, self._model.mj_model.nu))
        qpos, qvel, recorded, activation = (
            torch.from_numpy(values).to(self.device)
            for values in (reference.qpos, reference.qvel, reference.target_positions, activation)
        )
        table = self._goals.rows(qpos, qvel, recorded, activation)
        quat = table[:, None, self._goals.column("root_quat")]
        return qpos, qvel, torch.full((frames,), known, device=self.device), table, quat

    def index(self, clip: torch.Tensor, frame: torch.Tensor) -> torch.Tensor:
        """Row of `frame` of `clip` (any equal shapes) among all F, see `within`."""
        return self._shelf.first[clip] + self.within(clip, frame)

    def within(self, clip: torch.Tensor, frame: torch.Tensor) -> torch.Tensor:
        """`frame` of `clip` as one of the clip's own: past the end the last of a clip, a loop's again."""
        if self.has_loops:
            frame = frame % self._periods[clip]
        return torch.minimum(frame, self.lengths[clip] - 1)

    def goal(self, clip: torch.Tensor, frame: torch.Tensor) -> Goal:
        """The reference at `frame` of `clip` (any equal shapes); past the end the last frame holds, a loop goes on."""
        return self._goals.goal(self.rows(self.index(clip, frame), clip, frame))

    def rows(self, index: torch.Tensor, clip: torch.Tensor, frame: torch.Tensor) -> torch.Tensor:
        """All numbers of `goal`, side by side `(..., W)`: gathered once, then seen in parts.

        `index (...)` is that of `frame` of `clip`, of the same shape or one that broadcasts to it.
        """
        rows = self._table.index_select(0, index.flatten()).view(*index.shape, -1)  # five times as fast as indexing
        if self._cycles is None:
            return rows
        return self._goals.lead_on(rows, self._cycles.after(clip, frame // self._periods[clip]))

    def goal_of(self, rows: torch.Tensor) -> Goal:
        """`rows (..., W)` by their names."""
        return self._goals.goal(rows)

    def sample(self, clip: torch.Tensor, time: torch.Tensor) -> Goal:
        """The reference `time (N,)` s after the first frame of `clip (N,)`, also between frames and across seams.

        The root turns along the shortest arc, all else is linear between frames: sites are up to a dt^2 / 8 from where
        the joints put them, at an acceleration a.
        """
        rows = interpolate(self._table, self._clips, clip, time)
        rows[:, self._goals.column("root_quat")] = interpolate_rotations(self._root_quat, self._clips, clip, time)[:, 0]
        if self._cycles is not None:
            rows = self._goals.lead_on(rows, self._cycles.after(clip, rounds(self._clips, clip, time)))
        return self._goals.goal(rows)

    def state(self, clip: torch.Tensor, frame: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """`qpos (..., nq)` and `qvel (..., nv)` at `frame` of `clip`, float64: what worlds are reset to."""
        index = self.index(clip, frame)
        qpos, qvel = self.qpos[index], self.qvel[index]
        if self._cycles is None:
            return qpos, qvel
        place = self._cycles.after(clip, frame // self._periods[clip])
        return place.place_qpos(qpos), place.turn_qvel(qvel)


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
    paths: str | Path | Sequence[str | Path],
    model: MuscleModel,
    device: torch.device | str = "cpu",
    megabytes: float = 0.0,
) -> ReferenceLibrary:
    """All references of `paths` (see `find_references`), which must have been made for `model`.

    With `megabytes`, they stay in their files until they are held, see `ReferenceLibrary`.
    """
    files = ReferenceFiles(find_references(paths), model)
    return ReferenceLibrary(files if megabytes else list(files), model, device, megabytes)
