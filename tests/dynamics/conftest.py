"""Small machines whose moments are known by hand."""

from __future__ import annotations

import mujoco
import pytest

from musclewarp.models.model import Layout, MuscleModel, PhysicsConfig

TWO_LINKS = """
<mujoco>
  <compiler angle="radian"/>
  <worldbody>
    <geom name="floor" type="plane" size="1 1 1"/>
    <body name="upper" pos="0 0 3">
      <joint name="shoulder" axis="0 1 0" damping="0.3" armature="0.02"/>
      <inertial pos="0 0 -0.4" mass="2" diaginertia="0.05 0.05 0.05"/>
      <site name="origin" pos="0.05 0 -0.1"/>
      <body name="lower" pos="0 0 -1">
        <joint name="elbow" axis="0 1 0" stiffness="0.7"/>
        <inertial pos="0 0 -0.3" mass="1.5" diaginertia="0.03 0.03 0.03"/>
        <site name="insertion" pos="0.05 0 -0.1"/>
      </body>
    </body>
  </worldbody>
  <tendon><spatial name="bend"><site site="origin"/><site site="insertion"/></spatial></tendon>
  <actuator><muscle name="bend" tendon="bend" force="500" lengthrange="0.5 1.1"/></actuator>
</mujoco>
"""


def build(xml: str) -> MuscleModel:
    """A model of `xml`, whose body "upper" is the root."""
    spec = mujoco.MjSpec.from_string(xml)
    return MuscleModel("test", spec, Layout({"root": "upper"}, {}, "floor", 2**20, ()), PhysicsConfig())


@pytest.fixture(scope="session")
def links() -> MuscleModel:
    """Two links that swing in the x-z plane, and one muscle across the elbow."""
    return build(TWO_LINKS)
