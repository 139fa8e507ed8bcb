"""Two recorded walks, looped and followed for a minute through the library: the seam is not felt."""

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


@pytest.fixture(scope="module", params=["rajagopal2016_walk", "cmu_02_01"])
def loop(request, body, data_root) -> Reference:
    if request.param == "cmu_02_01":
        return cut_loop(body, retarget(read_amass(data_root / "motions/cmu_smpl/cmu_02_01_smplh.npz"), body))
    walk = load_experiment(request.param, data_root)
    first, second = walk.times("heel strike", "right")  # by the force plates: angles begin after the first one
    return cut_loop(body, walk.reference(body), (0.1, 0.1 + second - first))


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
