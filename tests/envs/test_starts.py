"""Where episodes start: the formula, what counts as a failure, and that nothing is starved."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from musclewarp.envs import SamplingConfig
from musclewarp.envs.randomness import uniform
from musclewarp.envs.starts import Starts
from musclewarp.references import make_reference
from musclewarp.references.library import ReferenceLibrary
from musclewarp.references.loop import cut_loop

CONFIG = SamplingConfig(floor=0.2, segment_seconds=0.2, rate=0.1)
FRAMES = np.array([10, 9, 10, 10, 10, 9])  # at which episodes can start, of the segments of clips of 20 and 40 frames


def alone(x: torch.Tensor) -> torch.Tensor:
    """The sum over one process."""
    return x


def numbers(draws: int) -> tuple[torch.Tensor, torch.Tensor]:
    world, draw = torch.arange(draws), torch.zeros(1, dtype=torch.int64)
    return uniform(5, world, draw, 0), uniform(5, world, draw, 1)


def visit(starts: Starts, clip: int, frames: range, failed: bool = False) -> None:
    """An episode of one world that starts at the first of `frames` and ends, failing or not, at the last."""
    for steps, frame in enumerate(frames[1:], 1):
        at = [torch.tensor([value]) for value in (clip, frame, steps)]
        starts.count(*at, torch.tensor([failed and frame == frames[-1]]))


@pytest.fixture
def starts(arms_library):
    return Starts(CONFIG, arms_library)


def test_by_default_clips_are_drawn_by_length_and_their_frames_evenly_bit_by_bit(make_env, arms_library):
    env = make_env(worlds=64, seed=3)
    env.reset()
    draw = torch.zeros(64, dtype=torch.int64)
    first, second = (uniform(3, torch.arange(64), draw, stream) for stream in (0, 1))
    lengths = arms_library.lengths
    clip = torch.searchsorted(lengths.double().cumsum(0) / lengths.sum(), first, right=True)
    assert torch.equal(env.clip, clip)
    assert torch.equal(env.frame, (second * (lengths[clip] - 1)).long())
    assert not env.starts.state()
    assert not env.practise(alone)


def test_all_frames_are_alike_until_something_is_known(starts):
    np.testing.assert_allclose(starts.probabilities, FRAMES / FRAMES.sum(), rtol=1e-12)
    clips, frames = starts.draw(*numbers(5800))
    counts = torch.bincount(20 * clips + frames)
    counts = torch.cat((counts[:19], counts[20:]))
    assert len(counts) == 19 + 39  # a step is left to take
    assert abs(counts - 100).max() < 5 * 100**0.5


def test_starts_are_as_frequent_as_the_formula_says(starts):
    rates = np.array([0.5, 0.0, 1.0, 0.1, 0.2, 0.05])
    starts.load(starts.state() | {"starts.rates": torch.from_numpy(rates)})
    share = FRAMES / FRAMES.sum()
    expected = share * (0.2 + 0.8 * rates / (share @ rates))
    np.testing.assert_allclose(starts.probabilities, expected, rtol=1e-12)
    assert abs(expected.sum() - 1) < 1e-12
    segments = starts.segment(*starts.draw(*numbers(20000))).bincount(minlength=6) / 20000
    np.testing.assert_allclose(segments, expected, atol=5 * (0.25 / 20000) ** 0.5)


def test_a_segment_that_always_fails_is_drawn_more_often_and_none_falls_below_the_floor(starts):
    for _ in range(50):
        visit(starts, 0, range(20))
        visit(starts, 1, range(40))
        visit(starts, 1, range(21, 26), failed=True)
        starts.update(alone)
    share = FRAMES / FRAMES.sum()
    probabilities = starts.probabilities.numpy()
    assert probabilities.argmax() == 4
    assert probabilities[4] > 0.7
    assert (probabilities >= 0.2 * share - 1e-12).all()
    drawn = starts.segment(*starts.draw(*numbers(20000))).bincount(minlength=6)
    assert drawn.argmax() == 4
    assert drawn.min() > 0.8 * 0.2 * share.min() * 20000


def test_a_failure_counts_where_it_happened_and_a_segments_time_before(starts):
    visit(starts, 1, range(3, 24), failed=True)  # at frame 23, through the segments 2, 3 and 4
    starts.update(alone)
    np.testing.assert_allclose(starts.rates, [1, 1, 0.9, 1, 1, 1])
    visit(starts, 1, range(12, 24), failed=True)  # began only in segment 3
    starts.update(alone)
    np.testing.assert_allclose(starts.rates, [1, 1, 0.9, 1, 1, 1])
    visit(starts, 1, range(12, 24))
    starts.update(alone)
    np.testing.assert_allclose(starts.rates, [1, 1, 0.9, 0.9, 0.9, 1])


def test_the_rate_is_a_moving_average_over_visits_however_they_are_gathered(arms_library):
    apart, together = Starts(CONFIG, arms_library), Starts(CONFIG, arms_library)
    for _ in range(12):
        visit(apart, 0, range(8))
        apart.update(alone)
        visit(together, 0, range(8))
    together.update(alone)
    np.testing.assert_allclose(apart.rates[0], 0.9**12, rtol=1e-12)
    np.testing.assert_allclose(together.rates, apart.rates, rtol=1e-12)
    together.update(alone)  # nothing is counted twice
    np.testing.assert_allclose(together.rates, apart.rates, rtol=1e-12)


def test_processes_count_together_and_choose_alike(arms_library):
    whole, *ranks = (Starts(CONFIG, arms_library) for _ in range(3))
    visit(ranks[0], 0, range(2, 9))
    visit(ranks[1], 1, range(30), failed=True)
    visit(whole, 0, range(2, 9))
    visit(whole, 1, range(30), failed=True)
    sums = [ranks[0]._visits + ranks[1]._visits, ranks[0]._failures + ranks[1]._failures]
    for rank in ranks:
        summed = iter(sums)
        rank.update(lambda _, summed=summed: next(summed))
    whole.update(alone)
    assert torch.equal(ranks[0].rates, whole.rates)
    assert torch.equal(ranks[1].rates, whole.rates)
    assert whole.rates.unique().numel() > 1


def test_a_loop_comes_round_to_its_segments(arms):
    qpos = np.tile(arms.mj_model.qpos0, (60, 1))
    qpos[:, arms.joint_qpos] += 0.1 * np.sin(2 * np.pi * np.arange(60) / 40)[:, None]
    loop = cut_loop(arms, make_reference(arms, qpos, 0.02, "swing"), (0.2, 1.0))
    starts = Starts(CONFIG, ReferenceLibrary([loop], arms))
    clip = torch.zeros(4, dtype=torch.int64)
    assert starts.segment(clip, torch.tensor([5, 45, 85, 399])).tolist() == [0, 0, 0, 3]
    visit(starts, 0, range(35, 46), failed=True)
    starts.update(alone)
    assert starts.rates.tolist() == [1, 1, 1, 1]
    visit(starts, 0, range(35, 56))
    starts.update(alone)
    np.testing.assert_allclose(starts.rates, [0.9, 0.9, 1, 0.9])


def test_an_environment_practises_what_its_episodes_fail_at(make_env, act):
    env = make_env(worlds=32, sampling=CONFIG, terminations={"site_deviation": 0.05})
    current, failures = env.reset(), 0
    for step in range(15):
        current["action"] = act(env, step)["action"]
        row, current = env.step_and_maybe_reset(current)
        failures += int(row["next", "terminated"].sum())
    assert failures
    assert int(env.starts.state()["starts.failures"].sum()) >= failures
    metrics = env.practise(alone)
    assert 0 < metrics["segment_failure_mean"] < metrics["segment_failure_max"] <= 1
    assert not env.starts.state()["starts.visits"].any()
    assert (env.starts.probabilities.numpy() >= 0.2 * FRAMES / FRAMES.sum() - 1e-12).all()
