"""Trials as rollout archives of MuscleMimic's evaluation kit, `mm-evalkit` 0.1 (Li et al. 2026, arXiv 2603.25544).

The kit compares policies of MyoFullBody with Gait120 and Wang et al., and of MyoBimanualArm with ULTra-MoCap. It reads
one .npz of 100 Hz: for each episode joint positions, reference, activations, foot sensors and generalized forces. Two
of its quantities are not what they are compared with, so that the archive holds those, too, under names that the kit
does not read:

- `generalized_actuator_forces` are the muscles' moments about single dofs, `qfrc_actuator`. The kit takes them for the
  net moments of inverse dynamics. They lack what joint damping, stiffness and limits do, and of the knee all that the
  quadriceps does through the kneecap, whose coordinates are coupled to the knee's. Beside them: `net_joint_moments`,
  over the independent coordinates, of muscles, passive tissue and limits together.
- `touch_observations` and `force_sensor_values` stand for MuJoCo touch sensors, which add the normal forces inside a
  box around the heel and another around the toes, and miss contacts that lie at the faces of these (standing flat,
  two thirds of the force). The kit adds both and takes the sum for the vertical ground reaction force. Here that sum
  is the vertical force on the whole foot, in the column of the heel, and that of the toes is zero. Beside them:
  `foot_forces`, with their horizontal part.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from scipy.interpolate import CubicSpline, make_interp_spline

from musclewarp.biomechanics.signals import Floats
from musclewarp.dynamics.simulated import simulated_moments
from musclewarp.errors import ConfigError, FileError, SignalError
from musclewarp.evaluation.trial import Trial
from musclewarp.files import write_atomically
from musclewarp.models import MuscleModel, myo
from musclewarp.motion import rotations

_DT = 0.01  # s, the only one that the kit takes
_FEET = ("right", "left")
_SENSORS = ("r_foot", "r_toes", "l_foot", "l_toes")


def export_mm_evalkit(
    path: str | Path,
    model: MuscleModel,
    trials: Sequence[Trial],
    motion_group: str | None = None,
    motions: Sequence[int] | None = None,
) -> Path:
    """Write `trials` of one model as an archive, an episode each, up to their first failure.

    Frames are interpolated to 100 Hz: postures by cubic splines, all else linearly. Activations belong to the postures
    of their frame ("pre_step" in the kit's words), forces are those in that state ("post_step").

    Args:
        path: the .npz file.
        model: of the trials: MyoFullBody without fingers, or MyoBimanualArm, where the kit expects all muscles: those
            of fingers that the trial does not have are written as zeros.
        trials: the episodes.
        motion_group: the kit's name of the list of motions that `motions` counts in, such as "GAIT120_TESTING".
        motions: place of each trial's motion in that list; by default 0, 1, ...

    Raises:
        ConfigError: the kit does not know the model, or `motions` has another length than `trials`.
        FileError: a trial is of another model.
        SignalError: a trial has fewer than two frames.
    """
    body = model.name == "myofullbody"
    if not body and not model.name.startswith("bimanual"):
        raise ConfigError(f"mm-evalkit knows myofullbody without fingers, and bimanual, but not '{model.name}'")
    ids = range(len(trials)) if motions is None else motions
    if not trials or len(ids) != len(trials):
        raise ConfigError(f"{len(ids)} places of motions for {len(trials)} trials: give each trial one")
    m = model.mj_model
    muscles = tuple(model.muscles.index) if body else tuple(a.name for a in myo.load_spec("bimanual").actuators)
    arrays: dict[str, Any] = {
        "n_episodes": len(trials),
        "dt": _DT,
        "joint_names": [m.joint(i).name for i in range(m.njnt)],
        "muscle_names": muscles,
        "activation_sample_phase": "pre_step",
        "kinetics_sample_phase": "post_step",
        "generalized_actuator_force_joint_names": model.dof_names,
        "generalized_actuator_force_units": _units(model),
        "net_joint_moment_names": [model.dof_names[dof] for dof in model.couplings.independent],
        "model_mass_kg": float(m.body_mass.sum()),
    }
    if motion_group is not None:
        arrays["motion_group"] = motion_group
    if body:
        arrays |= {"force_sensor_names": _SENSORS, "force_sensor_units": ["N"] * len(_SENSORS), "feet": model.feet}
    for episode, (trial, motion) in enumerate(zip(trials, ids)):
        if trial.model_hash != model.hash:
            raise FileError(
                f"trial of '{trial.clip}' is of '{trial.model}' ({trial.model_hash[:8]}), not of this '{model.name}' "
                f"({model.hash[:8]}): export it with the musclemimic-models that it was recorded with"
            )
        values = {"traj_id": motion, "clip": trial.clip, **_episode(model, trial, muscles)}
        arrays |= {f"episode_{episode}_{key}": value for key, value in values.items()}

    def write(temporary: Path) -> None:
        with open(temporary, "wb") as file:  # given a name, numpy would append a suffix to one without .npz
            np.savez_compressed(file, **arrays)

    return write_atomically(path, write)


def _episode(model: MuscleModel, trial: Trial, muscles: Sequence[str]) -> dict[str, Any]:
    """What the archive holds of one trial."""
    if trial.num_frames < 2:
        raise SignalError(f"trial of '{trial.clip}' has {trial.num_frames} frame; an episode needs two")
    time = np.arange(0.0, (trial.num_frames - 1) * trial.dt + 1e-9, _DT)
    alive = max(1, int(np.searchsorted(time, trial.survived * trial.dt - 1e-9)))  # rows before the first failure
    qpos, qvel, activation = (trial[key].astype(np.float64) for key in ("qpos", "qvel", "activation"))

    def linear(values: Floats) -> Floats:
        return make_interp_spline(trial.time, values, k=1)(time[:alive])

    columns = {name: i for i, name in enumerate(trial.muscles)}
    exported = np.zeros((trial.num_frames, len(muscles)))
    present = [i for i, name in enumerate(muscles) if name in columns]
    exported[:, present] = activation[:, [columns[muscles[i]] for i in present]]
    episode: dict[str, Any] = {
        "traj_length": len(time),
        "joint_positions": _postures(model, qpos, trial.time, time)[:alive],
        "traj_qpos": _postures(model, trial["reference_qpos"].astype(np.float64), trial.time, time),
        "muscle_activations": linear(exported),
        "generalized_actuator_forces": linear(_actuator_forces(model, qpos, qvel, activation)),
        "net_joint_moments": linear(simulated_moments(model, qpos, qvel, activation).net),
        "kinetics_reference_steps": np.arange(alive),
    }
    if trial.feet:
        force = trial["foot_force"].astype(np.float64)
        vertical = np.zeros((trial.num_frames, len(_SENSORS)))
        vertical[:, ::2] = force[:, [trial.feet.index(foot) for foot in _FEET], 2]
        episode |= {"touch_observations": linear(vertical), "force_sensor_values": linear(vertical)}
        episode["foot_forces"] = linear(force)
    return episode


def _units(model: MuscleModel) -> list[str]:
    """Of the generalized force of each dof: a hinge's is a moment."""
    m = model.mj_model
    turns = m.jnt_type[m.dof_jntid] == mujoco.mjtJoint.mjJNT_HINGE
    turns |= np.arange(m.nv) - m.jnt_dofadr[m.dof_jntid] >= 3  # the later half of a free joint
    return ["Nm" if turn else "N" for turn in turns]


def _actuator_forces(model: MuscleModel, qpos: Floats, qvel: Floats, act: Floats) -> Floats:
    """`qfrc_actuator (T, nv)` of states."""
    data = mujoco.MjData(model.mj_model)
    forces = np.empty_like(qvel)
    for t in range(len(qpos)):
        data.qpos[:], data.qvel[:], data.act[:] = qpos[t], qvel[t], act[t]
        mujoco.mj_fwdPosition(model.mj_model, data)
        mujoco.mj_fwdVelocity(model.mj_model, data)
        mujoco.mj_fwdActuation(model.mj_model, data)
        forces[t] = data.qfrc_actuator
    return forces


def _postures(model: MuscleModel, qpos: Floats, known: Floats, wanted: Floats) -> Floats:
    """Postures `(T', nq)` at the times `wanted`, through those at `known` by cubic splines."""
    qpos = qpos.copy()
    if model.has_free_root:
        qpos[:, 3:7] = rotations.continuous(qpos[:, 3:7])
    result = CubicSpline(known, qpos)(wanted)
    if model.has_free_root:
        result[:, 3:7] = rotations.normalize(result[:, 3:7])
    return result
