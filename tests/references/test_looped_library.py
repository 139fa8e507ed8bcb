"""A library goes on across the seams of its loops as one long reference would, and between frames."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from musclewarp.references import make_reference
from musclewarp.references.library import ReferenceLibrary
from musclewarp.references.loop import cut_loop

CYCLES = 4


@pytest.fixture(scope="module")
def case(body, gait, unroll):
    """A library of a clip and a loop that turns, the frames of a cycle, and the loop unrolled, all as references."""
    plain = replace(gait(body, seconds=1.0), name="plain")
    loop = cut_loop(body, gait(body, turn=0.4, drift=0.02))
    qpos, targets = unroll(loop, CYCLES)
    long = make_reference(body, qpos, 0.02, "long", target_positions=targets)
    return ReferenceLibrary([plain, loop], body), loop.num_frames - 1, ReferenceLibrary([long], body)


def assert_same(found, expected, atol=1e-5):
    for (name, value), (_, other) in zip(found.items(), expected.items(), strict=True):
        if name == "root_quat":
            np.testing.assert_allclose((value * other).sum(-1).abs(), 1.0, atol=1e-6, err_msg=name)
        else:
            np.testing.assert_allclose(value, other, rtol=1e-5, atol=atol, err_msg=name)


def test_goals_across_seams_are_those_of_the_unrolled_loop(case):
    library, n, long = case
    frame = torch.arange(1, CYCLES * n)  # of a long reference, the ends have no neighbours
    assert_same(library.goal(torch.ones_like(frame), frame), long.goal(torch.zeros_like(frame), frame), atol=3e-5)


def test_look_ahead_reaches_into_the_next_cycle_of_each_world(case):
    library, n, long = case
    clip, frame = (
        torch.tensor([[1], [1], [0]]),
        torch.tensor([[n - 1], [2 * n - 3], [48]]) + torch.tensor([0, 1, 5, 20]),
    )
    rows = library.rows(library.index(clip, frame), clip, frame)
    assert_same(library.goal_of(rows[:2]), long.goal(0 * frame[:2], frame[:2]), atol=3e-5)
    plain = library.goal(torch.zeros(4, dtype=torch.int64), torch.tensor([48, 49, 50, 50]))  # which holds its last
    for (name, value), (_, expected) in zip(library.goal_of(rows[2]).items(), plain.items(), strict=True):
        assert torch.equal(value, expected), name


def test_states_across_seams_are_those_of_the_unrolled_loop(case):
    library, n, long = case
    frame = torch.arange(1, CYCLES * n)
    qpos, qvel = library.state(torch.ones_like(frame), frame)
    np.testing.assert_allclose(
        qpos[:, [0, 1, 2, *range(7, qpos.shape[1])]].numpy(),
        np.delete(long.qpos[frame].numpy(), slice(3, 7), 1),
        atol=1e-9,
    )
    np.testing.assert_allclose((qpos[:, 3:7] * long.qpos[frame, 3:7]).sum(-1).abs(), 1.0, atol=1e-12)
    np.testing.assert_allclose(qvel, long.qvel[frame], atol=1e-8)


def test_a_loop_never_ends_and_a_clip_does(case):
    library, n, _ = case
    assert library.last.tolist() == [50, torch.iinfo(torch.int64).max]
    assert library.lengths.tolist() == [51, n + 1]


def test_an_hour_on_the_walk_still_goes_round_its_circle(case):
    library, n, _ = case
    frame = torch.arange(180_000, 180_000 + 10 * n, n)
    found = library.goal(torch.ones_like(frame), frame)
    start = library.goal(torch.ones(500, dtype=torch.int64), n * torch.arange(500)).root_pos[:, :2]
    centre = (start.amin(0) + start.amax(0)) / 2
    radius = (start - centre).norm(dim=1).mean()
    np.testing.assert_allclose((found.root_pos[:, :2] - centre).norm(dim=1), radius, rtol=0.1)
    np.testing.assert_allclose(found.root_quat.norm(dim=1), 1.0, atol=1e-6)


def test_samples_at_the_frames_are_the_frames_also_where_cycles_begin(case):
    library, n, _ = case
    for clip in (0, 1):
        frame = torch.arange(12 * n)
        if clip == 0:
            frame = frame.clamp(max=50)
        clips = torch.full_like(frame, clip)
        assert_same(library.sample(clips, frame.double() * library.dt), library.goal(clips, frame), atol=3e-5)


def test_samples_between_frames_lie_between_them_also_across_a_seam(case):
    library, n, _ = case
    frame = torch.tensor([3, n - 1, 2 * n - 1])
    clip = torch.ones_like(frame)
    before, after = library.goal(clip, frame), library.goal(clip, frame + 1)
    found = library.sample(clip, (frame + 0.25) * library.dt)
    for name in ("root_pos", "site_pos", "joint_pos", "site_vel", "recorded_pos"):
        expected = 0.75 * getattr(before, name) + 0.25 * getattr(after, name)
        np.testing.assert_allclose(getattr(found, name), expected, atol=1e-5, err_msg=name)
    mixed = 0.75 * before.root_quat + 0.25 * after.root_quat * (before.root_quat * after.root_quat).sum(-1, True).sign()
    np.testing.assert_allclose(
        (found.root_quat * mixed / mixed.norm(dim=-1, keepdim=True)).sum(-1).abs(), 1.0, atol=1e-6
    )


def test_arms_loop_in_place(arms, movement):
    loop = cut_loop(arms, make_reference(arms, movement(arms, 120, 0.02), 0.02, "wave"), (0.4, 1.8))
    library = ReferenceLibrary([loop], arms)
    frame = torch.tensor([69, 70, 71, 140])
    expected = library.goal(torch.zeros(4, dtype=torch.int64), torch.tensor([69, 0, 1, 0]))
    for (name, value), (_, other) in zip(library.goal(0 * frame, frame).items(), expected.items(), strict=True):
        assert torch.equal(value, other), name
    assert_same(library.sample(0 * frame, frame * 0.02), expected)
