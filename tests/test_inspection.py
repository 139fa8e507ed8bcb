"""`musclewarp references`: the worst first, what fails a bar marked, and split files that can be used at once."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.image import imread

from musclewarp.cli import main
from musclewarp.references.library import find_references

FINE = {"position_rmse_m": 0.012, "coupling_residual_max": 0.0, "tendon_jump_fraction": 0.005, "jerk_ratio": 1.0}


def shown(capsys, *arguments):
    """Status, and the rows of the printed table as lists of cells."""
    status = main(["references", "inspect", *map(str, arguments)])
    lines = capsys.readouterr().out.splitlines()
    return status, [[cell.strip() for cell in line.strip("│┃ ").split("│")] for line in lines if "│" in line], lines


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")


def test_the_worst_comes_first_and_what_fails_is_marked(write_reference, tmp_path, capsys):
    write_reference("s1/fine", quality=FINE)
    write_reference("s1/jumps", quality=FINE | {"tendon_jump_fraction": 0.02})
    write_reference("s2/far", quality=FINE | {"position_rmse_m": 0.1})
    write_reference("s2/skates", quality=FINE | {"skate_mps": 0.06, "recording_skate_mps": 0.05})
    write_reference("s2/as recorded", quality=FINE | {"skate_mps": 0.05, "recording_skate_mps": 0.05})
    status, rows, lines = shown(capsys, tmp_path / "refs")
    assert status == 0
    assert any("5 references, 3 fail a bar" in line for line in lines)
    assert [row[0] for row in rows[:5]] == ["s2/far", "s1/jumps", "s2/skates", "s2/as recorded", "s1/fine"]
    marked = {row[0]: [cell for cell in row if cell.endswith("!")] for row in rows[:5]}
    assert marked == {
        "s2/far": ["10 !"],
        "s1/jumps": ["2 !"],
        "s2/skates": ["6 !"],
        "s1/fine": [],
        "s2/as recorded": [],
    }
    summary = {row[0]: row[1:] for row in rows[5:]}
    assert summary["median"][0] == "1.2"
    assert summary["worst"][0] == "10"
    assert summary["bar, at most"][0] == "2"
    assert "1.1 x recording" in summary["bar, at most"]


def test_a_bar_of_zero_is_failed_by_anything_and_worse_than_all_others(write_reference, tmp_path, capsys):
    write_reference("far", quality=FINE | {"position_rmse_m": 9.0})
    write_reference("beyond", quality=FINE | {"joint_limit_violation_fraction": 1e-6})
    write_reference("at limit", quality=FINE | {"joint_limit_violation_fraction": 0.0})
    _, rows, _ = shown(capsys, tmp_path / "refs", "--rows", "2")
    assert [row[0] for row in rows[:3]] == ["beyond", "far", "median"]


def test_distributions_are_plotted(write_reference, tmp_path, capsys):
    for k in range(5):
        skate = {"skate_mps": 0.01 * k, "recording_skate_mps": 0.02}
        write_reference(f"c{k}", quality=FINE | skate | {"position_rmse_m": 0.01 * k})
    plot = tmp_path / "plots" / "quality.png"
    status, _, lines = shown(capsys, tmp_path / "refs", "--plot", plot)
    assert status == 0
    assert lines[-1] == f"wrote {plot}"
    picture = imread(plot)[..., :3]
    assert picture.shape[0] > 200
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 10


def test_what_cannot_be_read_is_told_and_does_not_hide_the_rest(write_reference, tmp_path, capsys):
    write_reference("good", quality=FINE)
    cut = write_reference("cut", quality=FINE)
    cut.write_bytes(cut.read_bytes()[:-4])
    assert main(["references", "inspect", str(tmp_path / "refs")]) == 2
    captured = capsys.readouterr()
    assert "good" in captured.out
    assert str(cut) in captured.err


def test_references_without_known_figures_say_what_to_do(write_reference, tmp_path, capsys):
    write_reference("old", quality={"smell": 3.0})
    assert main(["references", "inspect", str(tmp_path / "refs")]) == 2
    assert "retarget them again" in capsys.readouterr().err


def test_a_split_by_folders_can_be_used_at_once(write_reference, tmp_path, capsys):
    for name in ("s1/walk", "s1/run", "s2/walk", "s3/walk"):
        write_reference(name)
    refs = tmp_path / "refs"
    assert main(["references", "split", str(refs), "--test-subjects", "s2", "s3"]) == 0
    said = capsys.readouterr().out
    assert f"test: 2 clips of 2 subjects: {refs / 'split.yaml'}:test" in said
    assert find_references(f"{refs / 'split.yaml'}:train") == [
        refs / f"s1/{n}.ref.safetensors" for n in ("run", "walk")
    ]
    before = (refs / "split.yaml").read_bytes()
    assert main(["references", "split", str(refs), "--test-subjects", "s1"]) == 2
    assert "exists" in capsys.readouterr().err
    assert (refs / "split.yaml").read_bytes() == before


def test_a_split_by_an_index_takes_its_column(write_reference, tmp_path):
    for name in ("a", "b"):
        write_reference(name)
    (tmp_path / "index.csv").write_text("clip,subject,split\na,05,train\nb,08,test\nnot made,08,test\n")
    refs = tmp_path / "refs"
    assert main(["references", "split", str(refs), "--index", str(tmp_path / "index.csv")]) == 0
    assert find_references(f"{refs / 'split.yaml'}:test") == [refs / "b.ref.safetensors"]


@pytest.mark.parametrize("subjects", [[], ["s9"], ["s1", "s2"]])
def test_a_split_that_is_none_writes_nothing(subjects, write_reference, tmp_path, capsys):
    for name in ("s1/a", "s2/a"):
        write_reference(name)
    arguments = ["--test-subjects", *subjects] if subjects else []
    assert main(["references", "split", str(tmp_path / "refs"), *arguments]) == 2
    assert not (tmp_path / "refs" / "split.yaml").exists()
    assert "musclewarp references: " in capsys.readouterr().err


def test_a_split_that_would_leak_a_recording_is_not_written(write_reference, tmp_path, capsys):
    write_reference("s1/a", "same")
    write_reference("s2/b", "same")
    assert main(["references", "split", str(tmp_path / "refs"), "--test-subjects", "s2"]) == 2
    assert "share a recording" in capsys.readouterr().err
    assert not (tmp_path / "refs" / "split.yaml").exists()
