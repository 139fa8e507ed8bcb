"""Bare stepping: the simulator's plain step in its own defaults, which the framework is measured against."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from mujoco.batch import Batch

from musclewarp.engines import Engine, NativeEngine
from musclewarp.engines.native import available_threads

STATE = ("qpos", "qvel", "act", "qacc_warmstart")


class Bare(ABC):
    """The simulator alone, with the same model, options, substeps, worlds and threads as an engine."""

    @abstractmethod
    def load(self, state: Mapping[str, torch.Tensor]) -> None:
        """Start from `state`, by MuJoCo's names."""

    @abstractmethod
    def step(self, ctrl: torch.Tensor) -> None:
        """One control step of all worlds under excitations `ctrl (N, nu)`."""


def make_bare(engine: Engine) -> Bare:
    """Bare stepping beside `engine`."""
    return _BareBatch(engine) if isinstance(engine, NativeEngine) else _bare_warp(engine)


class _BareBatch(Bare):
    def __init__(self, engine: Engine) -> None:
        self._batch = Batch(engine.model.mj_model, engine.num_worlds, available_threads())
        self._batch.reset()
        self._substeps = engine.model.physics.substeps

    def load(self, state: Mapping[str, torch.Tensor]) -> None:
        for name in STATE:
            self._batch.bind(name)[:] = state[name].numpy()

    def step(self, ctrl: torch.Tensor) -> None:
        self._batch.bind("ctrl")[:] = ctrl.numpy()
        self._batch.step(nstep=self._substeps)


def _bare_warp(engine: Engine) -> Bare:
    import mujoco_warp as mjw  # here, for Warp takes seconds to import
    import warp as wp

    from musclewarp.engines.warp import WarpEngine, capture, for_warp

    assert isinstance(engine, WarpEngine)
    device = wp.device_from_torch(engine.device)

    class BareWarp(Bare):
        """`mujoco_warp.step` with its default flags, on CUDA a graph of one control step."""

        def __init__(self) -> None:
            mj_model = for_warp(engine.model.mj_model)
            with wp.ScopedDevice(device):
                self._m = mjw.put_model(mj_model)
                self._m.opt.warn_overflow = 0
                room = engine.buffers
                self._d = mjw.make_data(mj_model, engine.num_worlds, nconmax=room.contacts, njmax=room.rows)
            self._run = capture(self._program, engine.device)

        def _program(self) -> None:
            for _ in range(engine.model.physics.substeps):
                mjw.step(self._m, self._d)

        def load(self, state: Mapping[str, torch.Tensor]) -> None:
            for name in STATE:
                wp.to_torch(getattr(self._d, name)).copy_(state[name])

        def step(self, ctrl: torch.Tensor) -> None:
            wp.to_torch(self._d.ctrl).copy_(ctrl)
            self._run()

    return BareWarp()
