"""Springs on points, seen by the independent dofs: against the Jacobians of all points."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from musclewarp.models import MuscleModel, load_model
from musclewarp.models.composite import Composite, point_springs
from musclewarp.models.kinematics import Kinematics, cross

POSTURES = 3


@pytest.fixture(scope="module", params=["bimanual", "myofullbody"])
def model(request) -> MuscleModel:
    return load_model(request.param)


@pytest.fixture(params=["sites", "all bodies"])
def kinematics(request, model: MuscleModel) -> Kinematics:
    """Of the sites; or of points everywhere, so that one dof moves others of them by each joint that it drives."""
    if request.param == "sites":
        return Kinematics(model)
    bodies = np.arange(model.mj_model.nbody)
    return Kinematics(model, bodies, np.random.default_rng(0).normal(scale=0.1, size=(len(bodies), 3)))


@pytest.fixture
def qpos(model: MuscleModel) -> torch.Tensor:
    noise = np.random.default_rng(1).normal(scale=0.3, size=(POSTURES, model.mj_model.nq))
    return model.couplings.project_qpos(torch.from_numpy(model.mj_model.qpos0 + noise))


def independent_jacobian(model: MuscleModel, kinematics: Kinematics, qpos: torch.Tensor) -> torch.Tensor:
    """Of all points `(B, S, 6, n)`, linear over angular."""
    return model.couplings.reduce_columns(qpos[:, None], kinematics(qpos).jacobian)


def test_stiffness_and_forces_are_those_of_the_jacobians(model, kinematics, qpos):
    random, composite = np.random.default_rng(2), Composite(model.couplings, kinematics)
    links = kinematics.walk(qpos)
    position, _ = kinematics.points(links)
    weight, force, torque = (torch.from_numpy(random.uniform(size=tuple(position.shape))) for _ in range(3))
    wrenches = torch.cat((cross(position, force) + torque, force), dim=1)
    matrix, forces = composite.pull(composite.screws(qpos, links), point_springs(position, weight), wrenches)

    jacobian = independent_jacobian(model, kinematics, qpos)
    linear, angular = jacobian[:, :, :3], jacobian[:, :, 3:]
    expected = torch.einsum("bsai,sab,bsaj->bij", linear, weight, linear)
    np.testing.assert_allclose(matrix, expected, atol=1e-10)
    expected = torch.einsum("bsai,sab->bi", linear, force) + torch.einsum("bsai,sab->bi", angular, torque)
    np.testing.assert_allclose(forces, expected, atol=1e-10)


def test_velocities_are_those_of_the_jacobians(model, kinematics, qpos):
    composite, links = Composite(model.couplings, kinematics), kinematics.walk(qpos)
    screws, (position, _) = composite.screws(qpos, links), kinematics.points(links)
    qvel = torch.from_numpy(np.random.default_rng(3).normal(size=(POSTURES, len(model.couplings.independent))))
    turning, moving = composite.velocities(screws, qvel).split(3, dim=1)
    expected = (independent_jacobian(model, kinematics, qpos) @ qvel[:, None, :, None]).squeeze(-1).permute(1, 2, 0)
    np.testing.assert_allclose(moving + cross(turning, position), expected[:, :3], atol=1e-10)
    np.testing.assert_allclose(turning, expected[:, 3:], atol=1e-10)
    points = torch.arange(len(position))
    rates = composite.of_dofs(screws[:, 2, :1].expand(-1, len(points)), points)
    np.testing.assert_allclose(rates @ qvel[0], turning[:, 2, 0], atol=1e-10)
