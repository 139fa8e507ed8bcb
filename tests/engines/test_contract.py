"""What every engine promises, see `musclewarp.engines.engine`."""

from __future__ import annotations

from collections.abc import Callable

import mujoco
import numpy as np
import pytest
import torch

from musclewarp.engines import Engine, make_engine
from musclewarp.engines.engine import DERIVED
from musclewarp.errors import ConfigError
from musclewarp.models import MuscleModel

pytestmark = pytest.mark.xdist_group("warp")

LIVE = ("qpos", "qvel", "act", "ctrl", "xfrc_applied", "qacc_warmstart")
TOLERANCE = {torch.float64: 1e-9, torch.float32: 2e-5}


@pytest.fixture(params=["native", "warp"])
def engine(request: pytest.FixtureRequest, build: Callable[[str, str], Engine]) -> Engine:
    return build(request.param, "arms")


@pytest.fixture(params=["native", "warp"])
def standing(request: pytest.FixtureRequest, build: Callable[[str, str], Engine]) -> Engine:
    return build(request.param, "body")


def mask_of(engine: Engine, *worlds: int) -> torch.Tensor:
    mask = torch.zeros(engine.num_worlds, dtype=torch.bool, device=engine.device)
    mask[list(worlds)] = True
    return mask


def tensors(engine: Engine) -> dict[str, torch.Tensor]:
    return {name: getattr(engine, name) for name in LIVE} | dict(engine.derived)


def snapshot(engine: Engine) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in tensors(engine).items()}


def mujoco_at(engine: Engine, world: int) -> mujoco.MjData:
    """MuJoCo's own data at the state of one world, forwarded."""
    data = mujoco.MjData(engine.model.mj_model)
    for name in LIVE:
        getattr(data, name)[:] = getattr(engine, name)[world].double().numpy()
    mujoco.mj_forward(engine.model.mj_model, data)
    return data


def test_initial_state_is_the_default_posture_with_derived_quantities(arms: MuscleModel, engine: Engine):
    fresh = make_engine("native" if engine.dtype == torch.float64 else "warp", arms, 1)
    np.testing.assert_allclose(fresh.qpos[0], arms.mj_model.qpos0, atol=1e-6)
    length = mujoco_at(fresh, 0).actuator_length
    np.testing.assert_allclose(fresh.derived["actuator_length"][0], length, atol=TOLERANCE[fresh.dtype])
    assert not fresh.unhealthy().any()


def test_live_tensors_keep_address_shape_and_dtype(engine: Engine, drive: Callable[..., None]):
    before = {name: tensor.data_ptr() for name, tensor in tensors(engine).items()}
    drive(engine, 2)
    engine.reset(mask_of(engine, 1), engine.qpos, engine.qvel, engine.act)
    drive(engine, 1)
    assert {name: tensor.data_ptr() for name, tensor in tensors(engine).items()} == before
    m = engine.model.mj_model
    assert engine.qpos.shape == (engine.num_worlds, m.nq)
    assert engine.qvel.shape == engine.qacc_warmstart.shape == (engine.num_worlds, m.nv)
    assert engine.ctrl.shape == engine.act.shape == engine.derived["actuator_force"].shape
    assert all(tensor.dtype == engine.dtype and tensor.device == engine.device for tensor in tensors(engine).values())


def test_state_written_through_a_live_tensor_is_stepped_from(engine: Engine):
    engine.act[2] = 1.0
    engine.step()
    # a fully active muscle under no excitation relaxes, the others stay at rest
    assert (engine.act[2] > 0.1).all()
    assert (engine.act[0] < 1e-3).all()


def test_a_step_advances_by_the_control_step(engine: Engine):
    """At rest and unexcited, activation decays at the rate of its ODE over one control step."""
    engine.act.fill_(0.5)
    data = mujoco_at(engine, 0)
    for _ in range(engine.model.physics.substeps):
        mujoco.mj_step(engine.model.mj_model, data)
    engine.step()
    np.testing.assert_allclose(engine.act[0], data.act, atol=1e-6)
    np.testing.assert_allclose(engine.qpos[0], data.qpos, atol=10 * TOLERANCE[engine.dtype])


def test_excitations_outside_the_unit_interval_act_like_its_ends(engine: Engine):
    engine.ctrl[0], engine.ctrl[1], engine.ctrl[2], engine.ctrl[3] = -3.0, 0.0, 5.0, 1.0
    engine.step()
    assert torch.equal(engine.act[0], engine.act[1])
    assert torch.equal(engine.act[2], engine.act[3])
    assert (engine.act[3] > engine.act[1]).all()


def test_positions_and_lengths_belong_to_the_new_state(engine: Engine, drive: Callable[..., None]):
    drive(engine, 3)
    data, tolerance = mujoco_at(engine, 1), TOLERANCE[engine.dtype]
    for site, site_id in zip(engine.model.sites, engine.model.site_ids, strict=True):
        np.testing.assert_allclose(engine.sensor(f"{site}_pos")[1], data.site_xpos[site_id], atol=tolerance)
        velocity = data.sensordata[engine.model.sensor_slice(f"{site}_linvel")]
        np.testing.assert_allclose(engine.sensor(f"{site}_linvel")[1], velocity, atol=10 * tolerance)
    np.testing.assert_allclose(engine.derived["actuator_length"][1], data.actuator_length, atol=tolerance)
    np.testing.assert_allclose(engine.derived["actuator_velocity"][1], data.actuator_velocity, atol=10 * tolerance)


def test_forces_belong_to_the_last_substep(engine: Engine, drive: Callable[..., None]):
    drive(engine, 2)
    data = mujoco_at(engine, 0)
    excitation = torch.full_like(engine.ctrl, 0.8)
    data.ctrl[:] = 0.8
    for _ in range(engine.model.physics.substeps):
        mujoco.mj_forward(engine.model.mj_model, data)
        force = data.actuator_force.copy()
        mujoco.mj_step(engine.model.mj_model, data)
    engine.ctrl.copy_(excitation)
    engine.step()
    peak = engine.model.muscles["peak_force"].to_numpy()
    np.testing.assert_allclose(engine.derived["actuator_force"][0].numpy() / peak, force / peak, atol=1e-3)
    mujoco.mj_forward(engine.model.mj_model, data)
    assert np.abs((data.actuator_force - force) / peak).max() > 5e-3, "the test cannot tell the two instants apart"


def test_partial_reset_leaves_other_worlds_bitwise_alone(engine: Engine, drive: Callable[..., None]):
    drive(engine, 3)
    before = snapshot(engine)
    poison = [torch.full_like(tensor, torch.nan) for tensor in (engine.qpos, engine.qvel, engine.act)]
    for tensor, value in zip(poison, (before["qpos"][0], 0.0, 0.25), strict=True):
        tensor[2] = value
    engine.reset(mask_of(engine, 2), *poison)
    others = [0, 1, 3]
    for name, tensor in tensors(engine).items():
        assert torch.equal(tensor[others], before[name][others]), f"{name} of an unmasked world changed"
    assert torch.equal(engine.qpos[2], before["qpos"][0])
    assert (engine.act[2] == 0.25).all()
    assert (engine.qvel[2] == 0).all()
    assert (engine.ctrl[2] == 0).all()
    assert (engine.qacc_warmstart[2] == 0).all()


def test_partial_reset_leaves_the_future_of_other_worlds_bitwise_alone(engine: Engine, drive: Callable[..., None]):
    drive(engine, 3)
    start = snapshot(engine)
    drive(engine, 3, seed=1)
    undisturbed = snapshot(engine)
    everyone = mask_of(engine, 0, 1, 2, 3)
    engine.reset(everyone, start["qpos"], start["qvel"], start["act"])
    engine.qacc_warmstart.copy_(start["qacc_warmstart"])
    engine.reset(mask_of(engine, 1), undisturbed["qpos"], undisturbed["qvel"], undisturbed["act"])
    drive(engine, 3, seed=1)
    for name in ("qpos", "qvel", "act"):
        assert torch.equal(getattr(engine, name)[[0, 2, 3]], undisturbed[name][[0, 2, 3]]), name


def test_derived_quantities_of_a_reset_world_belong_to_its_new_state(engine: Engine, drive: Callable[..., None]):
    drive(engine, 3)
    qpos, qvel, act = engine.qpos.clone(), 0.5 * engine.qvel, torch.full_like(engine.act, 0.3)
    drive(engine, 3, seed=2)
    engine.reset(mask_of(engine, 0, 3), qpos, qvel, act)
    data, tolerance = mujoco_at(engine, 3), TOLERANCE[engine.dtype]
    for name in ("actuator_length", "actuator_velocity"):
        np.testing.assert_allclose(engine.derived[name][3], getattr(data, name), atol=tolerance)
    peak = engine.model.muscles["peak_force"].to_numpy()
    np.testing.assert_allclose(
        engine.derived["actuator_force"][3].numpy() / peak, data.actuator_force / peak, atol=1e-4
    )
    position = data.sensordata[engine.model.sensor_slice("right_hand_pos")]
    np.testing.assert_allclose(engine.sensor("right_hand_pos")[3], position, atol=tolerance)


def test_reset_of_nobody_changes_nothing(engine: Engine, drive: Callable[..., None]):
    drive(engine, 2)
    before = snapshot(engine)
    poison = (torch.full_like(tensor, torch.nan) for tensor in (engine.qpos, engine.qvel, engine.act))
    engine.reset(mask_of(engine), *poison)
    assert all(torch.equal(tensor, before[name]) for name, tensor in tensors(engine).items())


def test_a_world_of_nan_is_reported_does_not_heal_and_disturbs_nobody(engine: Engine, drive: Callable[..., None]):
    drive(engine, 3, seed=3)
    undisturbed = snapshot(engine)
    everyone = mask_of(engine, 0, 1, 2, 3)
    start = torch.as_tensor(engine.model.mj_model.qpos0.copy()).expand(engine.num_worlds, -1)
    zeros = torch.zeros_like
    engine.reset(everyone, start, zeros(engine.qvel), zeros(engine.act))
    engine.qvel[1, 7] = torch.nan
    drive(engine, 3, seed=3)
    assert engine.unhealthy().tolist() == [False, True, False, False]
    assert not torch.isfinite(engine.qpos[1]).all()
    for name in ("qpos", "qvel", "act"):
        assert torch.equal(getattr(engine, name)[[0, 2, 3]], undisturbed[name][[0, 2, 3]]), name


def test_reset_makes_an_unhealthy_world_as_good_as_new(engine: Engine, drive: Callable[..., None]):
    drive(engine, 2)
    fresh = snapshot(engine)
    engine.qpos[1, 5] = torch.inf
    engine.act[1] = torch.nan
    engine.step()
    assert engine.unhealthy()[1]
    start = torch.as_tensor(engine.model.mj_model.qpos0.copy()).expand(engine.num_worlds, -1)
    zeros = torch.zeros_like
    engine.reset(mask_of(engine, 1), start, zeros(engine.qvel), zeros(engine.act))
    assert not engine.unhealthy().any()
    drive(engine, 2)
    assert torch.equal(engine.qpos[1], fresh["qpos"][1])
    assert torch.equal(engine.derived["actuator_force"][1], fresh["actuator_force"][1])


def test_foot_forces_equal_the_sum_of_mujocos_contact_forces(standing: Engine):
    """Independent truth: `mj_contactForce` of every contact of either foot in the last substep, on the floor."""
    model, m = standing.model, standing.model.mj_model
    data = mujoco_at(standing, 0)
    for _ in range(20):
        for _ in range(model.physics.substeps):
            mujoco.mj_forward(m, data)
            truth = floor_force(model, data)
            mujoco.mj_step(m, data)
        standing.step()
    feet = standing.sensor("foot_right")[0, 1:4] + standing.sensor("foot_left")[0, 1:4]
    weight = m.body_mass.sum() * 9.81
    np.testing.assert_allclose(feet.numpy() / weight, truth / weight, atol=2e-3)
    assert -truth[2] > 0.2 * weight, "the body pushes the floor down"
    assert standing.sensor("floor")[0, 0] == standing.sensor("foot_right")[0, 0] + standing.sensor("foot_left")[0, 0]


def floor_force(model: MuscleModel, data: mujoco.MjData) -> np.ndarray:
    """World-frame force on the floor from all contacts, N."""
    floor = model.mj_model.geom("floor").id
    total, wrench = np.zeros(3), np.zeros(6)
    for i, contact in enumerate(data.contact):
        if floor in contact.geom:
            mujoco.mj_contactForce(model.mj_model, data, i, wrench)
            # the wrench is what the first geom does to the second
            sign = 1.0 if contact.geom[1] == floor else -1.0
            total += sign * contact.frame.reshape(3, 3).T @ wrench[:3]
    return total


def test_a_body_in_the_air_has_no_contact(standing: Engine):
    for _ in range(5):
        standing.step()  # down onto the floor
    qpos = standing.qpos.clone()
    qpos[:, 2] += 1.0
    standing.reset(mask_of(standing, 0, 1), qpos, standing.qvel, standing.act)
    assert (standing.sensor("floor")[:2] == 0).all()
    standing.step()
    assert (standing.sensor("floor")[:2] == 0).all()
    assert (standing.sensor("floor")[2:, 0] > 0).all()


def test_a_force_from_outside_changes_the_momentum_of_a_body_in_the_air_by_its_impulse(standing: Engine):
    m, physics, steps = standing.model.mj_model, standing.model.physics, 10
    qpos = standing.qpos.clone()
    qpos[:, 2] += 1.0
    standing.reset(mask_of(standing, 0, 1, 2, 3), qpos, standing.qvel, standing.act)
    force, pelvis = torch.tensor([80.0, -60.0, 0.0]), m.body("pelvis").id
    standing.xfrc_applied[1, pelvis, :3] = force.to(standing.dtype)
    for _ in range(steps):
        standing.step()
    gained = momentum(standing, 1) - momentum(standing, 0)
    np.testing.assert_allclose(gained, force * steps * physics.control_dt, atol=0.02 * 100 * steps * physics.control_dt)
    assert torch.equal(standing.qvel[2], standing.qvel[0])
    standing.reset(mask_of(standing, 1), qpos, standing.qvel, standing.act)
    assert not standing.xfrc_applied.any()


def momentum(engine: Engine, world: int) -> np.ndarray:
    """Of all bodies of a world together, Ns, by MuJoCo."""
    data = mujoco_at(engine, world)
    mujoco.mj_subtreeVel(engine.model.mj_model, data)
    return engine.model.mj_model.body_subtreemass[0] * data.subtree_linvel[0]


@pytest.mark.parametrize("kind", ["native", "warp"])
def test_no_worlds_is_an_error(arms: MuscleModel, kind: str):
    with pytest.raises(ConfigError, match="at least one world"):
        make_engine(kind, arms, 0)


def test_unknown_engine_names_the_choices(arms: MuscleModel):
    with pytest.raises(ConfigError, match="unknown engine 'mjx'; choose one of auto, native, warp"):
        make_engine("mjx", arms, 1)


def test_derived_quantities_are_the_declared_ones(engine: Engine):
    assert tuple(engine.derived) == DERIVED
