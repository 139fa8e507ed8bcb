"""Injected faults: each is reported by name, disturbs no other world, and fails again when its dump is replayed."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch

from musclewarp.engines import Engine, NativeEngine
from musclewarp.engines.health import Quarantine, load_dump, replay
from musclewarp.engines.warp import WarpEngine
from musclewarp.errors import ModelError
from musclewarp.models import MuscleModel, PhysicsConfig, load_model, myo
from musclewarp.models.muscles import require_length_ranges

pytestmark = pytest.mark.xdist_group("warp")
ILL = 37


class Case(NamedTuple):
    """An engine, what makes its world ILL fail, and the kinds of fault of which at least one must be reported."""

    build: Callable[[int], Engine]
    inject: Callable[[Engine], None]
    kinds: set[str]


def put(engine: Engine, change: Callable[[torch.Tensor], None]) -> None:
    """Start all worlds in the default posture, ILL's as `change` leaves it."""
    qpos = torch.as_tensor(engine.model.mj_model.qpos0.copy()).expand(engine.num_worlds, -1).clone()
    change(qpos[min(ILL, engine.num_worlds - 1)])
    everyone = torch.ones(engine.num_worlds, dtype=torch.bool)
    engine.reset(everyone, qpos, torch.zeros_like(engine.qvel), torch.full_like(engine.act, 0.05))


def bury(engine: Engine) -> None:
    put(engine, lambda qpos: qpos[2].sub_(0.6))


def not_a_number(engine: Engine) -> None:
    put(engine, lambda qpos: None)
    engine.qvel[min(ILL, engine.num_worlds - 1), 3] = torch.nan


def whirl(engine: Engine) -> None:
    """A speed that no time step of 20 ms can follow."""
    put(engine, lambda qpos: None)
    engine.qvel[min(ILL, engine.num_worlds - 1)] = 3e4


def short_of_memory() -> MuscleModel:
    layout = dataclasses.replace(myo.FULL_BODY, arena_bytes=600_000)
    return MuscleModel("small", myo.load_spec("myofullbody"), layout, PhysicsConfig(0.005, 1))


def native(model: MuscleModel) -> Callable[[int], Engine]:
    return lambda worlds: NativeEngine(model, worlds)


def on_warp(model: MuscleModel, **buffers: int) -> Callable[[int], Engine]:
    return lambda worlds: WarpEngine(model, worlds, **buffers)


FAST, SLOW = PhysicsConfig(0.005, 1), PhysicsConfig(0.02, 1)
CASES = {
    "nan": lambda: Case(native(load_model("bimanual")), not_a_number, {"not_finite"}),
    "memory": lambda: Case(native(short_of_memory()), bury, {"out_of_memory", "contactfull", "cnstrfull"}),
    "unstable": lambda: Case(
        native(load_model("bimanual", physics=SLOW)), whirl, {"not_finite", "badqvel", "badqacc", "badqpos"}
    ),
    "warp nan": lambda: Case(on_warp(load_model("bimanual")), not_a_number, {"not_finite"}),
    "warp rows": lambda: Case(on_warp(load_model("myofullbody", physics=FAST), njmax=140), bury, {"nefc"}),
    "warp contacts": lambda: Case(
        on_warp(load_model("myofullbody", physics=FAST), nconmax=2), bury, {"broadphase", "narrowphase"}
    ),
}


@pytest.mark.parametrize("name", sorted(CASES))
def test_a_fault_is_named_isolated_and_fails_again(name, tmp_path):
    case = CASES[name]()
    worlds = 4 if name.startswith("warp") else 64
    ill = min(ILL, worlds - 1)
    engine, sound = case.build(worlds), case.build(worlds)
    put(sound, lambda qpos: None)
    case.inject(engine)
    quarantine = Quarantine(engine, tmp_path, 1.0)
    for this in (engine, sound):
        generator = torch.Generator().manual_seed(0)
        this.ctrl.copy_(0.2 * torch.rand(this.ctrl.shape, generator=generator, dtype=torch.float64))
    quarantine.remember()
    engine.step()
    sound.step()
    bad = quarantine.inspect().nonzero().flatten().tolist()
    if (
        name == "warp contacts"
    ):  # the worlds share this buffer: what did not fit may be anybody's, and all who lost tell
        assert ill in bad
        return
    assert bad == [ill]
    assert case.kinds & set(engine.fault_counts())
    others = [world for world in range(worlds) if world != ill]
    for field in ("qpos", "qvel", "act"):
        assert torch.equal(getattr(engine, field)[others], getattr(sound, field)[others]), field
    arrays, header = load_dump(tmp_path / "world_0.safetensors")
    assert (header["world"], header["engine"]) == (ill, engine.name)
    assert case.kinds & set(header["faults"])
    again = case.build(1)
    assert replay(again, arrays)
    assert case.kinds & set(again.fault_counts())


def test_a_muscle_without_a_length_range_is_refused_by_name(arms):
    """Its fibre lengths would be infinite, and every observation of them."""
    m = copy.copy(arms.mj_model)
    m.actuator_lengthrange[5] = 0.3
    with pytest.raises(ModelError, match=rf"muscle '{m.actuator(5).name}' has lengthrange .*must ascend"):
        require_length_ranges(m)
