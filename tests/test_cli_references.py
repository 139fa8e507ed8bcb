"""The command line on references: mirror images, and loops that cannot be cut."""

from __future__ import annotations

import numpy as np
import pytest

from musclewarp import models
from musclewarp.cli import main
from musclewarp.references import Reference, make_reference
from musclewarp.references.reference import SUFFIX


@pytest.fixture
def wave(arms, tmp_path, monkeypatch):
    """A reference of both arms, one of which moves more."""
    monkeypatch.setattr(models, "load_model", lambda name, fingers, physics: arms)
    qpos = np.tile(arms.mj_model.qpos0, (20, 1))
    amplitude = np.linspace(0.05, 0.2, len(arms.joint_qpos))
    qpos[:, arms.joint_qpos] += amplitude * np.sin(np.linspace(0, 2, 20))[:, None]
    return make_reference(arms, qpos, 0.02, "wave").save(tmp_path / f"wave{SUFFIX}")


def test_a_reference_is_mirrored_and_back(wave, tmp_path):
    paths = [tmp_path / f"{name}{SUFFIX}" for name in ("image", "again")]
    for source, out in zip((wave, paths[0]), paths, strict=True):
        assert main(["references", "mirror", str(source), "--out", str(out)]) == 0
    first, image, again = (Reference.load(path) for path in (wave, *paths))
    assert image.name == "image"
    assert (image.source["mirrored"], again.source["mirrored"]) == (True, False)
    assert not {"place", "settings", "sha256"} & image.source.keys()
    assert image.quality["joint_limit_violation_fraction"] == first.quality.get("joint_limit_violation_fraction", 0.0)
    assert "position_rmse_m" not in image.quality
    assert np.abs(image.qpos - first.qpos).max() > 0.01
    np.testing.assert_allclose(again.qpos, first.qpos, atol=1e-9)


def test_a_loop_that_cannot_be_cut_is_one_clear_line_and_status_2(wave, tmp_path, capsys):
    assert main(["references", "loop", str(wave), "--out", str(tmp_path / "loop.ref.safetensors")]) == 2
    assert "say from when to when it repeats itself" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [wave]
