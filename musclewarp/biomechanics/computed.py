"""What a model did as a `Movement`: the replay of an experiment, a simulated trial, a reference."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from musclewarp.biomechanics.experiments import Experiment
from musclewarp.biomechanics.experiments.experiment import SIDES, Side
from musclewarp.biomechanics.gait_events import GaitEvents, events_from_force, events_from_kinematics
from musclewarp.biomechanics.movement import (
    Kind,
    Movement,
    Signal,
    clock_of,
    facing,
    force_signals,
    leg_signals,
    movement_of_experiment,
    pelvis_signals,
)
from musclewarp.biomechanics.muscle_maps import map_sites, sites_of
from musclewarp.biomechanics.replay import Replay
from musclewarp.biomechanics.signals import Floats
from musclewarp.dynamics.simulated import simulated_moments
from musclewarp.errors import ModelError, SignalError
from musclewarp.evaluation.trial import Trial
from musclewarp.models import MuscleModel
from musclewarp.models.kinematics import Kinematics
from musclewarp.motion import rotations
from musclewarp.references import Reference
from musclewarp.references.cycle import cycle_of

_LOOPS = 3  # turns of a loop: whole strides of both feet are among them


def movement_of_replay(model: MuscleModel, replay: Replay, experiment: Experiment) -> Movement:
    """A replay, with the gait events of the measured forces, which may begin before and end after it."""
    time, reference = replay.time, replay.reference
    moments = dict(zip(replay.joint_names, replay.net_moments.T))
    signals = [*_angles(model, time, reference.qpos), *leg_signals("moment", "Nm", time, moments)]
    for foot, side in enumerate(replay.sides):
        signals += force_signals(side, time, replay.ground_forces[:, foot])
    signals += activation_signals(model, time, replay.activations)
    events = movement_of_experiment(experiment).events
    note = (
        "angles, events and ground forces (scaled to the model's mass) are the measured ones: their agreement is given"
    )
    label, given = f"replay of {experiment.name}", frozenset[Kind](("angle", "grf"))
    return Movement(label, tuple(signals), events, replay.mass, (note,), given, True, clock_of(experiment))


def movement_of_trial(model: MuscleModel, trial: Trial) -> Movement:
    """A simulated trial until its first failure: angles, net moments, forces on the feet, activations.

    Net moments are what muscles, passive tissue and the ends of the joints' ranges do together; forward is where the
    pelvis faces on average.

    Raises:
        ModelError: the model has no legs.
        SignalError: it fails before its third frame.
    """
    _require_legs(model)
    frames = trial.survived
    if frames < 3:
        raise SignalError(
            f"trial '{trial.clip}' of the controller '{trial.controller}' fails in frame {trial.failed_at}: there is "
            "nothing to compare; give a trial that tracks its clip for a stride at least"
        )
    time = trial.time[:frames]
    qpos, qvel, activations, force = (
        trial[key][:frames].astype(np.float64) for key in ("qpos", "qvel", "activation", "foot_force")
    )
    net = simulated_moments(model, qpos, qvel, activations).net
    names = [model.dof_names[dof] for dof in model.couplings.independent]
    signals = [*_angles(model, time, qpos), *leg_signals("moment", "Nm", time, dict(zip(names, net.T)))]
    ahead = facing(_pelvis(model, qpos))
    events: dict[Side, GaitEvents] = {}
    for side in SIDES:
        turned = force[:, model.feet.index(side)] @ ahead.T
        signals += force_signals(side, time, turned)
        events[side] = events_from_force(turned[:, 2], 1.0 / trial.dt)
    signals += activation_signals(model, time, activations)
    label = f"{trial.clip}, {trial.controller.replace('_', ' ')}"
    if not trial.success:
        label += f" (the {frames * trial.dt:.2f} of {trial.num_frames * trial.dt:.2f} s before it fails)"
    return Movement(label, tuple(signals), events, _mass(model))


def movement_of_reference(model: MuscleModel, reference: Reference, experiment: Experiment | None = None) -> Movement:
    """A reference: angles, and activations where it has them; a loop is walked through three times.

    Events are those of `experiment` if the reference was made from it, else of ankles and toes.

    Raises:
        ModelError: the model has no legs.
    """
    _require_legs(model)
    qpos, activations, start, turning = reference.qpos, reference.activations, 0.0, 0.0
    notes, clock, events = _quality(reference), "", dict[Side, GaitEvents]()
    made_of_it = experiment is not None and _is_of(reference, experiment)
    if made_of_it:
        notes.append("angles are the experiment's own: their agreement is given")
    if reference.loop:
        qpos = _unrolled(qpos)
        turning = _turning(_pelvis(model, qpos), len(reference.qpos) - 1)
        activations = None if activations is None else np.tile(activations[:-1], (_LOOPS, 1))
    table = None if experiment is None else experiment.kinematics
    if experiment is not None and table is not None and not reference.loop and made_of_it:
        clock, start = clock_of(experiment), float(table.time[0])
        end = start + reference.dt * (len(qpos) - 1)
        for side, measured in movement_of_experiment(experiment).events.items():
            events[side] = _until(end, reference.dt, measured)
    events_given = bool(events)
    if not events:
        events = _kinematic_events(model, qpos, 1.0 / reference.dt, start)
        notes.append("gait events are those of ankles and toes against the pelvis (walking only), not of forces")
    time = start + reference.dt * np.arange(len(qpos), dtype=np.float64)
    signals = _angles(model, time, qpos, turning)
    if activations is None:
        notes.append("the reference has no activations: muscles are not compared")
    else:
        signals += activation_signals(model, time, activations)
    label, given = f"reference {reference.name}", frozenset[Kind](("angle",) if made_of_it else ())
    return Movement(label, tuple(signals), events, _mass(model), tuple(notes), given, events_given, clock)


def activation_signals(model: MuscleModel, time: Floats, activations: Floats) -> list[Signal]:
    """What EMG electrodes would hear of `activations (T, M)`, at every site of which the model has a muscle."""
    names, force = tuple(model.muscles.index), model.muscles["peak_force"].to_numpy()
    signals: list[Signal] = []
    for side in SIDES:
        sites = map_sites(sites_of(side, names), side, names, force)
        heard = sites.signals(activations).T
        signals += [Signal(site, "emg", side, "1", time, row[None]) for site, row in zip(sites.sites, heard)]
    return signals


def _angles(model: MuscleModel, time: Floats, qpos: Floats, turning: float = 0.0) -> list[Signal]:
    names = [model.dof_names[dof] for dof in model.joint_dofs]
    signals = leg_signals("angle", "rad", time, dict(zip(names, qpos[:, model.joint_qpos].T)))
    return signals + pelvis_signals(time, _pelvis(model, qpos), turning)


def _pelvis(model: MuscleModel, qpos: Floats) -> Rotation:
    """How the pelvis is turned in the world, `(T,)`; its x axis is forward, its y axis up."""
    poses = Kinematics(model)(torch.from_numpy(qpos), jacobian=False)
    return Rotation.from_quat(rotations.from_matrix(poses.rotation[:, 0].numpy()), scalar_first=True)


def _turning(pelvis: Rotation, period: int) -> float:
    """rad by which a loop of so many frames turns from frame to frame on the whole."""
    forward = pelvis.apply([1.0, 0.0, 0.0])
    heading = np.unwrap(np.arctan2(forward[:, 1], forward[:, 0]))
    return float(heading[period] - heading[0]) / period


def _is_of(reference: Reference, experiment: Experiment) -> bool:
    """Whether it was made from this person and trial, which the task tells."""
    source = reference.source
    return (source.get("experiment"), source.get("task")) == (experiment.name, experiment.task)


def _until(end: float, dt: float, events: GaitEvents) -> GaitEvents:
    """Events less than a frame after the last one happen in it: frames are a whole number of steps apart."""
    strikes = events.heel_strikes
    return replace(events, heel_strikes=np.where((strikes > end) & (strikes < end + dt), end, strikes))


def _quality(reference: Reference) -> list[str]:
    """How far the activations of static optimisation are from producing the movement."""
    told = {
        "impossible_frames": "{:.0%} of the frames need moments that no activations produce (impossible_frames)",
        "missing_moment_nm": "{:.1f} Nm of a joint's moment are missing on average (missing_moment_nm)",
        "missing_root_force_n": "{:.0f} N at the root are unexplained on average (missing_root_force_n)",
    }
    found = [text.format(reference.quality[key]) for key, text in told.items() if key in reference.quality]
    return [f"activations of the reference: {'; '.join(found)}"] if found else []


def _kinematic_events(model: MuscleModel, qpos: Floats, rate: float, start: float) -> dict[Side, GaitEvents]:
    places = Kinematics(model)(torch.from_numpy(qpos), jacobian=False).position.numpy()
    ahead = _pelvis(model, qpos).apply([1.0, 0.0, 0.0])
    events: dict[Side, GaitEvents] = {}
    for side in SIDES:
        ankle, toes = (places[:, model.sites.index(f"{side}_{part}")] for part in ("ankle", "toes"))
        events[side] = events_from_kinematics(ankle, toes, places[:, 0], rate, ahead, start=start)
    return events


def _unrolled(qpos: Floats) -> Floats:
    """Postures of `_LOOPS` turns of a loop, without the last frame, which is the first again."""
    cycle, frames = cycle_of(qpos), len(qpos) - 1
    period, clip = torch.from_numpy(qpos[:-1]), torch.zeros(frames, dtype=torch.long)
    turns = [cycle.after(clip, torch.full((frames,), turn)).place_qpos(period) for turn in range(_LOOPS)]
    return torch.cat(turns).numpy()


def _mass(model: MuscleModel) -> float:
    return float(model.mj_model.body_mass.sum())


def _require_legs(model: MuscleModel) -> None:
    if not model.feet:
        raise ModelError(f"model '{model.name}' has no legs, and no gait to compare; give a movement of a whole body")
