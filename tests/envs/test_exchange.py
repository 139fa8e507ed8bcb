"""Clips come and go: each is practised as often as if all were there, and none is taken from a world on it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from musclewarp.envs import SamplingConfig
from musclewarp.envs.exchange import Exchange
from musclewarp.envs.starts import Starts
from musclewarp.references import make_reference
from musclewarp.references.library import ReferenceLibrary

FRAMES = (5, 12, 3, 8, 20, 4, 6, 9, 15, 3)
UNIFORM, FAVOURING = SamplingConfig(), SamplingConfig(floor=0.3, segment_seconds=0.1)


def alone(x: torch.Tensor) -> torch.Tensor:
    """The sum over one process."""
    return x


@pytest.fixture(scope="module")
def clips(arms, arms_references):
    qpos = arms_references[1].qpos
    return [make_reference(arms, qpos[: frames + 1], 0.02, f"clip{i}") for i, frames in enumerate(FRAMES)]


@pytest.fixture(scope="module")
def stream(arms, clips):
    """`stream(frames)`: a library that holds so many frames of the 95; 0: without a bound."""
    whole = ReferenceLibrary(clips, arms)
    each = whole.nbytes / int(whole.lengths.sum()) / 1e6
    return lambda frames: ReferenceLibrary(clips, arms, megabytes=frames and (frames + 0.5) * each)


def practise(exchange: Exchange, starts: Starts, library: ReferenceLibrary, updates: int, worlds: int = 32):
    """Visits of each frame by episodes of random lengths, longer in the longer clips: `(clips, frames)`.

    After every update, all clips that worlds follow are there.
    """
    generator = torch.Generator().manual_seed(7)
    visits, fetched = torch.zeros(len(FRAMES), 30, dtype=torch.int64), 0
    clip, left = torch.zeros(worlds, dtype=torch.int64), torch.zeros(worlds, dtype=torch.int64)
    for _ in range(updates):
        for _ in range(4):
            first, second = (torch.rand(worlds, generator=generator, dtype=torch.float64) for _ in range(2))
            drawn, frame = starts.draw(first, second)
            ended = left == 0
            exchange.count(drawn, ended)
            visits.index_put_(
                (drawn[ended], frame[ended]), torch.ones(int(ended.sum()), dtype=torch.int64), accumulate=True
            )
            clip = torch.where(ended, drawn, clip)
            lasts = (torch.rand(worlds, generator=generator) * library.lengths[drawn]).long()
            left = torch.where(ended, lasts, left - 1)
        fetched += int(exchange.update(clip, alone)["clips_fetched"])
        assert library.held[clip].all()
        assert int(library.lengths[library.held].sum()) <= library.capacity
    return visits, fetched


@pytest.mark.parametrize("config", [UNIFORM, FAVOURING], ids=["uniform", "favouring"])
def test_every_frame_is_visited_as_often_as_if_all_clips_were_there(config, stream):
    library = stream(60)
    starts = Starts(config, library)
    if config.on:  # known failures differ, in the middle and between clips
        rates = torch.rand(len(starts.rates), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        starts.load(starts.state() | {"starts.rates": rates})
    exchange = Exchange(library, starts, seed=0)
    assert not library.held.all()
    visits, fetched = practise(exchange, starts, library, 400)
    assert fetched > 100  # they do come and go
    total = visits.sum()
    expected = torch.zeros(visits.shape, dtype=torch.float64)
    for clip, first, number, share in zip(
        starts._clip.tolist(), starts._frame.tolist(), starts._frames.tolist(), starts.probabilities, strict=True
    ):
        expected[clip, first : first + number] = total * share / number
    assert (visits[expected == 0] == 0).all()
    # of clips, whose shares the exchange evens out, closer than chance would bring them
    owed = (visits.sum(1) - expected.sum(1)).abs()
    assert (owed < 5 * expected.sum(1).sqrt()).all()
    deviation = (visits - expected)[expected > 0] / expected[expected > 0].sqrt()
    assert deviation.abs().max() < 5
    assert abs(deviation.square().mean() - 1) < 0.5  # as much chance as there should be, and no more


def test_a_clip_stays_as_long_as_a_world_follows_it_and_then_makes_room(stream):
    library = stream(60)
    starts = Starts(UNIFORM, library)
    exchange = Exchange(library, starts, seed=3)
    generator = torch.Generator().manual_seed(0)
    faithful, held, seen = int(library.held.nonzero()[0]), [], library.held
    for update in range(150):
        first, second = torch.rand(2, 64, generator=generator, dtype=torch.float64)
        exchange.count(starts.draw(first, second)[0], torch.ones(64, dtype=torch.bool))
        exchange.update(torch.tensor([faithful] if update < 50 else []).long(), alone)
        held.append(bool(library.held[faithful]))
        seen |= library.held
    assert all(held[:50])
    assert not all(held)
    assert seen.all()


def test_processes_begin_with_different_clips(stream):
    sets = []
    for seed in range(4):
        library = stream(38)
        Exchange(library, Starts(UNIFORM, library), seed)
        sets.append(tuple(library.held.tolist()))
    assert len(set(sets)) > 1


def run(env, act, updates):
    for update in range(updates):
        current = env.current()
        for step in range(5):
            current["action"] = act(env, 5 * update + step)["action"]
            _, current = env.step_and_maybe_reset(current)
        env.practise(alone)


@pytest.mark.parametrize("config", [UNIFORM, FAVOURING], ids=["uniform", "favouring"])
def test_an_environment_goes_on_bit_by_bit_where_it_was_left_with_other_clips_held(config, make_env, act, stream):
    settings = {"sampling": config, "worlds": 4, "terminations": {"site_deviation": 0.05}}
    env = make_env(library=stream(38), **settings)
    env.reset()
    run(env, act, 6)
    left, held = env.snapshot(), env.library.held
    run(env, act, 6)
    assert not torch.equal(held, env.library.held)
    again = make_env(library=stream(38), seed=9, **settings)
    again.restore(left)
    run(again, act, 6)
    expected, found = env.snapshot(), again.snapshot()
    assert expected.keys() == found.keys()
    assert not [key for key, value in expected.items() if not torch.equal(value, found[key])]


def test_a_bound_that_holds_all_clips_changes_nothing(make_env, act, stream):
    snapshots = []
    for frames in (38, 0, 95):
        env = make_env(library=stream(frames), worlds=4)
        env.reset()
        run(env, act, 2)
        snapshots.append(env.snapshot())
    assert "exchange.held" in snapshots[0]
    assert not any(name.startswith("exchange") for name in snapshots[1])
    assert all(torch.equal(value, snapshots[2][key]) for key, value in snapshots[1].items())


def test_worlds_can_be_sent_to_a_clip_that_is_not_held(make_env, act, stream, clips):
    env = make_env(library=stream(38), worlds=2)
    away = (~env.library.held).nonzero().flatten()[:2]
    env.reset_to(away, torch.tensor([1, 2]))
    for world, clip in enumerate(away):
        np.testing.assert_array_equal(env.engine.qpos[world], clips[clip].qpos[1 + world])
    env.reset()  # episodes start in what is held
    assert env.library.held[env.clip].all()
    run(env, act, 3)
