"""The manifest: made from the references, and worth no more than they are."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from musclewarp.errors import FileError
from musclewarp.references.manifest import MANIFEST, Failure, read_entry, scan, write_manifest


def lines(folder):
    return [json.loads(line) for line in (folder / MANIFEST).read_text().splitlines()]


def test_an_entry_says_what_the_reference_says(write_reference, tmp_path):
    path = write_reference("s1/walk", "abc", {"jerk_ratio": 1.5})
    entry = read_entry(path, tmp_path / "refs")
    assert (entry.clip, entry.file, entry.model, entry.num_frames) == ("s1/walk", "s1/walk.ref.safetensors", "biped", 2)
    assert entry.source == {"file": "s1/walk.npz", "sha256": "abc"}
    assert entry.quality == {"jerk_ratio": 1.5}


def test_a_scan_finds_all_that_can_be_read_in_folders_of_any_depth(write_reference, tmp_path):
    for name in ("b", "a/b", "a/c/b"):
        write_reference(name)
    cut = write_reference("cut")
    cut.write_bytes(cut.read_bytes()[:-1])
    found = scan(tmp_path / "refs")
    assert [entry.clip for entry in found.values()] == ["a/b", "a/c/b", "b"]
    assert list(found) == [f"{entry.clip}.ref.safetensors" for entry in found.values()]


def test_what_only_the_manifest_knows_is_kept_while_the_reference_stays_the_same(write_reference, tmp_path):
    folder = tmp_path / "refs"
    for name in ("same", "other"):
        write_reference(name, "old")
    write_manifest(folder, [replace(e, seconds=3.0, warnings=("loud",)) for e in scan(folder).values()])
    write_reference("other", "new")
    found = {entry.clip: entry for entry in scan(folder).values()}
    assert (found["same"].seconds, found["same"].warnings) == (3.0, ("loud",))
    assert (found["other"].seconds, found["other"].warnings) == (None, ())


def test_lines_are_sorted_and_failures_come_last(write_reference, tmp_path):
    for name in ("b", "a"):
        write_reference(name)
    entries = list(scan(tmp_path / "refs").values())[::-1]
    write_manifest(tmp_path / "refs", entries, [Failure("z", "is broken"), Failure("A", "too")])
    rows = lines(tmp_path / "refs")
    assert [row["clip"] for row in rows] == ["a", "b", "A", "z"]
    assert rows[-1] == {"clip": "z", "error": "is broken"}
    assert rows[0]["model_hash"] == "0" * 64


@pytest.mark.parametrize("content", ["", "{", "[1]\n", '{"clip": "x"}\n', "\x00"])
def test_a_manifest_that_cannot_be_read_is_as_good_as_none(content, write_reference, tmp_path):
    write_reference("a")
    (tmp_path / "refs" / MANIFEST).write_text(content)
    assert [entry.clip for entry in scan(tmp_path / "refs").values()] == ["a"]


def test_what_is_no_reference_is_refused_by_name(tmp_path):
    path = tmp_path / "x.ref.safetensors"
    path.write_bytes(b"nothing")
    with pytest.raises(FileError, match=r"x\.ref\.safetensors"):
        read_entry(path, tmp_path)
