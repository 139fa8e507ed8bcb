"""How much room contacts and constraints need in mujoco_warp's buffers: measured, not guessed."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import mujoco
import mujoco_warp as mjw
import numpy as np

from musclewarp.models import MuscleModel

_MARGIN, _SPARE = 2, 16  # of what was seen
_FEW_WORLDS = 32
_THROW = 0.5  # s


@dataclass(frozen=True)
class Buffers:
    """Room per world.

    Attributes:
        contacts: pairs of geoms close to one, and contacts, whichever are more, on average; worlds share one buffer.
        rows: constraint rows.
    """

    contacts: int
    rows: int


def measure_buffers(
    m: mjw.Model, mj_model: mujoco.MjModel, model: MuscleModel, num_worlds: int, postures: np.ndarray | None = None
) -> Buffers:
    """Twice what a thrown body meets, or a reference's, and a little; few worlds have room for every pair.

    An overflow beyond that is never silent: of rows it makes its world unhealthy, of the contacts that all share, all.

    Args:
        m: `mj_model` on the device where it will be stepped.
        mj_model: what `m` was made from.
        model: the person.
        num_worlds: that share the contacts.
        postures: `(F, nq)` of the references that will be imitated.
    """
    seen = _thrown(model)
    if postures is not None:
        seen = np.concatenate((seen, postures))
    rows = _most_rows(model, seen)
    every_pair = len(m.nxn_geom_pair_filtered)
    data = mjw.make_data(mj_model, 1, nconmax=2 * every_pair + _SPARE, njmax=rows)
    contacts = 0
    for qpos in seen:
        data.qpos.assign(qpos[None].astype(np.float32))
        mjw.kinematics(m, data)
        mjw.collision(m, data)
        contacts = max(contacts, int(data.ncollision.numpy()[0]), int(data.nacon.numpy()[0]))
    if num_worlds < _FEW_WORLDS:  # where all may meet much at once
        contacts = max(contacts, every_pair)
    return Buffers(_MARGIN * contacts + _SPARE, _MARGIN * rows + _SPARE)


@functools.lru_cache(maxsize=8)
def _thrown(model: MuscleModel) -> np.ndarray:
    """Postures `(F, nq)` of a body that is thrown to the floor under random excitations. It takes under a second."""
    steps = int(np.ceil(_THROW / model.physics.timestep))
    seen = np.array(list(_throws(model, drops=8, steps=steps, every=max(1, steps // 10))))
    return seen[np.isfinite(seen).all(axis=1)]


def _throws(model: MuscleModel, drops: int, steps: int, every: int) -> Iterator[np.ndarray]:
    m, random = model.stepped, np.random.default_rng(0)
    data = mujoco.MjData(m)
    for _ in range(drops):
        mujoco.mj_resetData(m, data)
        if model.has_free_root:
            root = m.jnt_qposadr[np.flatnonzero(m.jnt_type == mujoco.mjtJoint.mjJNT_FREE)[0]]
            data.qpos[root + 2] *= random.uniform(0.3, 1.0)
            quaternion = random.normal(size=4)
            data.qpos[root + 3 : root + 7] = quaternion / np.linalg.norm(quaternion)
        for step in range(steps):
            if step % every == 0:
                yield data.qpos.copy()
                data.ctrl[:] = random.uniform(size=m.nu)
            mujoco.mj_step(m, data)
        yield data.qpos.copy()


def _most_rows(model: MuscleModel, postures: np.ndarray) -> int:
    """Constraint rows in the worst of `postures`, by MuJoCo C."""
    m = model.stepped
    data, rows = mujoco.MjData(m), 0
    for qpos in postures:
        data.qpos[:] = qpos
        mujoco.mj_fwdPosition(m, data)
        rows = max(rows, data.nefc)
    return rows
