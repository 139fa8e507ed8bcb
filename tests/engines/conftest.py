"""Engines are built once per session: Warp compiles kernels for a minute when its cache is cold."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch

from musclewarp.engines import Engine, NativeEngine, make_engine
from musclewarp.models import MuscleModel, PhysicsConfig, load_model

WORLDS = 4


@pytest.fixture(scope="session")
def arms() -> MuscleModel:
    return load_model("bimanual", physics=PhysicsConfig(0.004, 3))


@pytest.fixture(scope="session")
def body() -> MuscleModel:
    return load_model("myofullbody", physics=PhysicsConfig(0.005, 2))


@pytest.fixture(scope="session")
def build(arms: MuscleModel, body: MuscleModel) -> Callable[[str, str], Engine]:
    """`build(kind, "arms" or "body")`: the session's engine of that kind, at rest in the default posture."""
    models = {"arms": arms, "body": body}
    engines: dict[tuple[str, str], Engine] = {}

    def get(kind: str, name: str) -> Engine:
        if (kind, name) not in engines:
            engines[kind, name] = make_engine(kind, models[name], WORLDS)
        engine = engines[kind, name]
        rest(engine)
        return engine

    return get


@pytest.fixture(scope="session")
def parity() -> ModuleType:
    """`benchmarks/parity.py`."""
    path = Path(__file__).parents[2] / "benchmarks" / "parity.py"
    spec = importlib.util.spec_from_file_location("parity", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def native(build: Callable[[str, str], NativeEngine]) -> NativeEngine:
    return build("native", "arms")


def rest(engine: Engine) -> None:
    """All worlds at rest in the default posture."""
    qpos0 = torch.as_tensor(engine.model.mj_model.qpos0.copy(), dtype=engine.dtype, device=engine.device)
    everyone = torch.ones(engine.num_worlds, dtype=torch.bool, device=engine.device)
    zeros = torch.zeros_like
    engine.reset(everyone, qpos0.expand_as(engine.qpos), zeros(engine.qvel), zeros(engine.act))


@pytest.fixture
def drive() -> Callable[..., None]:
    """`drive(engine, steps, seed)`: control steps under random excitations, the same for every engine."""

    def run(engine: Engine, steps: int, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        for _ in range(steps):
            engine.ctrl.copy_(torch.rand(engine.ctrl.shape, generator=generator, dtype=torch.float64))
            engine.step()

    return run
