"""A reference as a row of pictures."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from musclewarp.errors import ConfigError, FileError
from musclewarp.references.reference import make_reference
from musclewarp.viz.filmstrip import filmstrip


@pytest.fixture(scope="module")
def reference(body):
    qpos = np.tile(body.mj_model.qpos0, (20, 1))
    qpos[:, 0] += np.linspace(0, 1, 20)
    qpos[10:, 2] += 0.5
    return make_reference(body, qpos, 0.02, "hop")


@pytest.mark.usefixtures("headless_gl")
def test_pictures_stand_side_by_side_and_show_the_body(body, reference):
    strip = filmstrip(body, reference, pictures=3, width=64, height=80)
    assert strip.shape == (80, 192, 3)
    first, _, last = np.split(strip.astype(int), 3, axis=1)
    bones = [(picture.max(axis=2) - picture.min(axis=2) > 25).nonzero()[0] for picture in (first, last)]
    assert len(bones[0]) > 50
    assert bones[1].min() < bones[0].min() - 5  # it has jumped


def test_a_strip_of_nothing_and_of_another_model_is_refused(body, reference):
    with pytest.raises(ConfigError, match="0 pictures"):
        filmstrip(body, reference, pictures=0)
    with pytest.raises(FileError, match="another version"):
        filmstrip(body, dataclasses.replace(reference, model_hash="other"))
