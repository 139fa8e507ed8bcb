"""The four bodies, each compiled once."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest

from musclewarp.models import MuscleModel, load_model


@pytest.fixture(scope="session")
def model_of() -> Callable[..., MuscleModel]:
    """`model_of(name, fingers=False)`, cached."""
    return functools.cache(load_model)


@pytest.fixture(scope="session", params=["bimanual", "myofullbody"])
def model(request: pytest.FixtureRequest, model_of: Callable[..., MuscleModel]) -> MuscleModel:
    return model_of(request.param)
