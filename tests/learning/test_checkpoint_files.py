"""Files of checkpoints: the last few stand, damage is seen, and an older one takes the place of a damaged one."""

from __future__ import annotations

import os
import resource
from contextlib import contextmanager

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from musclewarp.errors import ConfigError, FileError
from musclewarp.learning.checkpoints import (
    VERSION,
    CheckpointConfig,
    keep_best,
    newest_checkpoint,
    read_checkpoint,
    write_last,
)

FUZZ = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def checkpoint(number, **changes):
    own = {"version": VERSION, "frames": number} | changes
    return {"state_dict": {"weight": torch.full((50,), float(number))}, "musclewarp": own}


def frames(path):
    return read_checkpoint(path)["musclewarp"]["frames"]


def files(folder):
    return {path.name: frames(path) for path in folder.iterdir()}


@contextmanager
def full_disk(limit=1):
    """No file of this process may grow beyond `limit` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def written(tmp_path):
    """A folder with three checkpoints, of 3, 2 and 1 frames."""
    for number in (1, 2, 3):
        write_last(tmp_path, checkpoint(number), keep=3)
    return tmp_path


@pytest.mark.parametrize("links", [True, False], ids=["hard links", "copies"])
def test_the_last_few_are_kept_the_newest_first(links, tmp_path, monkeypatch):
    def refuse(source, target):
        raise OSError("no hard links here")

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    for number in range(1, 6):
        write_last(tmp_path, checkpoint(number), keep=3)
        newest = list(range(number, max(0, number - 3), -1))
        names = ("last.ckpt", "last.1.ckpt", "last.2.ckpt")
        assert files(tmp_path) == dict(zip(names, newest, strict=False))


def test_fewer_can_be_kept_from_now_on(written):
    write_last(written, checkpoint(4), keep=2)
    assert files(written) == {"last.ckpt": 4, "last.1.ckpt": 3}
    write_last(written, checkpoint(5), keep=1)
    assert files(written) == {"last.ckpt": 5}


def test_the_best_stays_when_others_follow(written):
    keep_best(written)
    write_last(written, checkpoint(4), keep=1)
    assert files(written) == {"last.ckpt": 4, "best.ckpt": 3}
    keep_best(written)
    assert files(written) == {"last.ckpt": 4, "best.ckpt": 4}


def test_what_is_not_ours_stays(written):
    for name in ("last.old.ckpt", "last.1.ckpt.txt"):
        (written / name).write_text("mine")
    write_last(written, checkpoint(4), keep=1)
    assert {path.name for path in written.iterdir()} == {"last.ckpt", "last.old.ckpt", "last.1.ckpt.txt"}


def test_on_a_full_disk_all_that_was_there_stands_however_often_it_is_tried(written):
    keep_best(written)
    before = files(written)
    for number in range(4, 8):
        with full_disk(limit=500), pytest.raises(OSError, match="File too large"):
            write_last(written, checkpoint(number), keep=3)
        assert files(written) == before


def test_instead_of_a_truncated_last_the_older_one_with_a_warning_that_names_both(written):
    whole = (written / "last.ckpt").read_bytes()

    @FUZZ
    @given(st.integers(0, len(whole) - 1))
    def check(length):
        (written / "last.ckpt").write_bytes(whole[:length])
        with pytest.warns(UserWarning, match=r"last\.ckpt.*truncated.*older .*last\.1\.ckpt"):
            assert newest_checkpoint(written) == written / "last.1.ckpt"

    check()


def test_a_single_wrong_byte_of_a_weight_is_seen(written):
    content = bytearray((written / "last.ckpt").read_bytes())
    place = content.index(torch.full((50,), 3.0).numpy().tobytes())
    content[place + 17] ^= 1
    (written / "last.ckpt").write_bytes(content)
    with pytest.raises(FileError, match=r"last\.ckpt: damaged"):
        read_checkpoint(written / "last.ckpt")


def test_the_newest_is_found_where_a_kill_left_no_last(written):
    (written / "last.ckpt").unlink()
    assert frames(newest_checkpoint(written)) == 2


def test_the_best_is_better_than_nothing(written):
    keep_best(written)
    for name in ("last.ckpt", "last.1.ckpt", "last.2.ckpt"):
        (written / name).unlink()
        (written / name).touch()
    with pytest.warns(UserWarning, match=r"best\.ckpt"):
        assert newest_checkpoint(written) == written / "best.ckpt"


def test_without_a_whole_one_every_damaged_one_is_named(written):
    for path in written.iterdir():
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(FileError, match=r"last\.ckpt.*last\.1\.ckpt.*last\.2\.ckpt.*start anew"):
        newest_checkpoint(written)


def test_a_folder_without_a_run_and_no_folder_have_none(tmp_path):
    assert newest_checkpoint(tmp_path) is None
    assert newest_checkpoint(tmp_path / "no") is None


@pytest.mark.parametrize("found", [None, 0, VERSION + 1])
def test_another_version_is_refused_with_both_numbers_and_the_older_one_still_loads(found, written):
    write_last(written, checkpoint(4, version=found), keep=3)
    with pytest.raises(FileError, match=rf"last\.ckpt: .*version {found}, this musclewarp reads {VERSION}"):
        read_checkpoint(written / "last.ckpt")
    assert frames(written / "last.1.ckpt") == 3


def test_checkpoints_of_others_are_refused(tmp_path):
    torch.save({"state_dict": {}, "pytorch-lightning_version": "2.6"}, tmp_path / "other.ckpt")
    torch.save([1, 2], tmp_path / "list.ckpt")
    for name in ("other", "list"):
        with pytest.raises(FileError, match=rf"{name}\.ckpt: not a checkpoint of musclewarp"):
            read_checkpoint(tmp_path / f"{name}.ckpt")


@pytest.mark.parametrize(("name", "value"), [("minutes", 0), ("minutes", float("nan")), ("frames", -1), ("keep", 0)])
def test_a_bad_number_of_the_config_names_its_key(name, value):
    with pytest.raises(ConfigError, match=rf"checkpoint\.{name}"):
        CheckpointConfig(**{name: value})
