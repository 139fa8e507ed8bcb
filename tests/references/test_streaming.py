"""A library that holds some of its clips: they are the same wherever they lie, and never more than fit."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from musclewarp.errors import ConfigError, FileError
from musclewarp.references import make_reference
from musclewarp.references.library import ReferenceLibrary, load_library
from musclewarp.references.loop import cut_loop
from musclewarp.references.reference import SUFFIX
from musclewarp.references.shelf import Shelf

LENGTHS = (5, 9, 2, 7, 4)


@pytest.fixture(scope="module")
def clips(arms, movement):
    dt = arms.physics.control_dt
    made = [make_reference(arms, movement(arms, n, dt, n), dt, f"clip{n}") for n in LENGTHS]
    activations = torch.rand(9, arms.mj_model.nu, generator=torch.Generator().manual_seed(0)).double().numpy()
    return [made[0], replace(made[1], activations=activations), *made[2:]]


@pytest.fixture(scope="module")
def whole(clips, arms):
    return ReferenceLibrary(clips, arms)


def room(library: ReferenceLibrary, frames: int) -> float:
    """MB that hold so many frames."""
    return (frames + 0.5) * library.nbytes / int(library.lengths.sum()) / 1e6


def assert_same(library: ReferenceLibrary, whole: ReferenceLibrary, clips) -> None:
    """All that can be asked of `clips`, bit by bit."""
    clip = torch.tensor(clips).repeat_interleave(13)
    frame = torch.arange(13).repeat(len(clips))  # also past the end
    mine, theirs = library.index(clip, frame), whole.index(clip, frame)
    for key in ("qpos", "qvel", "activation", "has_activation"):
        assert torch.equal(getattr(library, key)[mine], getattr(whole, key)[theirs]), key
    time = 0.7 * frame * whole.dt
    pairs = [
        (library.goal(clip, frame), whole.goal(clip, frame)),
        (library.sample(clip, time), whole.sample(clip, time)),
    ]
    for mine, theirs in pairs:
        for (key, value), (_, other) in zip(mine.items(), theirs.items(), strict=True):
            assert torch.equal(value, other), key
    for mine, theirs in zip(library.state(clip, frame), whole.state(clip, frame), strict=True):
        assert torch.equal(mine, theirs)


def test_held_clips_are_bit_by_bit_those_of_the_whole_library_whatever_was_held_before(clips, arms, whole):
    library = ReferenceLibrary(clips, arms, megabytes=room(whole, 17))
    addresses = library.qpos.data_ptr(), library.activation.data_ptr()
    assert library.streams
    assert not library.held.any()
    for held in ([1, 0], [0, 2, 3], [3], [4, 3, 0], [1, 2, 0], [4, 1, 2]):
        library.hold(held)
        assert library.held.nonzero().flatten().tolist() == sorted(held)
        assert_same(library, whole, held)
    assert (library.qpos.data_ptr(), library.activation.data_ptr()) == addresses
    assert (library.names, library.dt) == (whole.names, whole.dt)
    for key in ("lengths", "last"):
        assert torch.equal(getattr(library, key), getattr(whole, key))
    assert (library.postures == whole.postures).all()
    assert library.knows_some
    assert not library.knows_all


def test_a_loop_that_turns_is_the_same_wherever_it_lies(body, gait):
    plain, loop = replace(gait(body, seconds=0.5), name="plain"), cut_loop(body, gait(body, turn=0.4), (0.2, 1.3))
    last = replace(plain, name="last")
    whole = ReferenceLibrary([plain, loop, last], body)
    library = ReferenceLibrary([plain, loop, last], body, megabytes=room(whole, plain.num_frames + loop.num_frames))
    for held in ([0, 1], [1, 2]):
        library.hold(held)
        clip, frame = torch.ones(3, dtype=torch.int64), torch.tensor([3, 60, 500])
        for mine, theirs in zip(library.state(clip, frame), whole.state(clip, frame), strict=True):
            assert torch.equal(mine, theirs)
        for (_, mine), (_, theirs) in zip(
            library.goal(clip, frame).items(), whole.goal(clip, frame).items(), strict=True
        ):
            assert torch.equal(mine, theirs)


def test_what_is_not_held_cannot_be_had(clips, arms, whole):
    library = ReferenceLibrary(clips, arms, megabytes=room(whole, 17))
    library.hold([0, 3])
    with pytest.raises(ConfigError, match="3 clips of 21 frames cannot be held together: there is room for 17"):
        library.hold([0, 1, 3])
    clip, frame = torch.tensor([1]), torch.tensor([0])
    with pytest.raises(IndexError):
        library.goal(clip, frame)
    with pytest.raises(IndexError):
        library.state(clip, frame)
    assert library.sample(clip, frame.double()).joint_pos.isnan().all()


def test_the_tensors_take_no_more_than_they_may_and_a_bound_for_all_clips_holds_all(clips, arms, whole):
    for frames in (16, 20, 26):
        bound = room(whole, frames)
        assert ReferenceLibrary(clips, arms, megabytes=bound).nbytes <= 1e6 * bound
    library = ReferenceLibrary(clips, arms, megabytes=room(whole, 27))
    assert not library.streams
    assert library.nbytes == whole.nbytes
    library.hold([2])  # is no reason to forget the others
    assert library.held.all()
    assert_same(library, whole, range(5))


def test_clips_too_long_are_named_with_their_size_and_the_room_they_need(clips, arms, whole):
    with pytest.raises(ConfigError, match=r"library_mb.*'clip9' \(.*MB\) and 'clip7' \(.*give at least") as error:
        ReferenceLibrary(clips, arms, megabytes=room(whole, 15))
    needed = float(str(error.value).split("give at least ")[1].split(",")[0])
    ReferenceLibrary(clips, arms, megabytes=needed)


def test_clips_stream_from_their_files_and_one_that_was_replaced_is_refused(clips, arms, whole, tmp_path):
    for number, clip in enumerate(clips):
        clip.save(tmp_path / f"{number}{SUFFIX}")
    library = load_library(str(tmp_path), arms, megabytes=room(whole, 17))
    library.hold([1, 3])
    assert_same(library, whole, [1, 3])
    replace(clips[4], name="clip2").save(tmp_path / f"2{SUFFIX}")
    library.hold([0, 1])
    with pytest.raises(FileError, match="'clip2' has been changed"):
        library.hold([0, 2])
    with pytest.raises(IndexError):
        library.goal(torch.tensor([2]), torch.tensor([0]))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sets(st.integers(0, 5)), max_size=6))
def test_a_shelf_never_mixes_its_clips(orders):
    lengths = [3, 1, 4, 2, 5, 1]
    shelf = Shelf(lengths, 16, [torch.empty(1, 2), torch.empty(1, dtype=torch.int64)])

    def rows(clip):
        values = 100 * clip + torch.arange(lengths[clip])
        return values[:, None].expand(-1, 2).float(), values

    for clips in orders:
        shelf.hold(clips, rows)
        assert shelf.held.nonzero().flatten().tolist() == sorted(clips)
        for clip, first in enumerate(shelf.first.tolist()):
            assert (first == 16) == (clip not in clips)
            if clip in clips:
                for part, values in zip(shelf.parts, rows(clip), strict=True):
                    assert torch.equal(part[first : first + lengths[clip]], values)
