"""Worlds of different models: `Engine.varied`, on both engines."""

from __future__ import annotations

import copy
from collections.abc import Callable
from operator import attrgetter
from pathlib import Path

import mujoco
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from musclewarp.engines import Engine, NativeEngine, make_engine
from musclewarp.engines.engine import DERIVED, VARIABLE
from musclewarp.engines.health import Quarantine, load_dump, replay, varied_fields
from musclewarp.engines.inertial_constants import CONSTANTS, InertialConstants
from musclewarp.errors import ConfigError, FileError
from musclewarp.models import MuscleModel

pytestmark = pytest.mark.xdist_group("warp")

STATE = ("qpos", "qvel", "act", "ctrl", "qacc_warmstart")
JOINTS = """<mujoco><option><flag gravity="disable"/></option><worldbody>
  <body name="static" pos="1 0 0"><geom size=".1"/></body>
  <body name="slider"><joint name="slide" type="slide" axis="1 1 0" armature=".2"/><geom size=".1" mass="2"/>
    <body name="spinner"><joint name="spin" axis="0 0 1"/><geom type="box" size=".1 .2 .3" mass="3"/></body>
    <body name="ball" pos="0 0 .4" euler="20 30 40"><joint type="ball"/><geom type="box" size=".1 .2 .3" pos=".1 .2 0"/>
    </body>
  </body>
  <body name="free" pos="0 2 1"><freejoint/><geom type="capsule" size=".1 .3" euler="0 40 10"/>
    <body pos=".3 0 0"><joint name="elbow" axis="0 1 0"/><geom type="capsule" size=".05" fromto="0 0 0 1 0 0"/></body>
  </body></worldbody>
  <tendon><fixed name="cable" armature=".3"><joint joint="slide" coef="1"/><joint joint="elbow" coef="-2"/></fixed>
  </tendon>
  <actuator><muscle tendon="cable" lengthrange=".5 1"/><muscle joint="spin" lengthrange=".5 1"/></actuator></mujoco>"""


@pytest.fixture(scope="module")
def build_varied(arms: MuscleModel, body: MuscleModel) -> Callable[[str, str], Engine]:
    """`build_varied(kind, "arms" or "body")`: the module's engine of three worlds that differ in whatever they can."""
    models, engines = {"arms": arms, "body": body}, {}

    def build_varied(kind: str, name: str) -> Engine:
        if (kind, name) not in engines:
            engines[kind, name] = make_engine(kind, models[name], 3, varied=VARIABLE)
        return engines[kind, name]

    return build_varied


def vary(engine: Engine, seed: int, mask: torch.Tensor | None = None) -> torch.Tensor:
    """Change every field of the worlds in the mask by up to a fifth, and put them into a state that they differ in."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.ones(engine.num_worlds, dtype=torch.bool) if mask is None else mask
    muscles = 1.0 + 0.2 * (torch.rand(engine.act.shape, generator=generator, dtype=torch.float64) - 0.5)
    for name, live in engine.varied.items():
        field = torch.as_tensor(np.array(attrgetter(name)(engine.model.stepped)))
        if name in ("actuator_gainprm", "actuator_biasprm", "actuator_dynprm"):
            columns = slice(0, 2) if name == "actuator_dynprm" else slice(2, 3)
            value = field.repeat(engine.num_worlds, 1, 1)
            value[..., columns] *= muscles[..., None]
        elif name == "actuator_lengthrange":
            value = field + 0.1 * (muscles[..., None] - 1.0) * (field[:, 1:] - field[:, :1])
        else:
            rows = torch.rand(engine.num_worlds, len(field), generator=generator, dtype=torch.float64)
            value = field * (0.8 + 0.4 * rows).view(*rows.shape, *[1] * (field.ndim - 1))
        live.copy_(torch.where(mask.view(-1, *[1] * (live.ndim - 1)), value.to(live.dtype), live))
    qpos = torch.as_tensor(engine.model.mj_model.qpos0.copy()).expand(engine.num_worlds, -1)
    qvel = 0.1 * torch.randn(engine.qvel.shape, generator=generator, dtype=torch.float64)
    engine.reset(mask, qpos, qvel, torch.full_like(qvel[:, :1], 0.3).expand(engine.act.shape))
    ctrl = torch.rand(engine.ctrl.shape, generator=generator, dtype=torch.float64)
    engine.ctrl.copy_(torch.where(mask[:, None], ctrl.to(engine.dtype), engine.ctrl))
    return mask


def edited(engine: Engine, world: int, set_const: bool = True) -> mujoco.MjModel:
    """A model of its own with the fields of one world."""
    m = copy.copy(engine.model.stepped)
    for name, live in engine.varied.items():
        attrgetter(name)(m)[:] = live[world]
    if set_const:
        mujoco.mj_setConst(m, mujoco.MjData(m))
    return m


def stepped(engine: Engine, m: mujoco.MjModel, start: dict[str, torch.Tensor], world: int, steps: int) -> mujoco.MjData:
    """Where `mj_step` alone takes the model from one world's start."""
    data = mujoco.MjData(m)
    for name, value in start.items():
        getattr(data, name)[:] = value[world]
    for _ in range(steps * engine.model.physics.substeps):
        mujoco.mj_step(m, data)
    return data


@pytest.mark.parametrize("name", ["arms", "body"])
def test_each_native_world_moves_like_a_model_edited_by_hand_bit_for_bit(
    build_varied: Callable[[str, str], Engine], name: str
):
    engine = build_varied("native", name)
    vary(engine, 0)
    start = {name: getattr(engine, name).clone() for name in STATE}
    for _ in range(3):
        engine.step()
    for world in range(engine.num_worlds):
        data = stepped(engine, edited(engine, world), start, world, 3)
        for field in ("qpos", "qvel", "act"):
            np.testing.assert_array_equal(getattr(engine, field)[world], getattr(data, field), err_msg=field)
        np.testing.assert_array_equal(engine.derived["actuator_force"][world], data.actuator_force)
        forgetful = stepped(engine, edited(engine, world, set_const=False), start, world, 3)
        assert np.abs(forgetful.qpos - data.qpos).max() > 1e-8, "the test cannot tell if the constants are recomputed"
    assert not torch.equal(engine.qpos[0], engine.qpos[1])


@pytest.mark.parametrize("name", ["arms", pytest.param("body", marks=pytest.mark.slow)])
def test_a_control_step_of_varied_worlds_equals_the_native_engines(
    build_varied: Callable[[str, str], Engine], name: str
):
    native, warp = build_varied("native", name), build_varied("warp", name)
    vary(native, 1)
    for _ in range(2):
        native.step()
    everyone = vary(warp, 1)
    warp.reset(everyone, native.qpos, native.qvel, native.act)
    for field in ("ctrl", "qacc_warmstart"):
        getattr(warp, field).copy_(getattr(native, field))
    for engine in (native, warp):
        engine.step()
    peak = native.model.muscles["peak_force"].to_numpy()
    force = (native.derived["actuator_force"] - warp.derived["actuator_force"]).numpy() / peak
    assert float((native.qpos - warp.qpos).abs().max()) <= 1e-4
    assert float((native.act - warp.act).abs().max()) <= 1e-6
    assert np.abs(force).max() <= 1e-3


def test_unchanged_fields_change_nothing(
    build: Callable[[str, str], Engine], arms: MuscleModel, drive: Callable[..., None]
):
    plain, varied = build("native", "arms"), NativeEngine(arms, 4, varied=VARIABLE)
    everyone = torch.ones(4, dtype=torch.bool)
    varied.reset(everyone, plain.qpos, plain.qvel, plain.act)
    for engine in (plain, varied):
        drive(engine, 3)
    for name in STATE:
        assert torch.equal(getattr(plain, name), getattr(varied, name)), name
    assert torch.equal(plain.derived["actuator_force"], varied.derived["actuator_force"])


@pytest.mark.parametrize("kind", ["native", "warp"])
def test_no_field_is_expanded_unasked(build: Callable[[str, str], Engine], kind: str):
    engine = build(kind, "arms")
    assert engine.varied == {}
    for name in (*VARIABLE, *CONSTANTS):
        if isinstance(engine, NativeEngine):
            assert attrgetter("_batch")(engine).expanded(name) is None, name
        else:
            assert attrgetter(f"_m.{name}")(engine).shape[0] == 1, name


@pytest.mark.parametrize("kind", ["native", "warp"])
@settings(max_examples=6, deadline=None)
@given(mask=st.lists(st.booleans(), min_size=3, max_size=3), seed=st.integers(0, 10**6))
def test_new_models_in_some_worlds_leave_the_others_and_their_future_bitwise_alone(
    build_varied: Callable[[str, str], Engine], kind: str, mask: list[bool], seed: int
):
    engine, chosen = build_varied(kind, "arms"), torch.tensor(mask)
    vary(engine, seed)
    engine.step()
    before = everything(engine)
    vary(engine, seed + 1, chosen)
    after = everything(engine)
    for name, value in after.items():
        assert torch.equal(value[~chosen], before[name][~chosen]), name
        if name in engine.varied:
            assert not (value[chosen] == before[name][chosen]).flatten(1).all(dim=1).any(), name
    engine.step()
    future = everything(engine)
    vary(engine, seed)
    for _ in range(2):
        engine.step()
    for name, value in everything(engine).items():
        assert torch.equal(value[~chosen], future[name][~chosen]), name


def everything(engine: Engine) -> dict[str, torch.Tensor]:
    live = {name: getattr(engine, name) for name in STATE} | {name: engine.derived[name] for name in DERIVED}
    return {name: tensor.clone() for name, tensor in (live | dict(engine.varied)).items()}


@pytest.mark.parametrize("name", ["arms", "body", "joints"])
def test_constants_of_masses_are_those_of_mj_setconst(arms: MuscleModel, body: MuscleModel, name: str):
    models = {"arms": arms.mj_model, "body": body.mj_model, "joints": mujoco.MjModel.from_xml_string(JOINTS)}
    m, worlds, random = models[name], 3, np.random.default_rng(0)
    mass, inertia = (
        torch.from_numpy(field * random.uniform(0.5, 1.5, size=(worlds, *field.shape)))
        for field in (m.body_mass, m.body_inertia)
    )
    fields = {field: torch.full((worlds, *getattr(m, field).shape), torch.nan).double() for field in CONSTANTS}
    InertialConstants(m, {"body_mass": mass, "body_inertia": inertia, **fields}).update(
        torch.tensor([True, False, True])
    )
    for world in (0, 2):
        own = copy.copy(m)
        own.body_mass[:], own.body_inertia[:] = mass[world], inertia[world]
        mujoco.mj_setConst(own, mujoco.MjData(own))
        for field in CONSTANTS:
            truth = getattr(own, field)
            np.testing.assert_allclose(fields[field][world], truth, atol=1e-10 * np.abs(truth).max(), err_msg=field)
            assert not np.allclose(truth, getattr(m, field), rtol=1e-5), f"{field} does not depend on the masses"
    assert all(field[1].isnan().all() for field in fields.values())


@pytest.mark.parametrize("kind", ["native", "warp"])
def test_a_field_that_cannot_vary_is_an_error_that_names_those_that_can(arms: MuscleModel, kind: str):
    with pytest.raises(ConfigError, match=r"worlds cannot differ in 'jnt_type'; they can in body_mass, .*opt\.gravity"):
        make_engine(kind, arms, 1, varied=("body_mass", "jnt_type"))


def test_a_dump_knows_the_model_of_its_world(arms: MuscleModel, tmp_path: Path):
    engine = NativeEngine(arms, 3, varied=("body_mass", "body_inertia", "opt.gravity"))
    vary(engine, 0)
    quarantine = Quarantine(engine, tmp_path, 1.0)
    engine.qvel[1, 3] = torch.nan
    quarantine.remember()
    engine.step()
    assert quarantine.inspect().tolist() == [False, True, False]
    arrays, _ = load_dump(tmp_path / "world_0.safetensors")
    assert set(varied_fields(arrays)) == set(engine.varied)
    sound = {**arrays, "qvel": np.zeros_like(arrays["qvel"])}
    again = make_engine("native", arms, 1, varied=varied_fields(arrays))
    assert not replay(again, sound)
    data = mujoco.MjData(m := edited(engine, 1))
    for name in STATE:
        getattr(data, name)[:] = sound[name]
    for _ in range(arms.physics.substeps):
        mujoco.mj_step(m, data)
    np.testing.assert_array_equal(again.qpos[0], data.qpos)
    with pytest.raises(FileError, match="its own body_mass, body_inertia"):
        replay(NativeEngine(arms, 1, varied=("opt.gravity",)), sound)


@pytest.mark.gpu
def test_new_models_on_the_gpu_are_those_of_the_cpu_and_do_not_wait_for_it(arms: MuscleModel):
    cpu, gpu = (make_engine("warp", arms, 3, device, VARIABLE) for device in ("cpu", "cuda"))
    everyone = vary(cpu, 0)
    for name, live in gpu.varied.items():
        live.copy_(cpu.varied[name])
    mask, *state = (tensor.cuda() for tensor in (everyone, cpu.qpos, cpu.qvel, cpu.act))
    gpu.ctrl.zero_()
    torch.cuda.set_sync_debug_mode("error")
    try:
        gpu.reset(mask, *state)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    gpu.ctrl.copy_(cpu.ctrl)
    for engine in (cpu, gpu):
        engine.step()
    torch.testing.assert_close(gpu.qpos.cpu(), cpu.qpos, atol=1e-4, rtol=0)
