"""References of smooth movements."""

from __future__ import annotations

import pytest

from musclewarp.models import MuscleModel
from musclewarp.references import Reference, make_reference


@pytest.fixture(scope="session")
def arms_reference(arms: MuscleModel, movement) -> Reference:
    dt = arms.physics.control_dt
    quality, source = {"target_error_m": 0.01}, {"file": "clip.npz", "fps": 60.0}
    return make_reference(arms, movement(arms, 12, dt), dt, "wave", quality=quality, source=source)


@pytest.fixture(scope="session")
def body_reference(body: MuscleModel, movement) -> Reference:
    dt = body.physics.control_dt
    return make_reference(body, movement(body, 12, dt), dt, "walk")
