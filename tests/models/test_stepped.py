"""The model that engines step is the whole one but for its looks."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
import torch

from musclewarp.engines import NativeEngine
from musclewarp.models import MuscleModel, PhysicsConfig, load_model
from musclewarp.models.stepped import without_looks


@pytest.fixture(scope="module", params=["bimanual", "myofullbody"])
def model(request) -> MuscleModel:
    return load_model(request.param, physics=PhysicsConfig(0.005, 2))


def test_what_is_only_looked_at_is_gone(model):
    whole, stepped = model.mj_model, model.stepped
    assert stepped.ngeom < 0.5 * whole.ngeom
    assert stepped.nsite < 0.7 * whole.nsite
    assert stepped.nmesh == 0
    assert stepped.nbuffer < 0.1 * whole.nbuffer


def test_every_number_of_the_physics_is_the_same_bit_for_bit(model):
    numbered_anew = {"pair_geom1", "pair_geom2", "wrap_objid", "wrap_prm", "sensor_objid", "sensor_refid"}
    of_geoms = {"body_geomadr", "body_geomnum", "body_margin", "dof_length"}  # the last: when a body may sleep
    parts = ("body_", "jnt_", "dof_", "eq_", "tendon_", "actuator_", "sensor_", "pair_", "qpos", "exclude_", "wrap_")
    compared = 0
    for field in dir(model.mj_model):
        expected = getattr(model.mj_model, field)
        if field.startswith(parts) and field not in numbered_anew | of_geoms and isinstance(expected, np.ndarray):
            np.testing.assert_array_equal(getattr(model.stepped, field), expected, err_msg=field)
            compared += 1
    assert compared > 100


def test_worlds_move_and_sense_the_same_bit_for_bit(model):
    """Contacts, wraps with a side site, contact sensors: everything that refers to a geom or a site by its id."""
    engines = [NativeEngine(model, 3, skip_looks=skip) for skip in (True, False)]
    generator = torch.Generator().manual_seed(0)
    qpos = engines[0].qpos.clone()
    if model.has_free_root:
        qpos[:, 2] -= torch.tensor([0.0, 0.02, 0.3])  # on its feet, in the floor, and falling onto it with bent knees
        qpos[2, 3:7] = torch.tensor([0.5, 0.5, -0.5, 0.5])
    for engine in engines:
        zeros = torch.zeros_like
        engine.reset(torch.ones(3, dtype=torch.bool), qpos, zeros(engine.qvel), zeros(engine.act))
    for step in range(30):
        excitation = torch.rand(engines[0].ctrl.shape, generator=generator, dtype=torch.float64) ** 3
        for engine in engines:
            engine.ctrl.copy_(excitation)
            engine.step()
        ours, whole = engines
        for name in ("qpos", "qvel", "act", "qacc_warmstart"):
            assert torch.equal(getattr(ours, name), getattr(whole, name)), (name, step)
        for name, value in ours.derived.items():
            assert torch.equal(value, whole.derived[name]), (name, step)


REFERRED = """
<mujoco>
  <worldbody>
    <geom name="floor" type="plane" size="1 1 1"/>
    <geom name="sign" type="box" size=".1 .1 .1" contype="0" conaffinity="0"/>
    <site name="fixed"/> <site name="side" pos=".3 0 .5"/> <site name="nobodys"/>
    <body name="arm" pos="0 0 1">
      <freejoint/>
      <geom name="bone" type="capsule" size=".1 .3" mass="2"/>
      <geom name="paint" type="sphere" size=".2" mass="1" contype="0" conaffinity="0"/>
      <geom name="wrap" type="cylinder" size=".05 .2" mass="0" contype="0" conaffinity="0"/>
      <geom name="paired" type="sphere" size=".05" mass="0" contype="0" conaffinity="0"/>
      <site name="end" pos="0 0 -.3"/> <site name="welded" pos=".1 0 0"/> <site name="jet"/> <site name="seen"/>
      <site pos=".2 0 0"/>
    </body>
    <body name="other" pos="1 0 1"><freejoint/><geom size=".1"/><site name="partner"/>
      <body pos=".3 0 0"><joint name="hinge"/><geom size=".0512345678" pos=".0123456789 0 0"/></body></body>
  </worldbody>
  <contact><pair geom1="paired" geom2="floor"/></contact>
  <tendon>
    <fixed name="f"><joint joint="hinge" coef="0.12345678901"/></fixed>
    <spatial name="t"><site site="fixed"/><geom geom="wrap" sidesite="side"/><site site="end"/></spatial></tendon>
  <equality><connect site1="welded" site2="partner"/></equality>
  <actuator><motor tendon="t"/><motor tendon="f"/><general site="jet" gear="1 0 0 0 0 0"/></actuator>
  <sensor><framepos objtype="site" objname="seen"/><distance geom1="bone" geom2="floor" cutoff="1"/></sensor>
</mujoco>
"""


def test_whatever_something_refers_to_is_kept_and_inertia_of_what_goes_stays():
    spec = mujoco.MjSpec.from_string(REFERRED)
    whole = spec.compile()
    stepped = without_looks(spec)
    geoms, sites = (
        [getattr(stepped, kind)(i).name for i in range(n)]
        for kind, n in (("geom", stepped.ngeom), ("site", stepped.nsite))
    )
    np.testing.assert_array_equal(stepped.wrap_prm[stepped.wrap_type == mujoco.mjtWrap.mjWRAP_JOINT], [0.12345678901])
    assert stepped.stat.meaninertia == whole.stat.meaninertia
    assert set(geoms) == {"floor", "bone", "wrap", "paired", ""}
    assert set(sites) == {"fixed", "side", "end", "welded", "jet", "seen", "partner"}
    np.testing.assert_array_equal(stepped.body_mass, whole.body_mass)
    np.testing.assert_array_equal(stepped.body_inertia, whole.body_inertia)
    data = [mujoco.MjData(m) for m in (whole, stepped)]
    for m, d in zip((whole, stepped), data, strict=True):
        d.ctrl[:] = 3.0
        mujoco.mj_step(m, d, 200)
    np.testing.assert_array_equal(data[0].qpos, data[1].qpos)
    np.testing.assert_array_equal(data[0].sensordata, data[1].sensordata)
