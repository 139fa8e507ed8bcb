"""Models, the open body and clips once a session."""

from __future__ import annotations

from pathlib import Path

import pytest

from musclewarp.motion.amass import read_amass
from musclewarp.motion.body import Body, load_body
from musclewarp.motion.motion import Motion

CLIPS = Path(__file__).parents[2] / "data" / "motions" / "demo"


@pytest.fixture(scope="session")
def person() -> Body:
    return load_body("neutral", "stand-in")


@pytest.fixture(scope="session")
def arms_clip() -> Motion:
    """Three seconds of both arms moving."""
    return read_amass(CLIPS / "arms.npz").clip(0, 180)


@pytest.fixture(scope="session")
def whole_clip() -> Motion:
    """One second of the whole body moving."""
    return read_amass(CLIPS / "whole_body.npz").clip(60, 120)


@pytest.fixture(scope="session")
def recorded_clip(data_root: Path) -> Motion:
    """Two seconds of a real person's movement (CMU 02_04)."""
    clip = read_amass(data_root / "motions" / "cmu_smpl" / "cmu_02_04_smplh.npz")
    return clip.clip(0, round(2 * clip.fps))
