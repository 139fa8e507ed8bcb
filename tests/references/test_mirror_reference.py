"""Mirror images of references: what they say of where they are from, and which models have none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from musclewarp.errors import ModelError
from musclewarp.models.mirror import Mirror
from musclewarp.references.mirror import mirror_reference
from musclewarp.references.reference import make_reference

SOURCE = {"file": "walk.npz", "place": "0a", "settings": {"dt": 0.02}, "sha256": "1b"}


@pytest.fixture(scope="module")
def reference(arms):
    qpos = np.tile(arms.mj_model.qpos0, (3, 1))
    return make_reference(arms, qpos, 0.02, "rest", source=SOURCE, quality={"jerk_ratio": 1.0})


def test_an_image_says_so_and_cannot_be_taken_for_what_was_retargeted(arms, reference):
    image = mirror_reference(arms, reference)
    assert image.source == {"file": "walk.npz", "mirrored": True}
    assert image.quality == {}
    assert mirror_reference(arms, image).source["mirrored"] is False


@pytest.mark.parametrize("part", ["muscle", "joint_sign"])
def test_a_model_with_something_on_one_side_only_has_no_images(arms, reference, monkeypatch, part):
    mirror = Mirror.from_model(arms.mj_model)
    broken = getattr(mirror, part).copy()
    broken[arms.mj_model.dof_jntid[arms.joint_dofs[0]] if part == "joint_sign" else 0] = {"muscle": -1}.get(part, 0)
    monkeypatch.setattr(Mirror, "from_model", lambda model: replace(mirror, **{part: broken}))
    with pytest.raises(ModelError, match="without a mirror image"):
        mirror_reference(arms, reference)
