"""`musclewarp models`: what it prints, writes and returns."""

from __future__ import annotations

import copy
import functools
import json

import pytest

from musclewarp import check
from musclewarp.cli import main
from musclewarp.models import load_model
from musclewarp.models.sanity import KINDS, check_model, plausibility, symmetry


@pytest.fixture(scope="module")
def quick_load():
    """`load_model` that compiles each model once."""
    return functools.cache(load_model)


@pytest.fixture(autouse=True)
def quick(quick_load, monkeypatch):
    """Models that are compiled once, and the quick checks only."""
    checks = (plausibility.empty_length_ranges, plausibility.fibre_and_slack_lengths, symmetry.couplings)
    monkeypatch.setattr(check, "load_model", quick_load)
    monkeypatch.setattr(check, "check_model", lambda model: check_model(model, checks))


@pytest.fixture
def broken(quick_load, monkeypatch):
    """The arms with an empty length range, an error."""
    model = copy.copy(quick_load("bimanual"))
    model.mj_model = copy.copy(model.mj_model)
    model.mj_model.actuator_lengthrange[3] = 0.2
    monkeypatch.setattr(check, "load_model", lambda name, fingers: model)
    return model


def test_known_flaws_are_shown_with_a_remedy_and_do_not_fail(capsys):
    assert main(["models", "check", "bimanual"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "to mend" in shown
    assert "8" in shown


@pytest.mark.parametrize(("arguments", "status"), [([], 0), (["--fail-on", "error"], 0), (["--fail-on", "warning"], 1)])
def test_status_is_1_from_the_asked_severity_on(arguments, status):
    assert main(["models", "check", "bimanual", *arguments]) == status


def test_an_error_is_status_1(broken, capsys):
    assert main(["models", "check", "bimanual"]) == 1
    assert "error" in capsys.readouterr().out


def test_json_holds_every_finding_and_no_nan(broken, tmp_path):
    assert main(["models", "check", "bimanual", "--json", str(tmp_path / "o.json")]) == 1
    told = json.loads((tmp_path / "o.json").read_text(), parse_constant=pytest.fail)
    assert told["hash"] == broken.hash
    assert told["counts"]["length_range"] == 1
    assert sum(told["counts"].values()) == len(told["findings"])
    first = told["findings"][0]
    assert first["severity"] == "error"
    assert first["item"] == broken.muscles.index[3]
    assert first["excess"] is None
    assert {finding["kind"] for finding in told["findings"]} <= set(KINDS)


@pytest.mark.parametrize("arguments", [["check", "biped"], ["check"]])
def test_an_unknown_model_is_status_2_and_one_line(arguments, capsys):
    assert main(["models", *arguments]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "bimanual, myofullbody" in lines[0]


def test_list_names_every_model_with_its_muscles(capsys):
    assert main(["models", "list"]) == 0
    shown = capsys.readouterr().out
    for name, muscles in (("bimanual", "64"), ("myofullbody", "354")):
        assert any(name in line and muscles in line for line in shown.splitlines())


def test_list_goes_on_after_a_model_whose_files_are_not_there(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MUSCLEWARP_DATA", str(tmp_path))
    monkeypatch.setattr(check, "MODELS", ("ms_human_700", "bimanual"))
    monkeypatch.setattr(check, "load_model", load_model)
    assert main(["models", "list"]) == 0
    told = capsys.readouterr()
    assert "bimanual" in told.out
    assert "put the folder ms_human_700" in told.err


def test_no_name_is_asked_for(capsys):
    assert main(["models", "check"]) == 2
    assert "check which model?" in capsys.readouterr().err
