"""A movement of the model itself comes back from its own sites, and its mirror image from theirs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from scipy.interpolate import make_interp_spline

from musclewarp.models import MuscleModel
from musclewarp.models.mirror import Mirror
from musclewarp.motion import rotations
from musclewarp.retarget.bounds import independent_bounds, rest_posture
from musclewarp.retarget.ik import IKConfig, solve
from musclewarp.retarget.ik_problem import Problem
from musclewarp.retarget.targets import Targets

DT, FRAMES, KNOTS = 0.02, 30, 4
SEEN = 0.01
"""m/rad: a joint whose turn moves the (weighted) sites less, whatever the others do to hide it, cannot be known."""
few = settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
# hardly any pull to smoothness and rest: only what is not seen is left to them
FREE = IKConfig(
    posture=1e-9, acceleration=1e-12, shoulder_acceleration=1e-12, whole_body_acceleration=1e-12, feasibility_rounds=0,
    tolerance=1e-8, max_iterations=200,
)  # fmt: skip


@pytest.fixture(params=["arms", "body", "ms_human"])
def model(request) -> MuscleModel:
    return request.getfixturevalue(request.param)


def random_movement(model: MuscleModel, seed: int) -> np.ndarray:
    """Postures `(T, nq)`: splines through random angles in a third of each range around rest; a root that wanders."""
    random, (low, high) = np.random.default_rng(seed), independent_bounds(model, 0.01)
    scalar = np.isin(model.couplings.independent, model.joint_dofs)
    low, high = low[scalar], high[scalar]
    rest = rest_posture(model)[model.joint_qpos]

    def spline(middle, half) -> np.ndarray:
        knots = middle + random.uniform(-half, half, (KNOTS, len(middle)))
        return make_interp_spline(np.linspace(0, FRAMES - 1, KNOTS), knots, k=3)(np.arange(FRAMES))

    qpos = np.tile(model.mj_model.qpos0, (FRAMES, 1))
    qpos[:, model.joint_qpos] = np.clip(spline(rest, (high - low) / 6), low, high)
    if model.has_free_root:
        qpos[:, :3] += spline(np.zeros(3), 0.3)
        qpos[:, 3:7] = rotations.multiply(rotations.from_rotvec(spline(np.zeros(3), 0.5)), qpos[:, 3:7])
    return model.couplings.project_qpos(torch.from_numpy(qpos)).numpy()


def observable(model: MuscleModel, qpos: np.ndarray, targets: Targets) -> np.ndarray:
    """Which joints `(T, J)` the sites tell, by the Jacobian W J of the weighted sites.

    The least |W J dq| over all dq that turn joint i by 1 rad is 1 / sqrt of the i-th diagonal of the inverse of
    (W J)'(W J).
    """
    problem = Problem(model, targets, DT, FREE)
    pieces = [problem.tracking.slopes(piece).hessian for piece in problem.at(torch.from_numpy(qpos)).pieces]
    normal = torch.cat(pieces).numpy()  # with 1e-9 on the diagonal, of `posture`
    least = 1 / np.sqrt(np.einsum("tii->ti", np.linalg.inv(normal)))
    return least[:, np.isin(model.couplings.independent, model.joint_dofs)] > SEEN


@few
@given(seed=st.integers(0, 2**32))
def test_every_angle_that_can_be_seen_comes_back_to_a_degree(model, seed, targets_of):
    truth = random_movement(model, seed)
    targets = targets_of(model, truth)
    seen = observable(model, truth, targets)
    assert seen.mean() > 0.5
    found = solve(model, targets, DT, FREE).qpos
    off = np.degrees(np.abs(found - truth)[:, model.joint_qpos])
    frame, joint = np.unravel_index(np.where(seen, off, 0.0).argmax(), off.shape)
    name = model.dof_names[model.joint_dofs[joint]]
    assert off[frame, joint] < 1.0, f"{name} in frame {frame} is {off[frame, joint]:.2f} degrees off"


def mirrored(model: MuscleModel, qpos: np.ndarray) -> np.ndarray:
    """The mirror image of postures `(T, nq)`."""
    mirror = Mirror.from_model(model.mj_model)
    assert mirror is not None
    return model.couplings.project_qpos(mirror.qpos(model.mj_model, torch.from_numpy(qpos))).numpy()


@few
@given(seed=st.integers(0, 2**32))
@example(seed=5673)
def test_mirrored_sites_give_the_mirrored_movement(model, seed, targets_of):
    truth, config = random_movement(model, seed), IKConfig(tolerance=1e-8, max_iterations=200)
    targets, image = (targets_of(model, qpos) for qpos in (truth, mirrored(model, truth)))
    one, other = (solve(model, sites, DT, config).qpos for sites in (targets, image))
    off = np.abs(mirrored(model, one) - other)
    # what no site tells, as how far a neck is turned below a head that is a point, may have two equal minima
    seen = observable(model, mirrored(model, truth), image)
    assert np.degrees(np.where(seen, off[:, model.joint_qpos], 0.0)).max() < 0.5
    if model.has_free_root:
        assert off[:, :3].max() < 1e-3
