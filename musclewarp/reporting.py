"""`musclewarp report`: how human a movement is, beside a published experiment."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from musclewarp.biomechanics.agreement import compare_movements
from musclewarp.biomechanics.ceilings import Population, population_of
from musclewarp.biomechanics.computed import movement_of_reference, movement_of_replay, movement_of_trial
from musclewarp.biomechanics.experiments import Experiment, load_experiment
from musclewarp.biomechanics.movement import Movement, movement_of_experiment
from musclewarp.biomechanics.replay import Replay, replay_experiment
from musclewarp.biomechanics.report import write_comparison
from musclewarp.errors import ConfigError, FileError
from musclewarp.evaluation.trial import SUFFIX as TRIAL_SUFFIX
from musclewarp.evaluation.trial import Trial
from musclewarp.models import MuscleModel, load_model, model_of_rate
from musclewarp.references.reference import SUFFIX, Reference

_WALKERS = "santuz_walk_emg"


def report_movement(
    path: Path | None,
    experiment: str,
    out: Path,
    model: str = "myofullbody",
    selection: Mapping[str, Any] | None = None,
    cutoff_hz: float | None = None,
) -> tuple[Path, Path]:
    """Compare a movement with an experiment; print the summary, write `report.html` and `comparison.csv` into `out`.

    Args:
        path: a trial or a reference; None replays the experiment's own kinematics.
        experiment: what `load_experiment` calls it.
        out: the folder.
        model: what replays the experiment; trials and references know theirs.
        selection: which part of the experiment, see `load_experiment`.
        cutoff_hz: of the angles' low-pass in a replay, see `replay_experiment`.

    Raises:
        FileError: the file is neither a trial nor a reference, or the experiment's data are not there.
        ConfigError: the experiment has no kinematics to replay.
        SignalError: the movements have no stride, or no signal, in common.
    """
    data = load_experiment(experiment, **(selection or {}))
    replay = None
    if path is None:
        person, replay, movement = _replayed(data, model, cutoff_hz)
    else:
        person, movement = _recorded(path, data)
    population = _population(data)
    agreement = compare_movements(movement, movement_of_experiment(data), population)
    context = {name: version(name) for name in ("musclewarp", "mujoco")}
    context |= {"model": f"{person.name}, {len(person.muscles)} muscles", "model hash": person.hash}
    context |= {} if path is None else {"file": path.name}
    context |= {} if replay is None else replay.settings
    if data.emg is not None:
        level = f", in units of its {data.emg.normalised}" if data.emg.normalised else ""
        context["EMG envelope"] = f"as published{level}; nothing is filtered here"
    page, table = write_comparison(out, agreement, data, population, replay, context)
    for one in agreement.summary():
        told = "given" if one.given else f"r {one.mean_r:.2f} on average, lowest {one.lowest_r:.2f}"
        if not one.judged:
            told = "none changes in both, so no r"
        print(f"{one.kind:7s} {one.judged:3d} of {one.signals} signals, {told}")
    print(f"wrote {page} and {table}")
    return page, table


def _replayed(data: Experiment, model: str, cutoff_hz: float | None) -> tuple[MuscleModel, Replay, Movement]:
    if data.kinematics is None or not data.ground:
        missing = "kinematics" if data.kinematics is None else "ground forces"
        raise ConfigError(
            f"experiment '{data.name}' has no {missing} to replay; give a trial or a reference to compare with it, or "
            "another --experiment"
        )
    person = load_model(model)
    replay = replay_experiment(data, person, cutoff_hz=cutoff_hz)
    return person, replay, movement_of_replay(person, replay, data)


def _recorded(path: Path, data: Experiment) -> tuple[MuscleModel, Movement]:
    if path.name.endswith(TRIAL_SUFFIX):
        trial = Trial.load(path)
        person = model_of_rate(trial.model, trial.dt)
        if trial.model_hash != person.hash:
            raise FileError(
                f"{path}: trial of another version of '{person.name}' ({trial.model_hash[:8]}, this one is "
                f"{person.hash[:8]}); record it again with `musclewarp evaluate --trials`"
            )
        return person, movement_of_trial(person, trial)
    if path.name.endswith(SUFFIX):
        reference = Reference.load(path)
        person = model_of_rate(reference.model, reference.dt)
        reference.check_model(person, path)
        return person, movement_of_reference(person, reference, data)
    kind = "a folder" if path.is_dir() else "neither"
    raise FileError(
        f"{path}: {kind}; give one trial (*{TRIAL_SUFFIX}, of `musclewarp evaluate --trials`) or one reference "
        f"(*{SUFFIX}, of `musclewarp retarget`), or nothing to replay the experiment itself"
    )


def _population(data: Experiment) -> Population | None:
    """The walkers whose EMG is the ceiling, where walking is compared and their data are there."""
    if "walk" not in data.task.lower():
        return None
    try:
        return population_of(data if data.name == _WALKERS else load_experiment(_WALKERS))
    except FileError as error:
        print(f"no ceilings: {error}")
        return None
