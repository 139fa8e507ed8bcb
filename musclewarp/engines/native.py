"""NativeEngine: MuJoCo's own thread pool (`mujoco.batch`), the default without a GPU."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Collection, Generator

import mujoco
import numpy as np
import torch
from mujoco.batch import Batch

from musclewarp.engines.engine import DERIVED, INERTIAL, Engine, check_variable
from musclewarp.errors import ConfigError
from musclewarp.models import MuscleModel

_VEL = mujoco.mjtStage.mjSTAGE_VEL.value
_ACC = mujoco.mjtStage.mjSTAGE_ACC.value
# A C function that takes a string and has no effect: MuJoCo calls it, from its threads, in place of writing to the
# terminal and to MUJOCO_LOG.TXT. Warnings are counted per world in `Batch.warning` and read after every step.
_IGNORE = ctypes.CDLL(None).strlen


_WARNINGS = tuple(name for name in mujoco.mjtWarning.__members__ if name != "mjNWARNING")


class NativeEngine(Engine):
    """N worlds in float64 on C threads.

    Args:
        model: what to simulate.
        num_worlds: N, from one to thousands; each keeps an `MjData`, 0.43 MB for the arms, 1.07 MB for the full body.
        num_threads: threads, 0 for the cores this process may use, divided by LOCAL_WORLD_SIZE.
        varied: fields of the model in which worlds may differ, see `Engine.varied`.
        skip_looks: step `model.stepped`, without the geoms and sites that are only looked at.
    """

    name = "native"
    fault_kinds = (
        "not_finite",
        "out_of_memory",
        *(name.removeprefix("mjWARN_").lower() for name in _WARNINGS),
        "unconverged",
    )

    def __init__(
        self,
        model: MuscleModel,
        num_worlds: int,
        num_threads: int = 0,
        varied: Collection[str] = (),
        skip_looks: bool = True,
    ) -> None:
        if num_worlds < 1:
            raise ConfigError(f"num_worlds is {num_worlds}; an engine needs at least one world")
        self.model = model
        self.num_worlds = num_worlds
        self.device = torch.device("cpu")
        self.dtype = torch.float64
        # persistent: the stages computed after a step are where the next one continues, so that they are free
        mj_model = model.stepped if skip_looks else model.mj_model
        self._batch = batch = Batch(mj_model, num_worlds, num_threads or available_threads(), persistent=True)
        self.qpos, self.qvel, self.act, self.ctrl, self.xfrc_applied, self.qacc_warmstart = (
            torch.from_numpy(batch.bind(name))
            for name in ("qpos", "qvel", "act", "ctrl", "xfrc_applied", "qacc_warmstart")
        )
        self.derived = {name: _live_tensor(batch.bind(name)) for name in DERIVED}
        self.varied = {name: torch.from_numpy(batch.expand(name)) for name in check_variable(varied)}
        self._inertia_varies = not self.varied.keys().isdisjoint(INERTIAL)
        self._state = torch.from_numpy(batch.state)
        self._warnings = torch.from_numpy(batch.warning)[:, :, 1]
        self._iterations = _live_tensor(batch.bind("solver_niter"))
        self._exhausted = torch.zeros(num_worlds, dtype=torch.bool)
        self._numpy = {
            "state": batch.state,
            "warning": batch.warning,
            "solver_niter": batch.bind("solver_niter"),
            "exhausted": self._exhausted.numpy(),
        }
        with _silent_mujoco():
            batch.reset()

    def step(self) -> None:
        """See `Engine.step`."""
        with self._keeping_the_sound():
            self._batch.step(nstep=self.model.physics.substeps, stage=_VEL)

    def reset(self, mask: torch.Tensor, qpos: torch.Tensor, qvel: torch.Tensor, act: torch.Tensor) -> None:
        """See `Engine.reset`; it costs what the worlds in the mask cost."""
        ids = mask.nonzero().squeeze(-1)
        if not len(ids):
            return
        for live, value in ((self.qpos, qpos), (self.qvel, qvel), (self.act, act)):
            live[ids] = value[ids].to(self.dtype)
        for live in (self.ctrl, self.xfrc_applied, self.qacc_warmstart):
            live[ids] = 0.0
        self._warnings[ids] = 0
        self._exhausted[ids] = False
        with self._keeping_the_sound():
            if self._inertia_varies:
                self._batch.set_const(ids.numpy())
            self._batch.forward(ids.numpy(), stage=_ACC)

    def derive(self, name: str) -> torch.Tensor:
        """See `Engine.derive`; it is copied out of every world after every call."""
        return _live_tensor(self._batch.bind(name))

    @contextlib.contextmanager
    def _keeping_the_sound(self) -> Generator[None, None, None]:
        """One world that runs out of memory is a fault of that world; the batch has stepped the others."""
        with _silent_mujoco():
            try:
                yield
            except mujoco.batch.SimulationError as error:
                self._exhausted[list(error.ids)] = True

    def is_sound(self) -> bool:
        """See `Engine.is_sound`; a few reductions in NumPy instead of a dozen small tensors."""
        limit = self.model.mj_model.opt.iterations
        with np.errstate(invalid="ignore", over="ignore"):
            total = self._numpy["state"].sum()
        return bool(
            np.isfinite(total)
            and not self._numpy["warning"][:, :, 1].any()
            and self._numpy["solver_niter"].max() < limit
            and not self._numpy["exhausted"].any()
        )

    def faults(self) -> torch.Tensor:
        """See `Engine.faults`; every warning of MuJoCo counts."""
        # a sum is finite only if every term is: one pass, no temporary
        finite = torch.isfinite(self._state.sum(dim=1, keepdim=True))
        unconverged = self._iterations.sum(dim=1, keepdim=True) >= self.model.mj_model.opt.iterations
        return torch.cat((~finite, self._exhausted[:, None], self._warnings > 0, unconverged), dim=1)


def available_threads() -> int:
    """Cores for one rank: those this process may run on, shared by the ranks of this node."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on every platform
        cores = os.cpu_count() or 1
    return max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def _live_tensor(array: np.ndarray) -> torch.Tensor:
    """A tensor over a read-only output of the batch, which it keeps alive; engines never write derived quantities."""
    buffer = (ctypes.c_char * array.nbytes).from_address(array.ctypes.data)
    buffer._owner = array  # pyright: ignore[reportAttributeAccessIssue] (numpy keeps the buffer, the buffer keeps the array)
    return torch.from_numpy(np.frombuffer(memoryview(buffer), array.dtype).reshape(array.shape))


@contextlib.contextmanager
def _silent_mujoco() -> Generator[None, None, None]:
    previous = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(_IGNORE)
    try:
        yield
    finally:
        mujoco.set_mju_user_warning(previous)
