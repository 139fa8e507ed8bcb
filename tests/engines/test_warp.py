"""The Warp engine against plain mujoco_warp and against the native engine."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import mujoco
import mujoco_warp as mjw
import numpy as np
import pytest
import torch
import warp as wp

from musclewarp.engines.buffers import measure_buffers
from musclewarp.engines.warp import WarpEngine, for_warp
from musclewarp.errors import ConfigError, ModelError
from musclewarp.kernels import activation
from musclewarp.models import MuscleModel, load_model

pytestmark = pytest.mark.xdist_group("warp")


@pytest.fixture
def warp(build: Callable[[str, str], WarpEngine]) -> WarpEngine:
    return build("warp", "arms")


@pytest.fixture
def warp_body(build: Callable[[str, str], WarpEngine]) -> WarpEngine:
    return build("warp", "body")


def test_rotated_step_equals_plain_mujoco_warp_step_bitwise(warp_body: WarpEngine):
    engine, excitation = warp_body, np.random.default_rng(0).uniform(size=warp_body.ctrl.shape).astype(np.float32)
    mj_model = for_warp(engine.model.mj_model)
    with wp.ScopedDevice("cpu"):
        m = mjw.put_model(mj_model)
        d = mjw.make_data(mj_model, engine.num_worlds, nconmax=engine._d.naconmax // 4, njmax=engine._d.njmax)
        for _ in range(6):
            d.ctrl.assign(excitation)
            engine.ctrl.copy_(torch.as_tensor(excitation))
            for _ in range(engine.model.physics.substeps):
                mjw.step(m, d)
            engine.step()
    for name in ("qpos", "qvel", "act", "qacc_warmstart"):
        np.testing.assert_array_equal(getattr(engine, name), getattr(d, name).numpy(), err_msg=name)
    np.testing.assert_array_equal(engine.derived["actuator_force"], d.actuator_force.numpy())
    floor = engine.model.sensor_slice("floor")
    np.testing.assert_array_equal(engine.sensor("floor"), d.sensordata.numpy()[:, floor])
    assert (engine.sensor("floor")[:, 0] > 0).all()


def test_live_tensors_share_memory_with_warp(warp: WarpEngine):
    warp.qpos[3, 5] = 0.125
    assert warp._d.qpos.numpy()[3, 5] == 0.125


def test_too_few_constraint_rows_are_reported(arms: MuscleModel):
    engine = WarpEngine(arms, 2, njmax=10)  # 22 couplings alone need more
    engine.step()
    assert engine.unhealthy().all()
    assert "nefc" in engine.fault_counts()


def test_too_few_contacts_are_reported_and_reset_clears_it(body: MuscleModel):
    engine = WarpEngine(body, 2, nconmax=1)
    engine.step()
    assert engine.unhealthy().any()
    assert set(engine.fault_counts()) & {"broadphase", "narrowphase"}
    zeros = torch.zeros_like
    engine.reset(torch.tensor([True, False]), engine.qpos, zeros(engine.qvel), zeros(engine.act))
    assert not engine.unhealthy()[0]


def test_an_iteration_limit_is_no_overflow(warp: WarpEngine):
    warp._overflow.fill_(int(mjw.OverflowType.ITERATIONS | mjw.OverflowType.LS_ITERATIONS))
    assert not warp.unhealthy().any()
    warp._overflow[1] = int(mjw.OverflowType.CONTACT_MATCH)
    assert warp.unhealthy().tolist() == [False, True, False, False]


def test_default_buffers_hold_a_body_thrown_to_the_floor(warp_body: WarpEngine, drive: Callable[..., None]):
    generator = torch.Generator().manual_seed(0)
    qpos = warp_body.qpos.clone()
    qpos[:, 3:7] = torch.nn.functional.normalize(torch.randn(len(qpos), 4, generator=generator), dim=1)
    qpos[:, 2] = 0.6
    everyone = torch.ones(len(qpos), dtype=torch.bool)
    warp_body.reset(everyone, qpos, warp_body.qvel, warp_body.act)
    most = torch.zeros(len(qpos))
    for seed in range(10):
        drive(warp_body, 1, seed)
        most = most.maximum(warp_body.sensor("floor")[:, 0])
    assert set(warp_body.fault_counts()) <= {"unconverged"}
    assert most.max() >= 10


def test_buffers_are_measured_on_thrown_bodies_and_on_references(body: MuscleModel, warp_body: WarpEngine):
    m, mj_model = warp_body._m, for_warp(body.stepped)
    plain = measure_buffers(m, mj_model, body, 64)
    pairs = len(m.nxn_geom_pair_filtered)
    assert 2 * body.mj_model.neq < plain.rows < 1000
    assert 16 < plain.contacts < 3 * pairs
    knot = body.mj_model.qpos0.copy()
    knot[2] = 0.0  # half of the body is in the floor: more contacts than any fall
    with_knot = measure_buffers(m, mj_model, body, 64, np.tile(knot, (3, 1)))
    assert with_knot.contacts > plain.contacts
    assert with_knot.rows > plain.rows
    engine = WarpEngine(body, 1, postures=knot[None])
    assert engine.buffers.rows == with_knot.rows
    assert engine.buffers.contacts >= max(with_knot.contacts, pairs)
    zeros = torch.zeros_like
    engine.reset(torch.tensor([True]), torch.tensor(knot[None]), zeros(engine.qvel), zeros(engine.act))
    engine.step()
    assert not {"nefc", "broadphase", "narrowphase"} & set(engine.fault_counts())


def test_friction_pyramid_lies_along_a_steep_capsule_as_in_mujoco():
    """mujoco_warp 4.0 turns it to a world axis beyond 60 degrees; `WarpEngine` puts that right."""
    xml = """<mujoco><worldbody><geom name="floor" type="plane" size="1 1 1"/>
      <body pos="0 0 .19" euler="20 0 35"><freejoint/><geom type="capsule" size=".1 .1"/></body>
    </worldbody></mujoco>"""
    m = mujoco.MjModel.from_xml_string(xml)
    data = mujoco.MjData(m)
    mujoco.mj_forward(m, data)
    with wp.ScopedDevice("cpu"):
        d = mjw.make_data(m, nconmax=4)
        mjw.forward(mjw.put_model(m), d)
    assert data.ncon == int(d.nacon.numpy()[0]) == 1
    np.testing.assert_allclose(d.contact.frame.numpy()[0].ravel(), data.contact[0].frame, atol=1e-6)


@pytest.mark.parametrize("other", ['type="capsule" size=".02 .04"', 'type="ellipsoid" size=".085 .035 .04"'])
def test_ellipsoids_touch_as_in_mujoco(other: str):
    """Foot on toes, foot on foot. GJK in float32, which `WarpEngine` replaces, errs by up to 1.6 mm and 0.03."""
    xml = f"""<mujoco><option ccd_tolerance="1e-9" ccd_iterations="100"/><worldbody>
      <body><freejoint/><geom {other}/></body>
      <body><freejoint/><geom type="ellipsoid" size=".085 .035 .04"/></body>
    </worldbody></mujoco>"""
    worlds, rng = 300, np.random.default_rng(0)
    qpos = rng.normal(size=(worlds, 14)).astype(np.float32)
    distance = rng.uniform(0.05, 0.16, size=(worlds, 1))
    qpos[:, :3], qpos[:, 7:10] = 0.0, distance * qpos[:, :3] / np.linalg.norm(qpos[:, :3], axis=1, keepdims=True)
    for orientation in (qpos[:, 3:7], qpos[:, 10:14]):
        orientation /= np.linalg.norm(orientation, axis=1, keepdims=True)
    m = mujoco.MjModel.from_xml_string(xml)
    with wp.ScopedDevice("cpu"):
        d = mjw.make_data(m, worlds, nconmax=2)
        d.qpos.assign(qpos)
        mjw.fwd_position(mjw.put_model(m), d)
    ids = d.contact.worldid.numpy()[: int(d.nacon.numpy()[0])]
    ours = {world: (d.contact.dist.numpy()[i], d.contact.frame.numpy()[i, 0]) for i, world in enumerate(ids)}
    data, shallow = mujoco.MjData(m), 0
    for world in range(worlds):
        data.qpos[:] = qpos[world]
        mujoco.mj_fwdPosition(m, data)
        if not data.ncon:
            assert world not in ours or ours[world][0] > -1e-6
            continue
        contact = data.contact[0]
        if -0.01 < contact.dist < -1e-5:  # deeper than feet can go there may be more than one answer
            shallow += 1
            assert ours[world][0] == pytest.approx(contact.dist, abs=2e-7)
            np.testing.assert_allclose(ours[world][1], contact.frame[:3], atol=5e-4)
    assert shallow > 20


def test_integrator_that_cannot_be_rotated_names_what_can():
    model = load_model("bimanual")
    model.stepped.opt.integrator = mujoco.mjtIntegrator.mjINT_RK4
    with pytest.raises(ModelError, match="use Euler or implicitfast"):
        WarpEngine(model, 1)


def test_device_that_warp_does_not_know_is_an_error(arms: MuscleModel):
    with pytest.raises(ConfigError, match="runs on CUDA and on the CPU, not on 'meta'"):
        WarpEngine(arms, 1, "meta")


@pytest.mark.parametrize("name", ["bimanual", pytest.param("myofullbody", marks=pytest.mark.slow)])
def test_a_control_step_equals_the_native_engines(parity: ModuleType, name: str):
    """A short version of `benchmarks/parity.py`: 100 steps there, 12 here."""
    result = parity.measure(parity.load(name), worlds=2, steps=12, free_run=1)
    assert result["unhealthy"] == 0
    for key, bar in parity.BARS.items():
        assert result["max_with_torn"][key] <= bar, key
        assert result["max_after_reset"][key] <= bar, key
    assert result["max_after_reset"]["site_pos"] < 1e-5
    if name == "myofullbody":
        assert result["fraction_with_contacts"] >= 0.4
        assert result["max_with_torn"]["floor_force_over_weight"] < 2e-3


@pytest.mark.gpu
def test_graph_on_the_gpu_equals_the_cpu_device(arms: MuscleModel, drive: Callable[..., None]):
    cpu, gpu = WarpEngine(arms, 4), WarpEngine(arms, 4, "cuda")
    for engine in (cpu, gpu):
        engine.xfrc_applied[1, arms.stepped.body("humerus_r").id, 0] = 20.0
        drive(engine, 3)
    torch.testing.assert_close(gpu.qpos.cpu(), cpu.qpos, atol=1e-4, rtol=0)
    torch.testing.assert_close(gpu.act.cpu(), cpu.act, atol=1e-6, rtol=0)


@pytest.mark.gpu
def test_step_and_reset_on_the_gpu_do_not_wait_for_it(arms: MuscleModel):
    engine = WarpEngine(arms, 4, "cuda")
    mask = torch.tensor([True, False, False, True], device="cuda")
    state = [tensor.clone() for tensor in (engine.qpos, engine.qvel, engine.act)]
    torch.cuda.set_sync_debug_mode("error")
    try:
        engine.step()
        engine.reset(mask, *state)
        engine.unhealthy()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
def test_graph_is_ordered_with_a_side_stream_of_torch(arms: MuscleModel):
    engine, reference = WarpEngine(arms, 4, "cuda"), WarpEngine(arms, 4, "cuda")
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(5):
            engine.ctrl.fill_(0.7)
            engine.step()
    torch.cuda.current_stream().wait_stream(stream)
    for _ in range(5):
        reference.ctrl.fill_(0.7)
        reference.step()
    torch.testing.assert_close(engine.act, reference.act)


def test_our_kernel_advances_the_activation(arms, monkeypatch):
    """Poisoned, it changes a rollout; as it is, it agrees with MuJoCo's dynamics (the parity tests)."""

    def rollout() -> torch.Tensor:
        engine = WarpEngine(arms, 1)
        engine.ctrl.fill_(0.6)
        engine.step()
        return engine.act.clone()

    sound = rollout()
    assert (sound > 0.05).all()
    monkeypatch.setattr(
        activation, "write_act_dot", lambda ctrl, act, dynprm, timestep, act_dot, exact: act_dot.zero_()
    )
    assert (rollout() == 0).all()
