"""Promises over many cases: any mask, any run twice, a thousand steps of activation, every muscle's curves."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from musclewarp.engines import Engine, NativeEngine, make_engine
from musclewarp.engines.warp import WarpEngine
from musclewarp.kernels.activation import activation_step
from musclewarp.models import PhysicsConfig, load_model

pytestmark = pytest.mark.xdist_group("warp")
STATE = ("qpos", "qvel", "act", "ctrl", "qacc_warmstart")


@pytest.mark.parametrize("kind", ["native", "warp"])
@given(st.lists(st.booleans(), min_size=4, max_size=4), st.integers(0, 1000))
@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_the_mask_only_its_worlds_are_reset(build, drive, kind, worlds, seed):
    engine: Engine = build(kind, "arms")
    drive(engine, 2, seed)
    mask, before = torch.tensor(worlds), {name: getattr(engine, name).clone() for name in STATE}
    derived = {name: value.clone() for name, value in engine.derived.items()}
    start = torch.as_tensor(engine.model.mj_model.qpos0.copy()).expand(4, -1).to(engine.dtype)
    poison = [torch.full_like(x, torch.nan) for x in (engine.qpos, engine.qvel, engine.act)]
    for tensor, value in zip(poison, (start, 0.0, 0.3), strict=True):
        tensor[mask] = value[mask] if isinstance(value, torch.Tensor) else value
    engine.reset(mask, *poison)
    for name in STATE:
        assert torch.equal(getattr(engine, name)[~mask], before[name][~mask]), name
    for name, value in engine.derived.items():
        assert torch.equal(value[~mask], derived[name][~mask]), name
    assert torch.equal(engine.qpos[mask], start[mask])
    assert not engine.qvel[mask].any()
    assert (engine.act[mask] == torch.tensor(0.3, dtype=engine.dtype)).all()
    assert not engine.ctrl[mask].any()
    assert not engine.qacc_warmstart[mask].any()


@pytest.mark.parametrize(("kind", "name", "steps"), [("native", "body", 20), ("warp", "arms", 10), ("warp", "body", 3)])
def test_a_run_repeats_bit_for_bit(arms, body, drive, kind, name, steps):
    runs = []
    for _ in range(2):
        engine = make_engine(kind, {"arms": arms, "body": body}[name], 2)
        drive(engine, steps)
        runs.append([getattr(engine, key).clone() for key in STATE] + [x.clone() for x in engine.derived.values()])
    assert all(torch.equal(one, other) for one, other in zip(*runs, strict=True))


def test_activations_of_a_thousand_physics_steps_are_those_of_the_kernels_reference():
    """Of both engines, each against the op in double precision from its own activation before the step."""
    model = load_model("bimanual", physics=PhysicsConfig(0.004, 1))
    prm = torch.from_numpy(model.mj_model.actuator_dynprm[:, :3].copy())
    engines, generator = (NativeEngine(model, 1), WarpEngine(model, 1)), torch.Generator().manual_seed(0)
    worst = 0.0
    for _ in range(1000):
        ctrl = torch.rand(1, model.mj_model.nu, generator=generator, dtype=torch.float64)
        for engine in engines:
            before = engine.act.double().clone()
            engine.ctrl.copy_(ctrl)
            engine.step()
            expected = activation_step(engine.ctrl.double(), before, *prm.T, 0.004, False)
            worst = max(worst, float((engine.act.double() - expected).abs().max()))
    assert worst <= 1e-6


@pytest.mark.parametrize("kind", ["native", "warp"])
def test_forces_are_those_of_the_curves_at_the_state_before_the_last_step(
    build: Callable[[str, str], Engine], drive: Callable[..., None], kind: str
):
    """`actuator_force` of the last substep, from lengths, speeds and activations one substep earlier."""
    from musclewarp.kernels.muscle_curves import muscle_force

    model = load_model("bimanual", physics=PhysicsConfig(0.004, 1))
    engine = make_engine(kind, model, 2)
    m = model.mj_model
    parameters = (m.actuator_gainprm, m.actuator_biasprm, m.actuator_lengthrange, m.actuator_acc0)
    drive(engine, 5)
    length, velocity = (engine.derived[name].double().clone() for name in ("actuator_length", "actuator_velocity"))
    activation = engine.act.double().clone()
    drive(engine, 1, seed=1)
    expected = muscle_force(length, velocity, activation, *(torch.from_numpy(np.array(x)) for x in parameters))
    error = (engine.derived["actuator_force"].double() - expected).abs() / torch.from_numpy(m.actuator_gainprm[:, 2])
    assert float(error.max()) < (1e-9 if kind == "native" else 1e-4)
