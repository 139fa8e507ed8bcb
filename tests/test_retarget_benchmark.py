"""The benchmark of retargeting: folders of repeated clips of every format."""

from __future__ import annotations

import importlib
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def folder_scale(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("folder_scale")


def test_clips_of_equal_names_and_of_deepmimic_are_repeated(folder_scale, data_root, tmp_path):
    arms = ROOT / "data" / "motions" / "demo" / "arms.npz"
    run = data_root / "motions" / "deepmimic" / "humanoid3d_run.txt"
    clips = [tmp_path / "one" / arms.name, tmp_path / "two" / arms.name, run]
    for clip in clips[:2]:
        clip.parent.mkdir()
        shutil.copy(arms, clip)
    counts = [int(folder_scale.read_motion(clip).duration / 0.02) + 1 for clip in clips]
    folder_scale.link_repeated(clips, sum(counts) + 1, 0.02, tmp_path / "clips")
    links = sorted((tmp_path / "clips").rglob("*.*"))
    assert [link.resolve() for link in links] == [clip.resolve() for clip in (*clips, clips[0])]
