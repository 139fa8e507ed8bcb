"""The model that engines step: without what is only looked at, and bit for bit the same movement.

Published models carry bones' meshes, markers of wraps and the attachment sites of muscles that are long gone. Every
physics step computes where all of them are, although nothing depends on it.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET

import mujoco
import numpy as np

_NAMES = ("site", "sidesite", "site1", "site2", "refsite", "cranksite", "slidersite")
_SITE_IDS = "wrap_prm"  # floats, but the ids of side sites are among them


def without_looks(spec: mujoco.MjSpec) -> mujoco.MjModel:
    """The compiled `spec` without the geoms and sites that nothing in the physics or the sensors refers to.

    Bodies, joints, tendons, actuators and sensors keep their ids, and every number of the physics its value. Geoms and
    sites are numbered anew.

    Args:
        spec: the whole person; it loses its looks.
    """
    spec.compiler.discardvisual = True
    exact = spec.compile()
    # MuJoCo discards no sites, and deleting one takes milliseconds: leave them out of the XML
    root = ET.fromstring(spec.to_xml())
    named = {element.get(key) for element in root.iter() for key in _NAMES}
    named |= {sensor.get(key) for sensor in root.findall("sensor/*") for key in ("objname", "refname")}
    for parent in list(root.iter("body")) + root.findall("worldbody"):
        for site in [site for site in parent.findall("site") if site.get("name") not in named]:
            parent.remove(site)
    model = mujoco.MjModel.from_xml_string(ET.tostring(root, encoding="unicode"))
    kept = [exact.site(model.site(i).name).id for i in range(model.nsite)]
    _copy_numbers(exact, model, np.array(kept, dtype=int))
    return model


def _copy_numbers(exact: mujoco.MjModel, model: mujoco.MjModel, sites: np.ndarray) -> None:
    """All digits of what `model`, which has only some of the `sites` of `exact`, was given to six."""
    for field in dir(exact):
        value = getattr(exact, field)
        if isinstance(value, np.ndarray) and value.dtype.kind == "f" and field != _SITE_IDS:
            getattr(model, field)[:] = value[sites] if field.startswith("site_") else value
    for field in dir(exact.opt):
        if not field.startswith("_"):
            value = getattr(exact.opt, field)
            if isinstance(value, np.ndarray):
                getattr(model.opt, field)[:] = value
            else:
                setattr(model.opt, field, value)
