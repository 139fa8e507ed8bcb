"""The Rajagopal walk replayed: moments against the study's own, and static optimisation that is optimal."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import lsq_linear

from musclewarp.biomechanics.compare import best_lag, pearson, rmse
from musclewarp.biomechanics.replay import replay_experiment
from musclewarp.dynamics import Trajectory, accelerations, external_forces, muscle_problems
from musclewarp.dynamics.quadratic import SOLVERS
from musclewarp.errors import FileError

BAR_JOINTS = ("hip_flexion", "knee_angle", "ankle_angle")
LEG = (*BAR_JOINTS, "hip_adduction", "hip_rotation")


def moments(walk, replay, joint):
    """Ours and the study's, Nm/kg, at the frames of the replay."""
    theirs = walk.moments.at(replay.time)[:, walk.moments.columns.index(joint)] / walk.subject_mass
    return replay.net_moments[:, replay.joint_names.index(joint)] / replay.mass, theirs


def test_joint_moments_are_the_studys_own(walk, replay):
    """Mean r of hip flexion, knee and ankle at least 0.95, RMSE at most 0.20 Nm/kg, and no delay."""
    for side in "rl":
        found = {joint: moments(walk, replay, f"{joint}_{side}") for joint in LEG}
        for joint, (ours, theirs) in found.items():
            lag = best_lag(ours, theirs, 0.01, cyclic=False, max_lag=0.1).seconds
            print(f"{joint}_{side} r {pearson(ours, theirs):.3f} rmse {rmse(ours, theirs):.3f} lag {1000 * lag:.0f} ms")
            assert pearson(ours, theirs) > 0.94
            assert rmse(ours, theirs) < 0.20
            assert abs(lag) < 0.010
        assert np.mean([pearson(*found[joint]) for joint in BAR_JOINTS]) >= 0.95


def test_what_the_plates_leave_unexplained_is_small(replay):
    """Yaw, the last, is what arms and trunk swing against; light phantom bodies of the shoulders add little to it."""
    size = np.sqrt(np.square(replay.residuals).mean(axis=0))
    print("root residuals, N and Nm:", np.round(size, 1))
    assert (size[:3] < 0.05 * 9.81 * replay.mass).all()
    assert (size[3:5] < 40).all()
    assert size[5] < 10


def test_legs_need_no_reserves(replay):
    for joint, moment, reserve in zip(replay.joint_names, replay.net_moments.T, replay.reserves.T, strict=True):
        if joint[:-2] in LEG or joint.startswith("subtalar"):
            assert np.abs(reserve).max() < 0.05 * np.abs(moment).max(), joint


def test_forces_act_on_the_feet_and_muscles_pull(replay, body):
    weight = 9.81 * replay.mass
    assert 1.0 < replay.ground_forces[..., 2].sum(axis=1).max() / weight < 1.4
    standing = replay.ground_forces[..., 2] > 0
    assert (np.isfinite(replay.centre_of_pressure).all(axis=-1) == standing).all()
    for foot, side in enumerate(replay.sides):
        ankle = replay.reference.site_positions[:, body.sites.index(f"{side}_ankle")]
        off = (replay.centre_of_pressure[:, foot] - ankle)[standing[:, foot]]
        assert (off[:, 0] > -0.10).all()
        assert (off[:, 0] < 0.25).all()
        assert (np.abs(off[:, 1]) < 0.08).all()
    assert (replay.muscle_forces >= 0).all()
    assert (replay.reference.activations == replay.activations).all()
    assert replay.muscle_names == tuple(body.muscles.index)


def test_every_solver_finds_the_optimum(walk, replay, body):
    """daqp, the batched solver and scipy's bounded least squares, on frames of both steps."""
    frames = np.array([10, 45, 80, 120])
    reference = replay.reference
    qacc = accelerations(reference.qpos, reference.dt, body)
    qpos = reference.qpos[frames]
    force, point = replay.ground_forces[frames], np.nan_to_num(replay.centre_of_pressure[frames])
    external = external_forces(body, qpos, ("calcn_r", "calcn_l"), force, point, np.zeros_like(force))
    problem = muscle_problems(body, Trajectory(qpos, reference.qvel[frames], qacc[frames], external)).redundancy
    found = {name: solve(problem, None).unknowns for name, solve in SOLVERS.items()}
    strength, unknown = problem.reserve.numpy(), problem.effect.shape[2]
    found["scipy"] = torch.from_numpy(
        np.stack(
            [
                lsq_linear(
                    np.vstack((np.eye(unknown), effect / strength[:, None])),
                    np.concatenate((np.zeros(unknown), goal / strength)),
                    (0.0, 1.0),
                    method="bvls",
                    tol=1e-14,
                ).x
                for effect, goal in zip(problem.effect.numpy(), problem.goal.numpy())
            ]
        )
    )
    for name, unknowns in found.items():
        print(f"{name} KKT {float(problem.optimality(unknowns).max()):.1e}")
        assert problem.optimality(unknowns).max() < 1e-6, name
        torch.testing.assert_close(unknowns, found["scipy"], atol=1e-4, rtol=0.0)


def test_what_was_not_measured_is_told(walk, body):
    with pytest.raises(FileError, match="no ground force of the right foot"):
        replay_experiment(replace(walk, ground={}), body)
    with pytest.raises(FileError, match="does not tell the person's mass"):
        replay_experiment(replace(walk, subject_mass=None), body)
    right = walk.ground["right"]
    early = replace(right, **{key: getattr(right, key)[:2000] for key in ("time", "force", "point", "torque")})
    with pytest.raises(FileError, match=r"forces cover 0.000 to 1.000 s, the movement 0.450"):
        replay_experiment(replace(walk, ground={**walk.ground, "right": early}), body)
