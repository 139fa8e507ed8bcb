"""The model that engines step: without what is only looked at, and bit for bit the same movement.

Published models carry bones' meshes, wraps' markers and the attachment sites of muscles that are long gone. Every
physics step computes where all of them are, although nothing depends on it.
"""

from __future__ import annotations

import mujoco
import numpy as np

_SITE, _GEOM = mujoco.mjtObj.mjOBJ_SITE.value, mujoco.mjtObj.mjOBJ_GEOM.value
_WRAPPED = (mujoco.mjtWrap.mjWRAP_SPHERE.value, mujoco.mjtWrap.mjWRAP_CYLINDER.value)
_MOVED_SITES = (mujoco.mjtTrn.mjTRN_SITE.value, mujoco.mjtTrn.mjTRN_SLIDERCRANK.value)


def without_looks(spec: mujoco.MjSpec, compiled: mujoco.MjModel) -> mujoco.MjModel:
    """`compiled` again, without the geoms and sites that nothing in the physics or the sensors refers to.

    Bodies, joints, tendons, actuators and sensors keep their ids, and every number of the physics its value. Geoms and
    sites are numbered anew.

    Args:
        spec: what `compiled` was compiled from; it is used up.
        compiled: the whole model.
    """
    sites, geoms = _referred_sites(compiled), _referred_geoms(compiled)
    inertia = [
        (body, *(getattr(compiled, f"body_{name}")[body.id].copy() for name in ("mass", "ipos", "iquat", "inertia")))
        for body in spec.bodies
    ]
    for body, mass, position, quaternion, moments in inertia:  # no longer to be guessed from the geoms
        body.explicitinertial, body.fullinertia = True, [np.nan] * 6
        body.mass, body.ipos, body.iquat, body.inertia = mass, position, quaternion, moments
    for elements, kept in ((spec.sites, sites), (spec.geoms, geoms)):
        for element in [element for element in elements if element.id not in kept]:
            spec.delete(element)
    used = {geom.meshname for geom in spec.geoms}
    for mesh in [mesh for mesh in spec.meshes if mesh.name not in used]:
        spec.delete(mesh)
    return spec.compile()


def _referred_sites(m: mujoco.MjModel) -> set[int]:
    """Sites on the paths of tendons, of sensors, actuators and equalities."""
    through = m.wrap_objid[m.wrap_type == mujoco.mjtWrap.mjWRAP_SITE.value]
    beside = m.wrap_prm[np.isin(m.wrap_type, _WRAPPED)].astype(int)  # which side of a wrap a tendon takes; -1: either
    moved = m.actuator_trnid[np.isin(m.actuator_trntype, _MOVED_SITES)]
    return _ids(through, beside, moved, _sensed(m, _SITE), _equated(m, _SITE))


def _referred_geoms(m: mujoco.MjModel) -> set[int]:
    """Geoms that may touch something, that tendons wrap around, and those of sensors and equalities."""
    touching = np.flatnonzero((m.geom_contype != 0) | (m.geom_conaffinity != 0))
    wrapped = m.wrap_objid[np.isin(m.wrap_type, _WRAPPED)]
    return _ids(touching, wrapped, m.pair_geom1, m.pair_geom2, _sensed(m, _GEOM), _equated(m, _GEOM))


def _sensed(m: mujoco.MjModel, kind: int) -> np.ndarray:
    return np.concatenate((m.sensor_objid[m.sensor_objtype == kind], m.sensor_refid[m.sensor_reftype == kind]))


def _equated(m: mujoco.MjModel, kind: int) -> np.ndarray:
    of = m.eq_objtype == kind
    return np.concatenate((m.eq_obj1id[of], m.eq_obj2id[of]))


def _ids(*groups: np.ndarray) -> set[int]:
    return {int(index) for group in groups for index in np.ravel(group) if index >= 0}
