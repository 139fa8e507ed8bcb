"""Inverse kinematics: its linear algebra against dense matrices, its results against known movements."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from musclewarp.dynamics.inverse import inertia
from musclewarp.errors import ConfigError
from musclewarp.models import MuscleModel
from musclewarp.models.kinematics import Kinematics
from musclewarp.motion import rotations
from musclewarp.references.muscle_paths import muscle_paths
from musclewarp.references.quality import limit_violation
from musclewarp.retarget.bounds import independent_bounds
from musclewarp.retarget.ik import IKConfig, solve
from musclewarp.retarget.ik_problem import Problem
from musclewarp.retarget.targets import Targets

DT = 0.02


def smooth_movement(model: MuscleModel, frames: int, seed: int = 0) -> np.ndarray:
    """Postures `(T, nq)` on the couplings, inside the bounds, every joint and the root in motion."""
    random, time = np.random.default_rng(seed), DT * np.arange(frames)[:, None]
    lower, upper = independent_bounds(model, 0.01)
    scalar = np.isin(model.couplings.independent, model.joint_dofs)
    lower, upper = lower[scalar], upper[scalar]
    home = np.clip(model.mj_model.qpos0[model.joint_qpos], lower + 0.3 * (upper - lower), upper - 0.3 * (upper - lower))
    wave = np.sin(2 * np.pi * 0.5 * time + random.uniform(0, 2 * np.pi, size=len(home)))
    qpos = np.tile(model.mj_model.qpos0, (frames, 1))
    qpos[:, model.joint_qpos] = home + 0.2 * (upper - lower) * wave
    if model.has_free_root:
        qpos[:, :3] += np.concatenate((time, np.sin(time), 0.1 * np.cos(3 * time)), axis=1)
        turn = rotations.from_rotvec(np.concatenate((0.2 * np.sin(3 * time), 0.1 * time, 2 * time), axis=1))
        qpos[:, 3:7] = rotations.multiply(turn, model.mj_model.qpos0[3:7])
    return model.couplings.project_qpos(torch.from_numpy(qpos)).numpy()


def smoothing(weight: float, **changes) -> IKConfig:
    """The same weight on the acceleration of every joint."""
    names = [field.name for field in fields(IKConfig) if field.name.endswith("acceleration")]
    return IKConfig(**dict.fromkeys(names, weight), **changes)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"position": {"hadn": 1.0}}, r"ik.position has no site 'hadn'; choose among .*hand"),
        ({"rotation": {"knee": 1.0}}, r"ik.rotation has no site 'knee'; choose among pelvis, hand, ankle"),
        ({"position": {"hand": -1.0}}, r"ik.position.hand is -1.0"),
        ({"rotation": {"hand": np.nan}}, r"ik.rotation.hand is nan"),
        ({"posture": -1e-5}, "ik.posture is -1e-05"),
        ({"acceleration": np.inf}, "ik.acceleration is inf"),
        ({"shoulder_acceleration": -1}, "ik.shoulder_acceleration is -1"),
        ({"moment": -1.0}, "ik.moment is -1.0"),
        ({"limit_margin": -0.1}, "ik.limit_margin is -0.1"),
        ({"tolerance": -1.0}, "ik.tolerance is -1.0"),
        ({"max_activation": -3.0}, r"ik.max_activation is -3.0; choose one in \(0, 1\]"),
        ({"max_activation": 0.0}, "ik.max_activation is 0.0"),
        ({"max_activation": 1.1}, "ik.max_activation is 1.1"),
        ({"feasibility_rounds": -1}, "ik.feasibility_rounds is -1; choose a number of at least 0"),
        ({"max_iterations": 0}, "ik.max_iterations is 0; choose a number of at least 1"),
    ],
)
def test_weights_out_of_range_and_sites_that_nobody_has_are_refused(wrong, message):
    with pytest.raises(ConfigError, match=message):
        IKConfig(**wrong)


def test_a_site_that_is_not_named_keeps_its_default_weight():
    defaults, config = IKConfig(), IKConfig(position={"hand": 5.0}, rotation={"pelvis": 0.0})
    assert config.position == {**defaults.position, "hand": 5.0}
    assert config.rotation == {**defaults.rotation, "pelvis": 0.0}
    assert config.position["elbow"] > 0
    assert replace(config, posture=0.0).position == config.position


@pytest.mark.parametrize("name", ["arms", "body"])
def test_every_tracking_site_has_a_weight(name, request, targets_of):
    model = request.getfixturevalue(name)
    tracking = Problem(model, targets_of(model, smooth_movement(model, 2)), DT, IKConfig()).tracking
    assert (tracking.weight > 0).all()
    assert (tracking.turn_weight > 0).all()


@pytest.fixture(scope="module", params=["tracking", "moments"])
def small(arms: MuscleModel, request: pytest.FixtureRequest, targets_of) -> Problem:
    """Six frames of both arms, without and with moments to come close to."""
    moments = np.random.default_rng(7).normal(size=(6, len(arms.couplings.independent)))
    targets = targets_of(arms, smooth_movement(arms, 6))
    config = IKConfig(acceleration=1e-6, moment=1e-3)
    return Problem(arms, targets, DT, config, moments if request.param == "moments" else None)


@pytest.mark.parametrize("name", ["arms", "body"])
def test_a_movement_of_the_model_itself_is_recovered(name, request, targets_of):
    model = request.getfixturevalue(name)
    truth = smooth_movement(model, 40)
    targets = targets_of(model, truth)
    solution = solve(model, targets, DT, smoothing(1e-11, posture=1e-7, tolerance=1e-6))
    assert solution.converged
    found = Kinematics(model)(torch.from_numpy(solution.qpos), jacobian=False).position.numpy()
    distance = np.linalg.norm(found - targets.positions, axis=-1)
    assert distance.mean() < 5e-4
    assert distance.max() < 2e-3


@pytest.mark.parametrize("name", ["arms", "body"])
def test_couplings_and_limits_hold_whatever_is_asked_for(name, request, targets_of):
    model, random = request.getfixturevalue(name), np.random.default_rng(1)
    frames = 8
    positions = random.normal(scale=2.0, size=(frames, len(model.sites), 3))  # nobody can reach that
    turned = targets_of(model, smooth_movement(model, frames)).rotations
    qpos = solve(model, Targets(positions, turned), DT, IKConfig(max_iterations=15)).qpos
    assert np.isfinite(qpos).all()
    assert model.couplings.residual(torch.from_numpy(qpos)).abs().max() < 1e-9
    assert limit_violation(model, qpos).max() <= 1e-3  # of coupled joints; the independent ones keep a margin
    lower, upper = independent_bounds(model, 0.01)
    scalar = np.isin(model.couplings.independent, model.joint_dofs)
    assert (qpos[:, model.joint_qpos] >= lower[scalar] - 1e-12).all()
    assert (qpos[:, model.joint_qpos] <= upper[scalar] + 1e-12).all()


@pytest.mark.parametrize("name", ["arms", "body"])
def test_the_cost_never_increases(name, request, targets_of):
    model = request.getfixturevalue(name)
    random = np.random.default_rng(2)
    targets = targets_of(model, smooth_movement(model, 10, seed=3))
    targets = replace(targets, positions=targets.positions + random.normal(scale=0.05, size=targets.positions.shape))
    problem = Problem(model, targets, DT, IKConfig())
    costs, steps = [problem.at(problem.tracking.initial_guess()).cost], []
    solution = solve(model, targets, DT, on_iteration=lambda step, cost: (steps.append(step), costs.append(cost)))
    assert len(costs) > 3
    assert (np.diff(costs) < 0).all()
    assert steps == list(range(1, solution.iterations + 1))
    assert problem.at(torch.from_numpy(solution.qpos)).cost == pytest.approx(costs[-1], rel=1e-12)


@pytest.mark.parametrize("some", [False, True])
@pytest.mark.parametrize("blocking", [False, True])
@pytest.mark.parametrize("damping", [1e-9, 1e-3, 10.0])
def test_the_banded_solution_is_that_of_the_dense_normal_equations(small, some, blocking, damping, targets_of):
    frames, n = small.frames, small.n
    qpos = small.tracking.initial_guess()
    equations = small.slope(small.at(qpos)).equations
    targets = targets_of(small.model, smooth_movement(small.model, 6))
    tracking = Problem(small.model, targets, DT, smoothing(0.0))
    hessian = tracking.slope(tracking.at(qpos)).equations.blocks[0]
    random, dampings = np.random.default_rng(0), damping * np.arange(1.0, 1.0 + frames)
    dense = np.zeros((frames, n, frames, n))
    for t, block in enumerate(hessian):
        dense[t, :, t] = block + dampings[t] * np.diag(np.maximum(np.diag(block), 1e-6))
    second = np.diff(np.eye(frames), n=2, axis=0)
    dense += np.einsum("st,ij->sitj", second.T @ second, np.diag(np.broadcast_to(np.asarray(small.smooth), n)))
    if small.moments is not None:
        central = (np.eye(frames)[2:] - np.eye(frames)[:-2]) / (2 * DT)
        dynamics = inertia(small.model, qpos.numpy()[1:-1])
        slopes = np.einsum("ts,tij->tisj", second / DT**2, dynamics.mass)
        slopes += np.einsum("ts,ij,tj->tisj", central, np.eye(n), dynamics.damping)
        dense += small.config.moment * np.einsum("tisj,tiuk->sjuk", slopes, slopes)

    step = random.normal(scale=1e-3, size=(frames, n))
    right = equations.gradient - np.einsum("sitj,tj->si", dense, step)
    np.testing.assert_allclose(equations.residual(step, dampings), right, atol=1e-9 * np.abs(right).max())

    kept = np.array([0, 2, 3, 5]) if some else np.arange(frames)
    held = random.uniform(size=(len(kept), n)) < (0.3 if blocking else 0.0)
    part, free = dense[np.ix_(kept, range(n), kept, range(n))].reshape(held.size, -1), ~held.ravel()
    expected = np.zeros(held.size)
    expected[free] = np.linalg.solve(part[np.ix_(free, free)], right[kept].ravel()[free])
    found = equations.at(kept).solve(right[kept], held, dampings[kept])
    np.testing.assert_allclose(found.ravel(), expected, rtol=1e-6, atol=1e-9 * np.abs(expected).max())


@pytest.mark.parametrize("small", ["tracking"], indirect=True)  # with moments it leaves out how inertia changes
def test_the_descent_direction_is_minus_half_the_gradient_of_the_cost(small):
    qpos = small.tracking.initial_guess()
    gradient = torch.from_numpy(small.slope(small.at(qpos)).gradient)
    random, step = np.random.default_rng(4), 1e-6
    for _ in range(5):
        along = torch.from_numpy(random.normal(size=(small.frames, small.n)))
        change = small.at(small.move(qpos, step * along)).cost - small.at(small.move(qpos, -step * along)).cost
        expected = -2.0 * float((gradient * along).sum())
        assert change / (2 * step) == pytest.approx(expected, rel=2e-3, abs=1e-6)


def test_smoothing_makes_joints_smoother_and_tracking_worse(arms, targets_of):
    truth = smooth_movement(arms, 30)
    targets = targets_of(arms, truth)
    noisy = targets.positions + np.random.default_rng(5).normal(scale=0.01, size=targets.positions.shape)
    roughness, error = [], []
    for weight in (1e-10, 1e-6):
        qpos = solve(arms, replace(targets, positions=noisy), DT, smoothing(weight)).qpos
        roughness.append(np.abs(np.diff(qpos, n=2, axis=0)).mean())
        sites = Kinematics(arms)(torch.from_numpy(qpos), jacobian=False).position.numpy()
        error.append(np.linalg.norm(sites - noisy, axis=-1).mean())
    assert roughness[1] < 0.5 * roughness[0]
    assert error[1] > error[0]


@pytest.mark.parametrize("name", ["arms", "body"])
def test_bounds_on_drivers_keep_the_coupled_joints_in_their_ranges(name, request):
    model = request.getfixturevalue(name)
    lower, upper = independent_bounds(model, 0.01)
    scalar = np.isin(model.couplings.independent, model.joint_dofs)
    assert np.isinf(lower[~scalar]).all()
    assert (lower[scalar] < upper[scalar]).all()
    random = np.random.default_rng(6)
    qpos = np.tile(model.mj_model.qpos0, (200, 1))
    qpos[:, model.joint_qpos] = random.uniform(lower[scalar], upper[scalar], size=(200, scalar.sum()))
    qpos[0, model.joint_qpos], qpos[1, model.joint_qpos] = lower[scalar], upper[scalar]
    qpos = model.couplings.project_qpos(torch.from_numpy(qpos)).numpy()
    assert limit_violation(model, qpos).max() <= 1e-3


def test_solving_leaves_the_number_of_threads_as_it_was(arms, targets_of):
    before = torch.get_num_threads()
    solve(arms, targets_of(arms, smooth_movement(arms, 3)), DT, IKConfig(max_iterations=1))
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("frames", [2, 3])
def test_the_shortest_clips_can_be_solved(arms, frames, targets_of):
    targets = targets_of(arms, smooth_movement(arms, frames))
    found = solve(arms, targets, DT, smoothing(1e-11, posture=1e-7))
    sites = Kinematics(arms)(torch.from_numpy(found.qpos), jacobian=False).position.numpy()
    assert np.linalg.norm(sites - targets.positions, axis=-1).max() < 5e-3


def test_ranges_end_before_a_tendon_flips_and_lose_little_else(body):
    joint = body.mj_model.joint("pro_sup_r")
    at = body.couplings.independent.tolist().index(joint.dofadr[0])
    full, narrow = (independent_bounds(body, 0.0, avoid_flips=avoid) for avoid in (False, True))
    assert narrow[1][at] < 1.18 < full[1][at]
    for bounds, flips in ((narrow, 0), (full, 1)):
        qpos = np.tile(body.mj_model.qpos0, (300, 1))
        qpos[:, joint.qposadr[0]] = np.linspace(bounds[0][at], bounds[1][at], 300)
        paths = muscle_paths(body, body.couplings.project_qpos(torch.from_numpy(qpos)).numpy())
        assert paths.breaks.sum() == flips
    limited = np.isfinite(full[0])
    width = [upper[limited] - lower[limited] for lower, upper in (full, narrow)]
    assert (width[1] > 0.79 * width[0]).all()
    assert (width[1] < width[0] - 1e-9).sum() == 3  # both forearms, and the trunk that bends forward
