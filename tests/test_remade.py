"""A shared policy is evaluated on the recordings that its card names, wherever they lie."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from musclewarp.commands import evaluate_policy
from musclewarp.errors import FileError
from musclewarp.learning.policy import load_policy
from musclewarp.references.library import find_references
from musclewarp.references.reference import Reference, make_reference
from musclewarp.remade import references_of

SHIPPED = Path(__file__).resolve().parents[1] / "data/checkpoints/bimanual.safetensors"


@pytest.fixture
def shared(tmp_path, monkeypatch):
    """The shipped policy and its card, copied to where nothing else is."""
    monkeypatch.chdir(tmp_path)
    for path in (SHIPPED, SHIPPED.with_suffix(".json")):
        shutil.copy(path, tmp_path)
    return tmp_path / SHIPPED.name


def test_the_shipped_policy_needs_no_other_argument(shared):
    evaluate_policy(shared, json_path=Path("out.json"))
    policy = json.loads(Path("out.json").read_text())["policy"]
    assert policy["success"] == 1.0
    assert policy["relative_site_error_m"] < 0.006
    card = json.loads(shared.with_suffix(".json").read_text())
    assert policy["relative_site_error_m"] == pytest.approx(card["figures"]["relative_site_error_m"], rel=0.1)


def test_references_of_other_clips_in_the_same_place_are_not_taken(shared, arms):
    policy = load_policy(shared)
    rest = make_reference(arms, np.tile(arms.mj_model.qpos0, (9, 1)), arms.physics.control_dt, "rest")
    rest.save(Path(str(policy.env.references)) / "rest.ref.safetensors")
    (path,) = references_of(shared, policy, Path("made"))
    assert [Reference.load(file).name for file in find_references(path)] == list(policy.clips)


def edited(shared, edit):
    card = shared.with_suffix(".json")
    content = json.loads(card.read_text())
    edit(content)
    card.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda shared: shared.with_suffix(".json").unlink(), "no card bimanual.json.*give --references"),
        (lambda shared: shared.with_suffix(".json").write_text("{"), "bimanual.json: not a card"),
        (lambda shared: edited(shared, lambda card: card.pop("references")), "bimanual.json: not a card"),
        (
            lambda shared: edited(shared, lambda card: card["references"][0].update(sha256="0")),
            "arms.npz.*is not under",
        ),
    ],
    ids=["no card", "no JSON", "no references", "another recording"],
)
def test_what_cannot_be_made_again_is_said(shared, spoil, says):
    spoil(shared)
    with pytest.raises(FileError, match=says):
        references_of(shared, load_policy(shared), Path("made"))
