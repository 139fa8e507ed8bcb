"""Movements beyond the muscles' strength become ones that they can produce."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from musclewarp.dynamics import Trajectory, accelerations, optimize_activations
from musclewarp.models import MuscleModel
from musclewarp.models.kinematics import Kinematics
from musclewarp.references.quality import limit_violation
from musclewarp.references.reference import differentiate
from musclewarp.retarget.bounds import rest_posture
from musclewarp.retarget.feasible import producible_moments, solve_feasible
from musclewarp.retarget.ik import IKConfig, solve
from musclewarp.retarget.targets import Targets

DT = 0.02


@pytest.fixture(scope="module")
def swing(arms: MuscleModel) -> Targets:
    """Where the sites would be if both hanging arms swung forth and back past the thorax, 2.5 times a second."""
    m, frames = arms.mj_model, 60
    qpos = np.tile(rest_posture(arms), (frames, 1))
    phase = np.sin(2 * np.pi * 2.5 * DT * np.arange(frames))
    for side in ("r", "l"):
        plane, elevation = (m.joint(f"{name}_{side}").qposadr[0] for name in ("elv_angle", "shoulder_elv"))
        qpos[:, plane] = np.where(phase > 0, 1.5, -1.5)  # the plane turns over at once where the arm hangs
        qpos[:, elevation] = np.abs(1.0 * phase)
    qpos = arms.couplings.project_qpos(torch.from_numpy(qpos))
    positions = Kinematics(arms)(qpos, jacobian=False).position.numpy()
    return Targets(positions, np.full((frames, len(arms.sites), 4), np.nan))


def missing(model: MuscleModel, qpos: np.ndarray) -> np.ndarray:
    """Largest moment `(T,)` in Nm that no activation can produce."""
    movement = Trajectory(qpos, differentiate(model, qpos, DT), accelerations(qpos, DT))
    residual = optimize_activations(model, movement).residual
    return np.abs(residual).max(axis=1)


def distance(model: MuscleModel, qpos: np.ndarray, targets: Targets) -> float:
    sites = Kinematics(model)(torch.from_numpy(qpos), jacobian=False).position.numpy()
    return float(np.linalg.norm(sites - targets.positions, axis=-1).mean())


def test_arms_that_swing_past_hanging_need_only_what_muscles_have(arms, swing):
    plain, steps = solve(arms, swing, DT), []
    feasible = solve_feasible(arms, swing, DT, on_iteration=lambda step, cost: steps.append(step))
    before, after = missing(arms, plain.qpos), missing(arms, feasible.qpos)
    assert before.mean() > 4.0, "the movement asks for nothing special: the test proves nothing"
    assert after.mean() < 0.5 * before.mean()
    assert distance(arms, feasible.qpos, swing) < distance(arms, plain.qpos, swing) + 0.05
    assert arms.couplings.residual(torch.from_numpy(feasible.qpos)).abs().max() < 1e-9
    assert limit_violation(arms, feasible.qpos).max() <= 1e-3
    assert steps == list(range(1, feasible.iterations + 1))


def test_producible_moments_of_a_gentle_movement_are_its_own(arms, swing):
    still = Targets(np.tile(swing.positions[:1], (10, 1, 1)), swing.rotations[:10])
    qpos = solve(arms, still, DT).qpos
    other = solve_feasible(arms, still, DT).qpos
    np.testing.assert_allclose(other, qpos, atol=0.02)
    assert np.isfinite(producible_moments(arms, qpos, DT, 0.75)).all()


@pytest.mark.parametrize("frames", [2, 3])
def test_the_shortest_clips_can_be_solved(arms, swing, frames):
    short = Targets(swing.positions[:frames], swing.rotations[:frames])
    assert np.isfinite(solve_feasible(arms, short, DT).qpos).all()


def test_a_body_on_the_ground_is_only_fitted(body):
    posture = torch.from_numpy(np.tile(body.mj_model.qpos0, (4, 1)))
    poses = Kinematics(body)(posture, jacobian=False)
    turned = np.tile([1.0, 0.0, 0.0, 0.0], (4, len(body.sites), 1))
    targets = Targets(poses.position.numpy(), turned)
    config = IKConfig(max_iterations=5)
    np.testing.assert_array_equal(solve_feasible(body, targets, DT, config).qpos, solve(body, targets, DT, config).qpos)
