"""The model that engines step: without what is only looked at, and bit for bit the same movement.

Published models carry bones' meshes, markers of wraps and the attachment sites of muscles that are long gone. Every
physics step computes where all of them are, although nothing depends on it.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET

import mujoco
import numpy as np

from musclewarp.errors import ModelError

_NAMES = ("site", "sidesite", "site1", "site2", "refsite", "cranksite", "slidersite")
_DERIVED = ("bvh_child", "bvh_depth", "bvh_nodeid", "geom_sameframe", "body_sameframe", "body_simple")
_SIDE_SITES = (mujoco.mjtWrap.mjWRAP_SPHERE.value, mujoco.mjtWrap.mjWRAP_CYLINDER.value)


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
        for site in [site for site in parent.findall("site") if not site.get("name") or site.get("name") not in named]:
            parent.remove(site)
    model = mujoco.MjModel.from_xml_string(ET.tostring(root, encoding="unicode"))
    kept = [exact.site(model.site(i).name).id for i in range(model.nsite)]
    _copy_numbers(exact, model, np.array(kept, dtype=int))
    return model


def _copy_numbers(exact: mujoco.MjModel, model: mujoco.MjModel, sites: np.ndarray) -> None:
    """All digits of what `model`, which has only these `sites` of `exact`, was given to six.

    Raises:
        ModelError: six digits were too few for what MuJoCo derives from them, as a tree of boxes.
    """
    for field in dir(exact):
        value = getattr(exact, field)
        if isinstance(value, np.ndarray) and value.dtype.kind == "f" and field != "wrap_prm":
            getattr(model, field)[:] = value[sites] if field.startswith("site_") else value
    for field in _DERIVED:
        if not np.array_equal(getattr(model, field), getattr(exact, field)):
            raise ModelError(
                f"`{field}` of the model without looks is not that of the whole; report this model, please"
            )
    shared = ~np.isin(exact.wrap_type, _SIDE_SITES)  # elsewhere it is the id of a site
    model.wrap_prm[shared] = exact.wrap_prm[shared]
    for part in ("opt", "stat"):
        theirs, ours = getattr(exact, part), getattr(model, part)
        for field in (name for name in dir(theirs) if not name.startswith("_")):
            value = getattr(theirs, field)
            if isinstance(value, np.ndarray):
                getattr(ours, field)[:] = value
            elif not callable(value):
                setattr(ours, field, value)
