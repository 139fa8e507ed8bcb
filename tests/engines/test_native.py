"""The native engine against MuJoCo itself, bit by bit."""

from __future__ import annotations

import dataclasses
import gc
from collections.abc import Callable
from pathlib import Path

import mujoco
import mujoco.batch
import numpy as np
import pytest
import torch

from musclewarp.engines import NativeEngine, make_engine
from musclewarp.engines.native import available_threads
from musclewarp.errors import ConfigError
from musclewarp.models import MuscleModel, PhysicsConfig, myo


def test_step_equals_a_loop_over_mj_step_bitwise(native: NativeEngine):
    m = native.model.mj_model
    data = mujoco.MjData(m)
    rng = np.random.default_rng(0)
    for _ in range(5):
        data.ctrl[:] = rng.uniform(size=m.nu)
        native.ctrl[1] = torch.as_tensor(data.ctrl)
        mujoco.mj_step(m, data, native.model.physics.substeps)
        native.step()
        for name in ("qpos", "qvel", "act", "qacc_warmstart"):
            np.testing.assert_array_equal(getattr(native, name)[1], getattr(data, name), err_msg=name)


def test_site_positions_after_a_step_equal_kinematics_of_the_new_state_bitwise(
    native: NativeEngine, drive: Callable[..., None]
):
    drive(native, 3)
    data = mujoco.MjData(native.model.mj_model)
    data.qpos[:] = native.qpos[2]
    mujoco.mj_kinematics(native.model.mj_model, data)
    for site, site_id in zip(native.model.sites, native.model.site_ids, strict=True):
        np.testing.assert_array_equal(native.sensor(f"{site}_pos")[2], data.site_xpos[site_id])


def test_worlds_do_not_depend_on_the_number_of_threads(arms: MuscleModel, drive: Callable[..., None]):
    one, two = NativeEngine(arms, 4, num_threads=1), NativeEngine(arms, 4, num_threads=2)
    for engine in (one, two):
        drive(engine, 3)
    assert torch.equal(one.qpos, two.qpos)


def test_an_arena_too_small_is_never_silent():
    """MuJoCo's stack lies in the arena too: where contacts leave it no room, MuJoCo raises, and names the remedy."""
    layout = dataclasses.replace(myo.FULL_BODY, arena_bytes=600_000)
    model = MuscleModel("small", myo.load_spec("myofullbody"), layout, PhysicsConfig(0.005, 1))
    engine = NativeEngine(model, 2)
    buried, sound = engine.qpos.clone(), engine.qpos.clone()
    buried[1, 2] -= 0.5
    everyone = torch.ones(2, dtype=torch.bool)
    engine.reset(everyone, buried, engine.qvel, engine.act)
    assert engine.unhealthy().tolist() == [False, True]
    assert engine.fault_counts()["out_of_memory"] == 1
    engine.step()
    assert engine.unhealthy().tolist() == [False, True]
    engine.reset(everyone, sound, torch.zeros_like(engine.qvel), engine.act)
    assert not engine.unhealthy().any()


def test_a_view_outlives_its_engine(arms):
    engine = NativeEngine(arms, 2)
    view = engine.sensor("left_hand_pos")
    expected = view.clone()
    del engine
    gc.collect()
    others = [NativeEngine(arms, 2) for _ in range(2)]  # would take the memory
    for other in others:
        other.qpos.fill_(0.1)
        other.step()
    assert torch.equal(view, expected)


def test_a_warning_of_mujoco_makes_its_world_unhealthy(native: NativeEngine):
    """A full contact or constraint buffer is one of MuJoCo's warnings; here it is a velocity beyond its bounds."""
    native.qvel[2, 0] = 1e11
    native.step()
    assert native.unhealthy().tolist() == [False, False, True, False]


def test_warnings_leave_no_log_file_and_no_output(
    native: NativeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    log = mujoco.MjLogConfig.get()
    kept, log.logto_file = log.logto_file, True
    log.set()
    try:
        native.qvel[0, 0] = torch.nan
        native.step()
    finally:
        log.logto_file = kept
        log.set()
    assert native.unhealthy()[0]
    assert "badqpos" in native.fault_counts() or "badqvel" in native.fault_counts()
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr() == ("", "")


def test_warnings_count_worlds_and_are_cleared_by_reset(native: NativeEngine):
    native.qvel[:2, 0] = torch.nan
    native.step()
    assert 2 in native.fault_counts().values()
    mask = torch.tensor([True, True, False, False])
    native.reset(mask, native.qpos[3:].expand(4, -1), native.qvel[3:].expand(4, -1), native.act)
    assert native.fault_counts() == {}


def test_ranks_of_a_node_share_its_cores(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1")
    alone = available_threads()
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert available_threads() == max(1, alone // 2)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "100000")
    assert available_threads() == 1


def test_native_engine_on_a_gpu_is_an_error(arms: MuscleModel):
    with pytest.raises(ConfigError, match="runs on the CPU, not on cuda"):
        make_engine("native", arms, 1, "cuda")


def test_auto_is_native_on_the_cpu(arms: MuscleModel):
    assert isinstance(make_engine("auto", arms, 1), NativeEngine)
