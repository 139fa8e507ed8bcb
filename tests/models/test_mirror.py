"""The mirror: twice is never, bodies and their velocities are seen where a mirror shows them."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
import torch

from musclewarp.models.excursion import sample_postures
from musclewarp.models.mirror import Mirror


@pytest.fixture(params=["arms", "body"])
def sided(request):
    model = request.getfixturevalue(request.param)
    return model, Mirror.from_model(model.mj_model)


@pytest.fixture
def moving(sided):
    """Postures and velocities of a body anywhere, turned anyhow."""
    model = sided[0]
    generator = np.random.default_rng(3)
    qpos = np.stack(list(sample_postures(model.mj_model, model.couplings, 5, seed=7)))
    qvel = generator.normal(size=(5, model.mj_model.nv))
    if model.has_free_root:
        qpos[:, :3] = generator.normal(size=(5, 3))
        turns = generator.normal(size=(5, 4))
        qpos[:, 3:7] = turns / np.linalg.norm(turns, axis=1, keepdims=True)
    return torch.from_numpy(qpos), torch.from_numpy(qvel)


def seen(model, qpos, qvel):
    """Places `(T, nbody, 3)` and velocities of the bodies' origins."""
    m = model.mj_model
    data, places, speeds = mujoco.MjData(m), [], []
    for posture, velocity in zip(qpos.numpy(), qvel.numpy(), strict=True):
        data.qpos[:], data.qvel[:] = posture, velocity
        mujoco.mj_kinematics(m, data)
        mujoco.mj_comPos(m, data)
        mujoco.mj_comVel(m, data)
        speed = np.zeros((m.nbody, 6))
        for i in range(m.nbody):
            mujoco.mj_objectVelocity(m, data, mujoco.mjtObj.mjOBJ_XBODY, i, speed[i], 0)
        places.append(data.xpos.copy())
        speeds.append(speed[:, 3:])
    return np.stack(places), np.stack(speeds)


def test_mirroring_twice_is_the_same(sided, moving):
    (model, mirror), (qpos, qvel) = sided, moving
    m = model.mj_model
    image = mirror.qpos(m, qpos)
    torch.testing.assert_close(mirror.qpos(m, image), qpos, atol=1e-12, rtol=0)
    torch.testing.assert_close(mirror.qvel(m, image, mirror.qvel(m, qpos, qvel)), qvel, atol=1e-12, rtol=0)


def test_bodies_are_where_the_mirror_shows_them_and_move_as_it_shows(sided, moving):
    (model, mirror), (qpos, qvel) = sided, moving
    m = model.mj_model
    reflected = np.diag(1 - 2 * mirror.normal**2)
    shift = 0.0 if model.has_free_root else 2 * mirror.offset * mirror.normal
    places, speeds = seen(model, qpos, qvel)
    others, others_speeds = seen(model, mirror.qpos(m, qpos), mirror.qvel(m, qpos, qvel))
    known = mirror.body > 0  # the world is nobody's
    expected = places @ reflected + shift
    # the published models are symmetric to a millimetre or two
    np.testing.assert_allclose(others[:, mirror.body[known]], expected[:, known], atol=3e-3)
    np.testing.assert_allclose(others_speeds[:, mirror.body[known]], (speeds @ reflected)[:, known], atol=0.03)


def test_the_posture_at_rest_is_its_own_image(sided):
    model, mirror = sided
    rest = torch.from_numpy(model.mj_model.qpos0)
    image = mirror.qpos(model.mj_model, rest)
    if model.has_free_root:  # beside the mirror, as far as the sagittal plane is from it
        across = torch.from_numpy(mirror.normal)
        torch.testing.assert_close(image[:3], rest[:3] - 2 * mirror.offset * across, atol=1e-9, rtol=0)
        image, rest = image[3:], rest[3:]
    torch.testing.assert_close(image, rest, atol=1e-6, rtol=0)
