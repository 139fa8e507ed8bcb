"""Folders of recordings: what is made, what is skipped, what fails, and what is left when it is interrupted."""

from __future__ import annotations

import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from musclewarp.errors import ConfigError, FileError
from musclewarp.files import only_writer
from musclewarp.models import load_model
from musclewarp.motion.amass import read_amass, write_amass
from musclewarp.references import Reference
from musclewarp.references.library import find_references, load_library
from musclewarp.references.manifest import MANIFEST
from musclewarp.references.reference import SUFFIX
from musclewarp.retarget import folder as folders
from musclewarp.retarget.folder import Settings, find_clips, retarget_clips
from musclewarp.retarget.quality import QUALITY_FILE

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "data" / "motions" / "demo" / "arms.npz"
NAMES = ("s1/walk", "s2/x/walk", "top")


def write_clip(folder, name, start=0, frames=8, **changes):
    """A tiny clip of the bundled recording."""
    motion = replace(read_amass(DEMO).clip(start, start + frames), **changes)
    return write_amass(folder / f"{name}.npz", motion)


@pytest.fixture(autouse=True, scope="module")
def quick_load():
    """Each model is compiled once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folders, "load_model", functools.cache(load_model))
        yield


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    """Makes `in`, three good clips (two of one name) and two bad ones, and `refs`; `workshop()` restores both."""
    place, kept = tmp_path_factory.mktemp("workshop") / "place", tmp_path_factory.mktemp("kept") / "place"
    for k, name in enumerate(NAMES):
        write_clip(place / "in", name, 3 * k, 6 + 2 * k)
    with np.load(place / "in" / "top.npz") as clip:
        arrays = dict(clip)
    arrays["poses"][5, 4] = np.nan
    np.savez(place / "in" / "s2" / "nan.npz", **arrays)
    (place / "in" / "s1" / "cut.npz").write_bytes((place / "in" / "top.npz").read_bytes()[:700])
    retarget_clips(find_clips([place / "in"]), place / "refs", Settings())
    shutil.copytree(place, kept)

    def restore():
        shutil.rmtree(place)
        return Path(shutil.copytree(kept, place))  # where they were, for references know where their recordings lay

    return restore


@pytest.fixture
def made(workshop):
    """The folder of the references."""
    return workshop() / "refs"


@pytest.fixture
def recordings(made):
    """The folder of their recordings."""
    return made.parent / "in"


def again(recordings, refs, **options):
    """Retarget once more; which clips were made, skipped, and failed."""
    outcomes = retarget_clips(find_clips([recordings]), refs, options.pop("settings", Settings()), **options)
    groups = {"made": set(), "skipped": set(), "failed": set()}
    for outcome in outcomes:
        groups["failed" if outcome.error else "skipped" if outcome.skipped else "made"].add(outcome.clip.name)
    return groups


def state(refs):
    """Every reference with its content and its time."""
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in find_references(refs)}


def manifest(refs):
    return {row["clip"]: row for row in map(json.loads, (refs / MANIFEST).read_text().splitlines())}


def unfinished(refs):
    return [
        path for path in refs.rglob("*") if path.is_file() and not path.name.endswith((SUFFIX, MANIFEST, QUALITY_FILE))
    ]


def test_good_clips_become_references_and_bad_ones_reasons(recordings, made, arms):
    assert [path.relative_to(made).as_posix() for path in find_references(made)] == [f"{n}{SUFFIX}" for n in NAMES]
    assert load_library(made, arms).names == NAMES  # two clips of one name are two clips
    rows = manifest(made)
    assert set(rows) == {*NAMES, "s1/cut", "s2/nan"}
    assert "frame 5, joint 1 (left_hip)" in rows["s2/nan"]["error"]
    assert "truncated" in rows["s1/cut"]["error"]
    for name in NAMES:
        reference = Reference.load(made / rows[name]["file"], arms)
        assert rows[name]["quality"] == dict(reference.quality)
        assert rows[name]["model_hash"] == arms.hash
        assert rows[name]["num_frames"] == reference.num_frames
        assert rows[name]["source"]["sha256"] == read_amass(recordings / f"{name}.npz").source["sha256"]
        assert rows[name]["source"]["settings"]["dt"] == 0.02
        assert rows[name]["seconds"] > 0
    assert str(recordings) not in "".join(json.dumps(rows[name]) for name in NAMES)  # references are shared
    assert unfinished(made) == []


def test_what_is_done_and_unchanged_is_skipped(recordings, made, monkeypatch):
    before, rows = state(made), manifest(made)
    monkeypatch.setattr(folders, "retarget", None)  # would be an unexpected error
    assert again(recordings, made) == {"made": set(), "skipped": set(NAMES), "failed": {"s1/cut", "s2/nan"}}
    assert state(made) == before
    assert manifest(made) == rows, "the seconds that it took are not forgotten"


def test_only_the_clip_that_changed_is_made_again(recordings, made):
    before = state(made)
    write_clip(recordings, "s2/x/walk", 40)
    assert again(recordings, made)["made"] == {"s2/x/walk"}
    changed = {path for path, content in state(made).items() if content != before[path]}
    assert changed == {made / f"s2/x/walk{SUFFIX}"}


def test_a_clip_that_was_mended_is_made(recordings, made):
    write_clip(recordings, "s2/nan")
    assert again(recordings, made) == {"made": {"s2/nan"}, "skipped": set(NAMES), "failed": {"s1/cut"}}
    assert "error" not in manifest(made)["s2/nan"]


@pytest.mark.parametrize("change", ["dt", "model", "weights", "version"])
def test_all_clips_are_made_again_with_other_settings_or_another_model(change, recordings, made, monkeypatch):
    settings = Settings(dt=0.025 if change == "dt" else 0.02)
    if change == "model":
        for path in find_references(made):
            replace(Reference.load(path), model_hash="0" * 64).save(path)
    elif change == "weights":
        monkeypatch.setattr(folders, "IKConfig", functools.partial(folders.IKConfig, posture=1e-4))
    elif change == "version":
        monkeypatch.setattr(folders, "version", lambda package: "another")
    assert again(recordings, made, settings=settings)["made"] == set(NAMES)
    assert again(recordings, made, settings=settings)["skipped"] == set(NAMES)


def test_a_reference_that_was_cut_is_made_again_and_a_lost_manifest_is_found(recordings, made):
    (made / MANIFEST).unlink()
    cut = made / f"top{SUFFIX}"
    whole = cut.read_bytes()
    cut.write_bytes(whole[:-8])
    assert again(recordings, made)["made"] == {"top"}
    assert cut.read_bytes() == whole, "the same recording gives the same file"
    assert set(manifest(made)) == {*NAMES, "s1/cut", "s2/nan"}


def test_recordings_of_elsewhere_replace_those_of_their_name_only_when_told_to(made, tmp_path):
    before = state(made)
    write_clip(tmp_path / "other", "top", 50)
    groups = again(tmp_path / "other", made)
    assert groups["failed"] == {"top"}
    assert state(made) == before
    assert "--overwrite" in manifest(made)["top"].get("error", "")
    assert again(tmp_path / "other", made, overwrite=True)["made"] == {"top"}
    assert set(manifest(made)) == set(NAMES), "the manifest is of the whole folder"


def test_the_longest_clips_are_begun_first(recordings, tmp_path):
    order = []
    retarget_clips(
        find_clips([recordings]), tmp_path / "refs", Settings(), on_outcome=lambda o: order.append(o.clip.size)
    )
    assert order == sorted(order, reverse=True)
    assert len(set(order)) > 3


def test_what_nobody_thought_of_is_a_reason_and_stops_nothing(recordings, tmp_path, monkeypatch):
    def divide(motion, *arguments, **options):
        return real(motion, *arguments, **options) if motion.name != "top" else 1 / 0

    real = folders.retarget
    monkeypatch.setattr(folders, "retarget", divide)
    groups = again(recordings, tmp_path / "refs")
    assert groups["failed"] == {"top", "s1/cut", "s2/nan"}
    assert manifest(tmp_path / "refs")["top"]["error"].endswith(
        f"unexpected ZeroDivisionError in test_folder.py:{divide.__code__.co_firstlineno + 1}: division by zero"
    )


def test_warnings_are_told_with_the_clip_they_are_about(tmp_path):
    write_clip(tmp_path / "in", "tall", betas=np.ones(16))
    for _ in range(2):  # also if it is skipped
        (outcome,) = retarget_clips(find_clips([tmp_path / "in"]), tmp_path / "refs", Settings(body="stand-in"))
        assert outcome.entry is not None
        assert "'tall' has betas" in outcome.entry.warnings[0]


def test_files_are_called_by_their_name_and_may_stand_beside_folders(recordings):
    clips = find_clips([recordings / "s1", recordings / "top.npz"])
    assert {clip.name for clip in clips} == {"walk", "cut", "top"}
    with pytest.raises(FileError, match=r"s1/walk\.npz and .*x/walk\.npz would both become walk"):
        find_clips([recordings / "s1", recordings / "s2" / "x" / "walk.npz"])


def test_a_folder_that_another_process_writes_to_is_refused(recordings, tmp_path):
    with only_writer(tmp_path / "refs"), pytest.raises(FileError, match=r"refs: another process is writing there"):
        retarget_clips(find_clips([recordings]), tmp_path / "refs", Settings())
    assert again(recordings, tmp_path / "refs")["made"] == set(NAMES)


@pytest.mark.parametrize("dt", [0.0, -1.0, 0.1, float("nan")])
def test_a_control_step_out_of_range_is_refused(dt):
    with pytest.raises(ConfigError, match="--dt is"):
        Settings(dt=dt)


@pytest.mark.slow
@pytest.mark.parametrize("blow", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_run_leaves_nothing_half_written_and_is_gone_on_with(blow, tmp_path, arms):
    """Ctrl-C reaches the whole process group, kill -9 the parent alone."""
    names = {f"s{k}/clip": 20 + k for k in range(6)}
    for name, frames in names.items():
        write_clip(tmp_path / "in", name, 2 * frames, frames)
    refs = tmp_path / "refs"
    command = [sys.executable, "-m", "musclewarp.cli", "retarget", "in", "--out", "refs", "--workers", "2"]
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST_", "COVERAGE_"))}
    run = subprocess.Popen(
        command, cwd=tmp_path, env=environ | {"PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    while not list(refs.rglob(f"*{SUFFIX}")):
        assert run.poll() is None, "it ended before it was interrupted"
        time.sleep(0.01)
    if blow is signal.SIGINT:
        os.killpg(run.pid, blow)
    else:
        run.kill()
    said = run.communicate(timeout=300)[1]  # returns when the workers have ended, too: they hold the pipe
    before = state(refs)
    assert 0 < len(before) < len(names)
    for path in before:
        Reference.load(path, arms)
    if blow is signal.SIGINT:
        assert run.returncode == 130
        assert "Traceback" not in said
        assert said.strip().splitlines()[-1].startswith("interrupted")
        assert unfinished(refs) == []
        assert set(manifest(refs)) == {path.relative_to(refs).as_posix().removesuffix(SUFFIX) for path in before}
    assert again(tmp_path / "in", refs)["skipped"] == {
        path.relative_to(refs).as_posix().removesuffix(SUFFIX) for path in before
    }
    after = state(refs)
    assert before.items() <= after.items()
    assert set(manifest(refs)) == set(names)
    assert unfinished(refs) == []
    assert len(load_library(refs, arms).names) == len(names)


@pytest.mark.slow
def test_processes_make_what_one_makes_and_remove_what_killed_ones_left(recordings, made, tmp_path):
    litter = tmp_path / "many" / "s1" / ".walk.ref.tmp-12345678.safetensors"
    litter.parent.mkdir(parents=True)
    litter.write_bytes(b"half")
    assert again(recordings, tmp_path / "many", workers=2)["made"] == set(NAMES)
    assert unfinished(tmp_path / "many") == []
    for name in NAMES:
        one, many = (Reference.load(folder / f"{name}{SUFFIX}") for folder in (made, tmp_path / "many"))
        np.testing.assert_allclose(many.qpos, one.qpos, atol=1e-9)
        assert many.source == one.source
