"""NativeEngine: MuJoCo's own thread pool (`mujoco.batch`), the default without a GPU."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Generator

import mujoco
import numpy as np
import torch
from mujoco.batch import Batch

from musclewarp.engines.engine import DERIVED, Engine
from musclewarp.errors import ConfigError, SimulationError
from musclewarp.models import MuscleModel

_VEL = mujoco.mjtStage.mjSTAGE_VEL.value
_ACC = mujoco.mjtStage.mjSTAGE_ACC.value
# A C function that takes a string and has no effect: MuJoCo calls it, from its threads, in place of writing to the
# terminal and to MUJOCO_LOG.TXT. Warnings are counted per world in `Batch.warning` and read after every step.
_IGNORE = ctypes.CDLL(None).strlen


class NativeEngine(Engine):
    """N worlds in float64 on C threads.

    Args:
        model: what to simulate.
        num_worlds: N, from one to thousands; each keeps an `MjData` of `model.mj_model.narena` bytes at most.
        num_threads: threads, 0 for the cores this process may use, divided by LOCAL_WORLD_SIZE.
    """

    def __init__(self, model: MuscleModel, num_worlds: int, num_threads: int = 0) -> None:
        if num_worlds < 1:
            raise ConfigError(f"num_worlds is {num_worlds}; an engine needs at least one world")
        self.model = model
        self.num_worlds = num_worlds
        self.device = torch.device("cpu")
        self.dtype = torch.float64
        # persistent: the stages computed after a step are where the next one continues, so that they are free
        self._batch = batch = Batch(model.mj_model, num_worlds, num_threads or available_threads(), persistent=True)
        self.qpos, self.qvel, self.act, self.ctrl, self.qacc_warmstart = (
            torch.from_numpy(batch.bind(name)) for name in ("qpos", "qvel", "act", "ctrl", "qacc_warmstart")
        )
        self.derived = {name: _live_tensor(batch.bind(name)) for name in DERIVED}
        self._state = torch.from_numpy(batch.state)
        self._warnings = torch.from_numpy(batch.warning)[:, :, 1]
        with _silent_mujoco():
            batch.reset()

    def step(self) -> None:
        """See `Engine.step`."""
        with _silent_mujoco():
            self._batch.step(nstep=self.model.physics.substeps, stage=_VEL)

    def reset(self, mask: torch.Tensor, qpos: torch.Tensor, qvel: torch.Tensor, act: torch.Tensor) -> None:
        """See `Engine.reset`; it costs what the worlds in the mask cost."""
        ids = mask.nonzero().squeeze(-1)
        if not len(ids):
            return
        for live, value in ((self.qpos, qpos), (self.qvel, qvel), (self.act, act)):
            live[ids] = value[ids].to(self.dtype)
        self.ctrl[ids] = 0.0
        self.qacc_warmstart[ids] = 0.0
        self._warnings[ids] = 0
        with _silent_mujoco():
            self._batch.forward(ids.numpy(), stage=_ACC)

    def unhealthy(self) -> torch.Tensor:
        """See `Engine.unhealthy`; a warning of MuJoCo counts, whatever its kind."""
        # a sum is finite only if every term is: one pass, no temporary
        return ~torch.isfinite(self._state.sum(dim=1)) | (self._warnings.sum(dim=1) > 0)

    def warnings(self) -> dict[str, int]:
        """Number of worlds with each of MuJoCo's warnings since their reset, without the zeros."""
        counts = (self._warnings > 0).sum(dim=0).tolist()
        names = [warning.name.removeprefix("mjWARN_") for warning in list(mujoco.mjtWarning.__members__.values())]
        return {name: count for name, count in zip(names, counts, strict=False) if count}


def available_threads() -> int:
    """Cores for one rank: those this process may run on, shared by the ranks of this node."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on every platform
        cores = os.cpu_count() or 1
    return max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def _live_tensor(array: np.ndarray) -> torch.Tensor:
    """A tensor over a read-only output of the batch; engines never write derived quantities."""
    pointer = ctypes.cast(array.ctypes.data, ctypes.POINTER(ctypes.c_double))
    tensor = torch.from_numpy(np.ctypeslib.as_array(pointer, shape=array.shape))
    if tensor.data_ptr() != array.ctypes.data:
        raise SimulationError("a derived field of mujoco.batch cannot be shared; report this with your versions")
    return tensor


@contextlib.contextmanager
def _silent_mujoco() -> Generator[None, None, None]:
    previous = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(_IGNORE)
    try:
        yield
    finally:
        mujoco.set_mju_user_warning(previous)
