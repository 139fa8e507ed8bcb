"""Many recordings to references: resumed where it stopped, in as many processes as there are cores.

A reference's header tells what it was made from and how, so that it is skipped if nothing of that has changed.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from musclewarp.errors import ConfigError, FileError, MusclewarpError
from musclewarp.files import only_writer, remove_unfinished
from musclewarp.models import MuscleModel, PhysicsConfig, load_model
from musclewarp.motion.body import Body, body_kind, load_body
from musclewarp.motion.opensim import read_opensim
from musclewarp.motion.read import find_motions, read_motion
from musclewarp.processes import run_in_processes
from musclewarp.references.manifest import Entry, Failure, read_entry, scan, write_manifest
from musclewarp.references.reference import SUFFIX, Reference
from musclewarp.retarget.activations import with_activations
from musclewarp.retarget.ik import IKConfig
from musclewarp.retarget.opensim import KNEECAPS, from_opensim
from musclewarp.retarget.pipeline import retarget
from musclewarp.retarget.quality import quality_row, write_quality
from musclewarp.threads import use_one_thread

_SECONDS_BETWEEN_MANIFESTS = 10.0
_OPENSIM, _OPENSIM_SUFFIXES = "OpenSim", (".sto", ".mot")


@dataclass(frozen=True)
class Clip:
    """A recording, and what its reference is called.

    Attributes:
        path: of the recording.
        name: of the reference, and of its file without the suffix; with the folders below the one that was given.
        size: bytes of the recording.
    """

    path: Path
    name: str
    size: int


@dataclass(frozen=True)
class Settings:
    """How recordings are retargeted.

    Attributes:
        model: see `load_model`.
        fingers: keep the finger joints.
        dt: s between frames, the control step.
        body: see `load_body`.
        activations: see `retarget`.
    """

    model: str = "bimanual"
    fingers: bool = False
    dt: float = 0.02
    body: str = "auto"
    activations: bool = True

    def __post_init__(self) -> None:
        if not 0.0 < self.dt <= 0.08:
            raise ConfigError(f"--dt is {self.dt} s; give the seconds of a control step, in (0, 0.08]")

    def recorded(self) -> dict[str, Any]:
        """What stands in a reference, beside model and body: all that would make it another one if it changed."""
        ik = json.loads(json.dumps(dataclasses.asdict(IKConfig())))
        return {"dt": self.dt, "ik": ik, "activations": self.activations, "musclewarp": _version()}


@dataclass(frozen=True)
class Outcome:
    """What became of a clip: its entry, or the reason why there is none.

    Attributes:
        clip: the recording.
        entry: of its reference; None if there is none, or it is of another recording.
        error: why.
        skipped: it was there before, of the same recording, made in the same way.
    """

    clip: Clip
    entry: Entry | None = None
    error: str = ""
    skipped: bool = False


def find_clips(paths: Iterable[Path]) -> list[Clip]:
    """The recordings at `paths`: files, and folders with all that is below them, under the names they have there.

    Raises:
        FileError: a folder has none, or two would become one reference.
    """
    named: dict[str, Path] = {}
    for path in paths:
        inside = [(clip, clip.relative_to(path)) for clip in find_motions(path)] if path.is_dir() else []
        for clip, place in inside or [(path, Path(path.name))]:
            name = place.with_suffix("").as_posix()
            if name in named:
                raise FileError(f"{named[name]} and {clip} would both become {name}{SUFFIX}; rename one")
            named[name] = clip
    return [Clip(path, name, path.stat().st_size if path.exists() else 0) for name, path in named.items()]


def retarget_clips(
    clips: Sequence[Clip],
    out: Path,
    settings: Settings,
    workers: int = 1,
    overwrite: bool = False,
    on_outcome: Callable[[Outcome], object] = lambda outcome: None,
) -> list[Outcome]:
    """Make a reference of every clip, `manifest.jsonl` beside them; what is done and unchanged is skipped.

    Unchanged means: the recording's sha256, the model's hash, the body and the `settings`. A reference of a recording
    that lay elsewhere is only replaced if `overwrite`. A clip that fails does not stop the others. What a run that was
    interrupted or killed has finished stands, and nothing is half written.

    Args:
        clips: as `find_clips` finds them. The longest are begun first.
        out: folder of the references.
        settings: how.
        workers: processes; with more than one, each has its own model and one clip at a time (0.6 GB and more),
            and a script that calls this needs `if __name__ == "__main__":`.
        overwrite: replace references of other recordings, too.
        on_outcome: called with each outcome as it is known.

    Returns:
        The outcomes, in the order in which they were known.

    Raises:
        FileError: another process is writing to `out`.
        MusclewarpError: the model cannot be loaded.
    """
    retargeter = Retargeter(settings, out)
    outcomes: list[Outcome] = []
    with only_writer(out):
        remove_unfinished(out)
        entries, failures = scan(out), list[Failure]()
        written = time.monotonic()

        def record(outcome: Outcome) -> None:
            nonlocal written
            outcomes.append(outcome)
            if outcome.entry is not None:
                entries[outcome.entry.file] = outcome.entry
            else:
                failures.append(Failure(outcome.clip.name, outcome.error))
            if time.monotonic() - written > _SECONDS_BETWEEN_MANIFESTS:
                write_manifest(out, entries.values(), failures)
                written = time.monotonic()
            on_outcome(outcome)

        try:
            left: list[Clip] = []
            for clip in clips:
                known = retargeter.judge(clip, entries.get(f"{clip.name}{SUFFIX}"), overwrite)
                record(known) if known else left.append(clip)
            left.sort(key=lambda clip: clip.size, reverse=True)
            if min(workers, len(left)) > 1:
                run_in_processes(
                    functools.partial(_prepare, settings, out),
                    left,
                    workers,
                    on_result=lambda _, outcome: record(outcome),
                    on_death=lambda clip, how: record(Outcome(clip, error=f"{clip.path}: {how}")),
                )
            elif left:
                retargeter.ready()
                for clip in left:
                    record(retargeter(clip))
        finally:
            remove_unfinished(out)
            # once more, for a worker that was interrupted may have written what it could not tell any more
            entries = scan(out, entries)
            write_manifest(out, entries.values(), failures)
            write_quality(out, [_quality_row(entry) for entry in entries.values()])
    return outcomes


def _quality_row(entry: Entry) -> dict[str, str | float | None]:
    speed = None if entry.seconds is None else entry.num_frames / entry.seconds
    return quality_row(entry.clip, entry.quality, speed)


def _prepare(settings: Settings, out: Path) -> Retargeter:
    """The function of a worker process."""
    use_one_thread()
    return Retargeter(settings, out).ready()


class Retargeter:
    """Retargets clip after clip into a folder."""

    def __init__(self, settings: Settings, out: Path) -> None:
        self.settings, self.out = settings, out

    @functools.cached_property
    def model(self) -> MuscleModel:
        """Loaded when it is first asked for, for that takes seconds."""
        physics = PhysicsConfig(timestep=self.settings.dt / 4, substeps=4)
        return load_model(self.settings.model, self.settings.fingers, physics)

    def ready(self) -> Retargeter:
        """With its model: one that cannot be loaded is no fault of the clips."""
        _ = self.model
        return self

    def judge(self, clip: Clip, entry: Entry | None, overwrite: bool) -> Outcome | None:
        """What is known of `clip` without retargeting it, `entry` being what lies in its place; None: nothing."""
        if entry is None:
            return None
        try:
            with open(clip.path, "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:
            return None  # its reader will say why
        source = entry.source
        if source.get("sha256") == digest:
            made_so = (entry.model_hash, source.get("settings"), source.get("body"))
            now = (self.model.hash, self.settings.recorded(), self._body_name(source))
            return Outcome(clip, entry, skipped=True) if made_so == now else None
        if overwrite or source.get("place") == _place(clip.path):
            return None
        return Outcome(
            clip,
            error=f"{self.out / entry.file} is of another recording ({source.get('file', 'unknown')}, not this "
            f"{clip.path.name}); remove it, choose another --out, or give --overwrite",
        )

    def __call__(self, clip: Clip) -> Outcome:
        """Write the reference of `clip`, whatever lies there."""
        try:
            return Outcome(clip, self._make(clip))
        except MusclewarpError as error:
            return Outcome(clip, error=str(error))
        except Exception as error:  # of thousands of clips one may meet what nobody thought of
            frame = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{Path(frame.filename).name}:{frame.lineno}"
            return Outcome(clip, error=f"{clip.path}: unexpected {type(error).__name__} in {where}: {error}")

    def _make(self, clip: Clip) -> Entry:
        started = time.perf_counter()
        with warnings.catch_warnings(record=True) as caught:
            reference = self._reference(clip)
        source = {**reference.source, "place": _place(clip.path), "settings": self.settings.recorded()}
        path = dataclasses.replace(reference, source=source).save(self.out / f"{clip.name}{SUFFIX}")
        return dataclasses.replace(
            read_entry(path, self.out),
            seconds=time.perf_counter() - started,
            warnings=tuple(str(warning.message) for warning in caught),
        )

    def _reference(self, clip: Clip) -> Reference:
        dt = self.settings.dt
        if clip.path.suffix.lower() in _OPENSIM_SUFFIXES:  # joint angles, which need no body
            table = read_opensim(clip.path, drop=KNEECAPS)
            found = from_opensim(table, self.model, dt, clip.name, source={"layout": _OPENSIM, "body": ""})
            return with_activations(self.model, found) if self.settings.activations else found
        motion = dataclasses.replace(read_motion(clip.path), name=clip.name)
        body = self._body(motion.gender, motion.shape_space)
        return retarget(motion, self.model, dt, body, activations=self.settings.activations)

    @functools.cache  # noqa: B019 (one retargeter a process)
    def _body(self, gender: str, shape_space: str) -> Body:
        return load_body(gender, body_kind(shape_space, self.settings.body))

    def _body_name(self, source: Mapping[str, Any]) -> str:
        if source.get("layout") == _OPENSIM:
            return ""
        try:
            return self._body(source.get("gender", "neutral"), source.get("shape_space", "smpl")).name
        except MusclewarpError:
            return ""  # who retargets will hear of it


def _version() -> str:
    try:
        return version("musclewarp")
    except PackageNotFoundError:  # a checkout that is not installed
        return "0"


def _place(path: Path) -> str:
    """Tells where a recording lay, and nobody else: it stands in files that are shared."""
    return hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]
