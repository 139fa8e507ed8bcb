"""Forces of the surroundings in inverse dynamics."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from musclewarp.dynamics import ExternalForces, Trajectory, external_forces, inverse_dynamics
from musclewarp.errors import FileError, ModelError


def still(model, qpos, external=None):
    rest = np.zeros((len(qpos), model.mj_model.nv))
    return Trajectory(qpos, rest, rest, external)


def test_a_weight_at_the_end_of_a_pendulum_costs_its_lever(links):
    qpos = np.array([[0.3, 0.0], [1.2, 0.0]])
    forces = ExternalForces(
        ("lower",), np.tile([0.0, 0.0, -10.0], (2, 1, 1)), np.tile([0.0, 0.0, -0.5], (2, 1, 1)), np.zeros((2, 1, 3))
    )
    free, loaded = (inverse_dynamics(links, still(links, qpos, external)).net for external in (None, forces))
    lever = np.sin(qpos[:, 0])
    np.testing.assert_allclose(loaded - free, np.stack((10 * 1.5 * lever, 10 * 0.5 * lever), axis=1), atol=1e-12)


def test_a_free_moment_goes_to_every_joint_above(links):
    qpos = np.array([[0.3, -0.4]])
    forces = ExternalForces(("lower",), np.zeros((1, 1, 3)), np.zeros((1, 1, 3)), np.array([[[0.0, 4.0, 0.0]]]))
    free, loaded = (inverse_dynamics(links, still(links, qpos, external)).net for external in (None, forces))
    np.testing.assert_allclose(loaded - free, [[-4.0, -4.0]], atol=1e-12)


def test_points_of_the_world_stay_points_of_the_foot(body):
    """Standing on measured forces: the root's residual vanishes, and turning the person turns nothing."""
    m = body.mj_model
    qpos = np.tile(m.qpos0, (2, 1))
    data = mujoco.MjData(m)
    mujoco.mj_forward(m, data)
    weight, centre = m.body_mass.sum() * 9.81, data.subtree_com[1]
    force = np.zeros((2, 2, 3))
    force[..., 2] = weight / 2
    point = np.tile([centre[0], centre[1], 0.0], (2, 2, 1))
    forces = external_forces(body, qpos, ("calcn_r", "calcn_l"), force, point, np.zeros_like(force))
    turned = qpos.copy()
    turned[1, 3:7] = _turned_about_z(qpos[1, 3:7], 1.1)
    found = inverse_dynamics(body, still(body, turned, forces))
    np.testing.assert_allclose(found.net[:, :6], 0.0, atol=1e-6)
    np.testing.assert_allclose(found.net[0], found.net[1], atol=1e-6)


def _turned_about_z(quat, angle):
    turned = np.empty(4)
    mujoco.mju_mulQuat(turned, np.array([np.cos(angle / 2), 0, 0, np.sin(angle / 2)]), quat)
    return turned


def test_scaling_leaves_the_points():
    forces = ExternalForces(("a",), np.ones((2, 1, 3)), np.full((2, 1, 3), 3.0), np.full((2, 1, 3), 5.0)).scaled(2.0)
    assert (forces.force == 2.0).all()
    assert (forces.point == 3.0).all()
    assert (forces.torque == 10.0).all()


def test_what_does_not_fit_is_named(links):
    zeros = np.zeros((3, 1, 3))
    with pytest.raises(FileError, match="point has shape"):
        ExternalForces(("a",), zeros, np.zeros((3, 3)), zeros)
    broken = zeros.copy()
    broken[2, 0, 1] = np.nan
    with pytest.raises(FileError, match=r"torque on 'heel' is not finite in frame 2"):
        ExternalForces(("heel",), zeros, zeros, broken)
    with pytest.raises(ModelError, match="no body 'heel'"):
        external_forces(links, np.zeros((3, 2)), ("heel",), zeros, zeros, zeros)
    with pytest.raises(FileError, match="3 frames, the movement 1"):
        still(links, np.zeros((1, 2)), ExternalForces(("lower",), zeros, zeros, zeros))
