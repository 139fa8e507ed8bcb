"""A recorded walk and its replay, once a session: static optimisation of it takes seconds."""

from __future__ import annotations

import pytest

from musclewarp.biomechanics.experiments import load_experiment
from musclewarp.biomechanics.replay import replay_experiment


@pytest.fixture(scope="session")
def walk(data_root):
    return load_experiment("rajagopal2016_walk", data_root)


@pytest.fixture(scope="session")
def replay(walk, body):
    return replay_experiment(walk, body)
