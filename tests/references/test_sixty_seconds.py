"""Three recorded walks, looped and followed for a minute through the library: the seam is not felt."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
import torch

from musclewarp.biomechanics.experiments import load_experiment
from musclewarp.motion.amass import read_amass
from musclewarp.references import Reference
from musclewarp.references.library import ReferenceLibrary
from musclewarp.references.loop import cut_loop
from musclewarp.references.quality import lowest_foot_heights
from musclewarp.retarget import retarget

SECONDS, NEAR = 60, 2  # s; frames before and after the seam that count as the seam
FLAT, SLOW = 0.004, 0.4  # m and m/s, under which a foot stands
TOUCH, FLOATS, SLIDES = 5e-4, 6e-3, 0.03  # m, m, m/s


@pytest.fixture(scope="module", params=["rajagopal2016_walk", "cmu_02_01", "cmu_02_02"])
def walk(request, body, data_root) -> tuple[Reference, Reference]:
    """What was recorded, and its loop."""
    if request.param.startswith("cmu"):
        recorded = retarget(read_amass(data_root / f"motions/cmu_smpl/{request.param}_smplh.npz"), body)
        return recorded, cut_loop(body, recorded)
    experiment = load_experiment(request.param, data_root)
    first, second = experiment.times("heel strike", "right")  # by the force plates: angles begin after the first one
    recorded = experiment.reference(body)
    return recorded, cut_loop(body, recorded, (0.1, 0.1 + second - first))


@pytest.fixture(scope="module")
def loop(walk) -> Reference:
    return walk[1]


# 02_02 is cut where its heel strikes hardest of all: see below
@pytest.mark.parametrize("walk", ["rajagopal2016_walk", "cmu_02_01"], indirect=True)
def test_velocity_and_acceleration_across_the_seam_are_no_larger_than_elsewhere(body, loop):
    library, m, dt = ReferenceLibrary([loop], body), body.mj_model, loop.dt
    frames = torch.arange(round(SECONDS / dt) + 1)
    qpos, qvel = (part.numpy() for part in library.state(torch.zeros_like(frames), frames))
    between = np.zeros((len(qpos) - 1, m.nv))
    for row, before, after in zip(between, qpos[:-1], qpos[1:], strict=True):
        mujoco.mj_differentiatePos(m, row, dt, before, after)
    period = loop.num_frames - 1
    at_seam = np.abs((np.arange(len(qpos)) + period // 2) % period - period // 2) <= NEAR
    assert at_seam.sum() > 40 * (2 * NEAR + 1)
    joints = body.joint_dofs
    acceleration = np.zeros_like(qvel)
    acceleration[1:-1] = np.diff(between, axis=0) / dt
    for values, most in ((qvel, 1.2), (acceleration, 1.5)):
        size = np.linalg.norm(values[:, joints], axis=1)[1:-1]
        near = at_seam[1:-1]
        # of all joints together no more than the largest elsewhere; of each, no more than it has at times elsewhere
        assert size[near].max() <= size[~near].max()
        each = np.abs(values[1:-1, joints])
        usual = np.percentile(each[~near], 99, axis=0) + 0.02 * np.percentile(each[~near], 99)
        worst = each[near].max(axis=0) / usual
        assert worst.max() < most, (body.dof_names[joints[worst.argmax()]], worst.max())


def test_a_minute_leads_as_far_as_the_walker_walks_with_his_feet_on_the_floor(body, loop):
    library = ReferenceLibrary([loop], body)
    frames = torch.arange(round(SECONDS / loop.dt) + 1)
    qpos, _ = library.state(torch.zeros_like(frames), frames)
    assert body.couplings.residual(qpos).abs().max() < 1e-12
    way = float(qpos[:, :2].diff(dim=0).norm(dim=1).sum())
    assert way / SECONDS == pytest.approx(loop.quality["cycle_distance_m"] / loop.duration, rel=0.05)
    heights = lowest_foot_heights(body, qpos[-200:].numpy())
    assert heights.min() > -0.03
    assert np.median(np.abs(heights)) < 0.01


def test_feet_are_no_deeper_float_no_more_and_slide_no_more_than_those_of_the_recording(body, walk):
    recorded, loop = walk
    assert lowest_foot_heights(body, loop.qpos).min() > lowest_foot_heights(body, recorded.qpos).min() - 1e-9
    first, last = loop.source["loop_frames"]
    period = slice(first, last + 1)
    for foot in body.feet:
        before, after = (lowest_foot_heights(body, part.qpos, foot) for part in walk)
        stands = before[period] < FLAT
        assert after[stands].max() < before[period][stands].max() + FLOATS
        assert after[stands].mean() < before[period][stands].mean() + TOUCH
        toes = body.sites.index(f"{foot}_toes")
        speed, slid = (
            np.linalg.norm(np.gradient(part.site_positions[:, toes, :2], part.dt, axis=0), axis=1) for part in walk
        )
        stands &= speed[period] < SLOW
        assert slid[stands].mean() < speed[period][stands].mean() + SLIDES


def test_joints_near_the_seam_move_and_accelerate_no_more_than_they_did_in_the_recording(walk):
    quality = walk[1].quality
    assert quality["seam_speed_ratio"] <= 1.0
    assert quality["seam_acceleration_ratio"] <= 1.0


def test_away_from_the_seam_the_loop_is_what_was_recorded(body, walk):
    recorded, loop = walk
    first, last = loop.source["loop_frames"]
    away = slice(round(0.5 / loop.dt), -round(0.5 / loop.dt))
    np.testing.assert_allclose(loop.qpos[away, 2:], recorded.qpos[first : last + 1][away, 2:], atol=1e-9)
