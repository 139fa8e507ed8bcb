"""Replay of an experiment: the moments, muscles and forces that a model needs to move as the person did.

The measured angles move the model, the measured ground forces, scaled to its mass, act on its feet, and static
optimisation shares the joint moments out among its muscles.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from musclewarp.biomechanics.experiments.experiment import SIDES, Experiment, Side
from musclewarp.biomechanics.signals import Floats, zero_phase
from musclewarp.dynamics import (
    Criterion,
    Trajectory,
    accelerations,
    external_forces,
    optimize_activations,
)
from musclewarp.errors import FileError
from musclewarp.models import MuscleModel
from musclewarp.references import Reference

_FEET = tuple(f"calcn_{side[0]}" for side in SIDES)
_FORCE_SHARE = 0.4  # of the frame rate: the forces' low-pass, where they are recorded faster


@dataclass(frozen=True, eq=False)
class Replay:
    """T frames, J joints (independent coordinates), M muscles; z-up world, SI units.

    Attributes:
        time: `(T,)` s, on the experiment's clock.
        reference: the filtered movement, with the activations below.
        joint_names: of the J coordinates; those of the root are not among them.
        net_moments: `(T, J)` Nm, what everything that crosses a joint does together (inverse dynamics).
        passive_moments: `(T, J)` Nm of joint damping and stiffness, a part of `net_moments` that muscles need not make.
        residuals: `(T, 6)` N and Nm at the root: what the ground forces leave unexplained.
        sides: of the two feet.
        ground_forces: `(T, 2, 3)` N on each foot, scaled to the model's mass.
        centre_of_pressure: `(T, 2, 3)` m; NaN where a foot is not loaded.
        muscle_names: of the M muscles.
        activations: `(T, M)` in [0, 1], of static optimisation.
        muscle_forces: `(T, M)` N, active and passive, pulling.
        reserves: `(T, J)` Nm, what no muscle produces.
        mass: kg of the model, by which moments and forces of models and persons are compared.
        settings: how it was computed, in words.
    """

    time: Floats
    reference: Reference
    joint_names: tuple[str, ...]
    net_moments: Floats
    passive_moments: Floats
    residuals: Floats
    sides: tuple[Side, ...]
    ground_forces: Floats
    centre_of_pressure: Floats
    muscle_names: tuple[str, ...]
    activations: Floats
    muscle_forces: Floats
    reserves: Floats
    mass: float
    settings: Mapping[str, str]


def replay_experiment(
    experiment: Experiment,
    model: MuscleModel,
    criterion: Criterion | None = None,
    cutoff_hz: float | None = None,
    dt: float = 0.01,
) -> Replay:
    """Inverse dynamics and static optimisation of a measured movement.

    Each centre of pressure is taken into the frame of the calcaneus that stands there. The person's size is not the
    model's: angles and, per mass, forces are kept, lengths are the model's.

    Args:
        experiment: with kinematics and ground forces.
        model: a whole body of the Rajagopal family, such as MyoFullBody.
        criterion: of static optimisation.
        cutoff_hz: of the low-pass through which the angles go; by default 6, and 15 for running.
        dt: s between frames.

    Raises:
        FileError: kinematics or forces were not measured, or forces not for all of the movement.
        ModelError: the model has no such joints or feet.
    """
    if cutoff_hz is None:
        cutoff_hz = 15.0 if "run" in experiment.task.lower() else 6.0
    criterion = criterion or Criterion()
    reference = experiment.reference(model, dt, cutoff_hz)
    assert experiment.kinematics is not None
    time = experiment.kinematics.time[0] + dt * np.arange(reference.num_frames)
    mass = float(model.mj_model.body_mass.sum())
    if experiment.subject_mass is None:
        raise FileError(f"experiment '{experiment.name}' does not tell the person's mass, so its forces have no scale")
    force, point, torque = (np.stack(x, axis=1) for x in zip(*(_foot(experiment, side, time) for side in SIDES)))
    point[..., 0] += (experiment.treadmill_speed * (time - time[0]))[:, None]
    external = external_forces(model, reference.qpos, _FEET, force, np.nan_to_num(point), torque)
    external = external.scaled(mass / experiment.subject_mass)
    qacc = accelerations(reference.qpos, reference.dt, model)
    found = optimize_activations(model, Trajectory(reference.qpos, reference.qvel, qacc, external), criterion)
    joints = np.isin(model.couplings.independent, model.joint_dofs)
    return Replay(
        time=time,
        reference=replace(reference, activations=found.activations),
        joint_names=tuple(model.dof_names[dof] for dof in model.couplings.independent[joints]),
        net_moments=found.needed.net[:, joints],
        passive_moments=found.needed.passive[:, joints],
        residuals=found.needed.net[:, ~joints],
        sides=SIDES,
        ground_forces=external.force,
        centre_of_pressure=point,
        muscle_names=tuple(model.muscles.index),
        activations=found.activations,
        muscle_forces=found.muscle_forces,
        reserves=-found.residual[:, joints],
        mass=mass,
        settings=_settings(criterion, cutoff_hz, dt),
    )


def _settings(criterion: Criterion, cutoff_hz: float, dt: float) -> dict[str, str]:
    weight = "" if criterion.weight == "none" else f", weighted by {criterion.weight}"
    bound = "" if criterion.max_activation == 1.0 else f", none above {criterion.max_activation:g}"
    return {
        "angle filter": f"zero-phase low-pass at {cutoff_hz:g} Hz",
        "force filter": f"zero-phase low-pass at {_FORCE_SHARE / dt:g} Hz",
        "time step": f"{dt:g} s",
        "criterion": f"sum of activations to the power of {criterion.power:g}{weight}{bound}",
        "reserves": f"{criterion.reserve:g} Nm at joints; at the root {criterion.root_reserve:g} N and Nm",
    }


def _foot(experiment: Experiment, side: Side, time: Floats) -> tuple[Floats, Floats, Floats]:
    """Force, centre of pressure and free moment `(T, 3)` under one foot at `time`; nothing acts below 20 N."""
    plate = experiment.ground.get(side)
    if plate is None:
        raise FileError(f"experiment '{experiment.name}' has no ground force of the {side} foot")
    if time[0] < plate.time[0] - 1e-9 or time[-1] > plate.time[-1] + 1e-9:
        span, asked = (f"{t[0]:.3f} to {t[-1]:.3f} s" for t in (plate.time, time))
        raise FileError(f"experiment '{experiment.name}': forces cover {span}, the movement {asked}; cut it to them")
    rate, highest = (len(plate.time) - 1) / np.ptp(plate.time), _FORCE_SHARE / (time[1] - time[0])
    force, torque = plate.force, plate.torque
    if highest < rate / 2:
        force, torque = (zero_phase(value, rate, 2, high=highest) for value in (force, torque))
    loaded = plate.loaded

    def at(values: Floats, instants: Floats = plate.time) -> Floats:
        return np.stack([np.interp(time, instants, column) for column in values.T], axis=1)

    stands = np.interp(time, plate.time, loaded.astype(float)) > 0.5
    point = at(plate.point[loaded], plate.time[loaded]) if loaded.any() else np.zeros((len(time), 3))
    return (
        np.where(stands[:, None], at(force), 0.0),
        np.where(stands[:, None], point, np.nan),
        np.where(stands[:, None], at(torque), 0.0),
    )
