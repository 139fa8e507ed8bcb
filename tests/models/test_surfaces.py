"""Lowest points of geoms, against the distances that MuJoCo's collision detection finds."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from musclewarp.models.surfaces import floor_geoms, foot_geoms, geom_heights


def lying(body, seed: int) -> np.ndarray:
    """A posture `(nq,)` turned at random, with its lowest point 2 mm below the floor."""
    random = np.random.default_rng(seed)
    qpos = body.mj_model.qpos0.copy()
    qpos[3:7] = random.normal(size=4)
    qpos[3:7] /= np.linalg.norm(qpos[3:7])
    qpos[2] -= geom_heights(body, qpos[None], floor_geoms(body)).min() + 2e-3
    return qpos


@pytest.mark.parametrize("seed", range(4))
def test_whatever_lies_on_the_floor_is_as_deep_in_it_as_mujoco_finds(body, seed):
    m, data = body.mj_model, mujoco.MjData(body.mj_model)
    data.qpos[:] = qpos = lying(body, seed)
    mujoco.mj_fwdPosition(m, data)
    floor = m.geom("floor").id
    touching = {int(max(c.geom)): c.dist for c in data.contact if floor in c.geom}
    assert touching
    geoms = floor_geoms(body)
    heights = dict(zip(geoms, geom_heights(body, qpos[None], geoms)[0], strict=True))
    deepest = min(touching, key=lambda geom: touching[geom])
    assert touching[deepest] == pytest.approx(-2e-3, abs=1e-5)
    assert heights[deepest] == pytest.approx(-2e-3, abs=1e-5)
    assert {geom for geom, height in heights.items() if height < -1e-4} <= set(touching)


def test_each_foot_has_its_own_geoms_and_both_can_touch_the_floor(body):
    right, left = (foot_geoms(body, foot) for foot in ("right", "left"))
    assert not set(right) & set(left)
    assert sorted(right + left) == sorted(foot_geoms(body))
    assert set(foot_geoms(body)) < set(floor_geoms(body))
    assert {body.mj_model.body(body.mj_model.geom_bodyid[geom]).name for geom in left} == {"calcn_l", "toes_l"}


def test_heights_of_many_postures_are_those_of_each(body):
    qpos, geoms = np.stack([lying(body, seed) for seed in range(3)]), floor_geoms(body)
    together = geom_heights(body, qpos, geoms)
    assert together.shape == (3, len(geoms))
    for posture, heights in zip(qpos, together, strict=True):
        np.testing.assert_allclose(geom_heights(body, posture[None], geoms)[0], heights, atol=1e-12)
