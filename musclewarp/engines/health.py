"""Worlds that go wrong: counted, dumped for replay, and never healed in silence."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from musclewarp.engines.engine import VARIABLE, Engine
from musclewarp.errors import FileError, SimulationError
from musclewarp.files import read_arrays, write_arrays
from musclewarp.models import MuscleModel

_KIND, _VERSION = "quarantined world", 1
_STATE = ("qpos", "qvel", "act", "qacc_warmstart", "ctrl")
_PUSH = "xfrc_applied"
_MAX_DUMPS = 5
_MIN_STEPS = 1000  # world-steps before a fraction means something


_REMEDIES = {
    "not_finite": "Try a smaller physics.timestep.",
    "badqpos": "Try a smaller physics.timestep.",
    "badqvel": "Try a smaller physics.timestep.",
    "badqacc": "Try a smaller physics.timestep.",
    "badctrl": "The policy's actions are not finite: lower its learning rate.",
    "out_of_memory": "The arena is too small: give the model's layout more arena_bytes.",
    "contactfull": "The arena is too small for the contacts: give the model's layout more arena_bytes.",
    "cnstrfull": "The arena is too small for the constraints: give the model's layout more arena_bytes.",
    "nefc": "Give WarpEngine a larger njmax.",
    "njmax_nnz": "Give WarpEngine a larger njmax.",
    "broadphase": "Give WarpEngine a larger nconmax.",
    "narrowphase": "Give WarpEngine a larger nconmax.",
}


class Quarantine:
    """Remembers each world's state before the step, so that a step that fails can be replayed.

    Args:
        engine: whose worlds to watch.
        folder: where to dump the first few; nowhere if None.
        max_fraction: quarantined share of world-steps at which `check` stops the run.
        pushed: whether worlds are pushed from outside, which a replay must do again.

    Attributes:
        count: worlds quarantined so far, a tensor on the device.
        faults: world-steps with each of the engine's `fault_kinds`, `(K,)` on the device.
        world_steps: world-steps inspected.
    """

    def __init__(self, engine: Engine, folder: Path | None, max_fraction: float, pushed: bool = False) -> None:
        self.engine, self.folder, self.max_fraction = engine, folder, max_fraction
        self.count = torch.zeros((), dtype=torch.int64, device=engine.device)
        self.faults = torch.zeros(len(engine.fault_kinds), dtype=torch.int64, device=engine.device)
        self.world_steps = 0
        self._nobody = torch.zeros(engine.num_worlds, dtype=torch.bool, device=engine.device)
        self._before = {name: getattr(engine, name).clone() for name in (*_STATE, *[_PUSH] * pushed)}
        # the first ill world since the last dump, kept on the device
        self._row = {name: live[0].clone() for name, live in (self._before | dict(engine.varied)).items()}
        self._holds, self._world, self._faults = self.count.bool(), self.count.clone(), self.faults.bool()
        self._dumped = 0

    def remember(self) -> None:
        """Keep the state that the next step starts from. Call it with `ctrl` set."""
        for name, copy in self._before.items():
            copy.copy_(getattr(self.engine, name))

    def inspect(self) -> torch.Tensor:
        """Worlds `(N,)` that the last step broke; counts them. The host does not wait for the device."""
        self.world_steps += self.engine.num_worlds
        if self.engine.is_sound():
            return self._nobody
        faults = self.engine.faults()
        self.faults += faults.sum(dim=0)
        bad = faults[:, :-1].any(dim=1)
        self.count += bad.sum()
        if self.folder is not None and self._dumped < _MAX_DUMPS:
            if self.engine.device.type != "cpu":
                self._hold(bad, faults)
            elif bad.any():  # nobody waits for this on the CPU
                self._hold(bad, faults)
                self.dump()
        return bad

    def _hold(self, bad: torch.Tensor, faults: torch.Tensor) -> None:
        first, new = bad.int().argmax(), bad.any() & ~self._holds
        sources = self._before | dict(self.engine.varied)
        for name, row in self._row.items():
            row.copy_(torch.where(new, sources[name].index_select(0, first[None])[0], row))
        self._world = torch.where(new, first, self._world)
        self._faults = torch.where(new, faults.index_select(0, first[None])[0], self._faults)
        self._holds = self._holds | new

    def dump(self) -> None:
        """Write the ill world that is held, if one is; reads the device."""
        if self.folder is None or not bool(self._holds):
            return
        model, names = self.engine.model, (f"world_{k}.safetensors" for k in itertools.count())
        header = {
            "model": model.name,
            "model_hash": model.hash,
            "timestep": model.physics.timestep,
            "substeps": model.physics.substeps,
            "engine": self.engine.name,
            "world": int(self._world),
            "faults": [kind for kind, had in zip(self.engine.fault_kinds, self._faults.tolist(), strict=True) if had],
            "versions": {name: version(name) for name in ("musclewarp", "mujoco", "mujoco-warp", "torch")},
        }
        arrays = {name: row.cpu().double().numpy() for name, row in self._row.items()}
        path = next(path for name in names if not (path := self.folder / name).exists())
        try:
            write_arrays(path, arrays, header, _KIND, _VERSION)
        except OSError as error:  # a full disk must not end a run
            warnings.warn(f"{path}: a quarantined world could not be kept ({error})", stacklevel=2)
        self._dumped += 1
        self._holds = torch.zeros_like(self._holds)

    def summary(self) -> dict[str, int]:
        """World-steps with each kind of fault so far, without the zeros; reads the device."""
        counts = zip(self.engine.fault_kinds, self.faults.tolist(), strict=True)
        return {kind: count for kind, count in counts if count}

    def check(self, total: Callable[[torch.Tensor], torch.Tensor] = lambda count: count) -> None:
        """Stop a run in which too much goes wrong; call it between rollouts, for it reads the device.

        `total` sums a count over all processes, so that they stop together.

        Raises:
            SimulationError: the quarantined share of world-steps passed the limit.
        """
        self.dump()
        steps = torch.full_like(self.count, self.world_steps)
        count, steps = total(torch.stack((self.count, steps))).tolist()
        if steps >= _MIN_STEPS and count > self.max_fraction * steps:
            where = f"; the first are in {self.folder}, see them with: musclewarp replay FILE" if self._dumped else ""
            kinds = {kind: n for kind, n in self.summary().items() if kind != "unconverged"}
            commonest = max(kinds, key=lambda kind: kinds[kind], default="not_finite")
            raise SimulationError(
                f"{count} of {steps} world-steps left the finite numbers or overflowed "
                f"(limit {self.max_fraction:.2%}), most by '{commonest}'{where}. {_REMEDIES.get(commonest, '')}".strip()
            )


def load_dump(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The state before the failing step, by MuJoCo's names, and what it was a state of.

    Raises:
        FileError: it is no dump, or lacks a part.
    """
    arrays, header = read_arrays(path, _KIND, _VERSION)
    kinds = {"model": str, "model_hash": str, "timestep": float, "substeps": int, "engine": str, "faults": list}
    lacks = [name for name in _STATE if name not in arrays]
    lacks += [key for key, kind in kinds.items() if not isinstance(header.get(key), kind)]
    if lacks:
        raise FileError(f"{path}: lacks {', '.join(lacks)}")
    return arrays, header


def replay(engine: Engine, arrays: dict[str, np.ndarray]) -> bool:
    """Take the failing step again in world 0 of `engine`, which varies in what the dump does; whether it fails again.

    Raises:
        FileError: the dump's model differs from that of `engine` in fields that it does not vary in.
    """
    if missing := [name for name in varied_fields(arrays) if name not in engine.varied]:
        raise FileError(f"the dump's world has its own {', '.join(missing)}: build the engine with these `varied`")
    for name, live in engine.varied.items():
        if name in arrays:
            if arrays[name].shape != live.shape[1:]:
                raise FileError(f"the dump's {name} has shape {arrays[name].shape}, expected {tuple(live.shape[1:])}")
            live.copy_(torch.as_tensor(arrays[name]).expand_as(live))
    rows = {name: torch.as_tensor(arrays[name], dtype=engine.dtype, device=engine.device) for name in _STATE}
    batch = {name: row.expand(engine.num_worlds, -1) for name, row in rows.items()}
    everyone = torch.ones(engine.num_worlds, dtype=torch.bool, device=engine.device)
    engine.reset(everyone, batch["qpos"], batch["qvel"], batch["act"])
    engine.qacc_warmstart.copy_(batch["qacc_warmstart"])
    engine.ctrl.copy_(batch["ctrl"])
    if _PUSH in arrays:
        engine.xfrc_applied.copy_(torch.as_tensor(arrays[_PUSH]).expand_as(engine.xfrc_applied))
    engine.step()
    return bool(engine.unhealthy()[0])


def varied_fields(arrays: Mapping[str, np.ndarray]) -> tuple[str, ...]:
    """The fields of the model in which the world of a dump was of its own, as `make_engine` takes them."""
    return tuple(name for name in VARIABLE if name in arrays)


def check_dump_model(arrays: dict[str, np.ndarray], header: dict[str, Any], model: MuscleModel) -> None:
    """Refuse to replay a dump on another model.

    Raises:
        FileError: the model is not the one that failed, or the arrays do not fit it.
    """
    if header["model_hash"] != model.hash:
        raise FileError(
            f"the dump is of another version of '{header['model']}' ({header['model_hash'][:8]}) than the one "
            f"installed ({model.hash[:8]})"
        )
    m = model.mj_model
    widths = {"qpos": m.nq, "qvel": m.nv, "act": m.na, "qacc_warmstart": m.nv, "ctrl": m.nu}
    for name, size in {_PUSH: (m.nbody, 6), **{name: (width,) for name, width in widths.items()}}.items():
        if name in arrays and arrays[name].shape != size:
            raise FileError(f"the dump's {name} has shape {arrays[name].shape}, expected {size}")
