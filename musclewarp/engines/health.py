"""Worlds that go wrong: counted, dumped for replay, and never healed in silence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from musclewarp.engines.engine import Engine
from musclewarp.errors import FileError, SimulationError
from musclewarp.files import read_arrays, write_arrays
from musclewarp.models import MuscleModel

_KIND, _VERSION = "quarantined world", 1
_STATE = ("qpos", "qvel", "act", "qacc_warmstart", "ctrl")
_MAX_DUMPS = 5
_MIN_STEPS = 1000  # world-steps before a fraction means something


class Quarantine:
    """Remembers each world's state before the step, so that a step that fails can be replayed.

    Args:
        engine: whose worlds to watch.
        folder: where to dump the first few; nowhere if None.
        max_fraction: quarantined share of world-steps at which `check` stops the run.
    """

    def __init__(self, engine: Engine, folder: Path | None, max_fraction: float) -> None:
        self.engine, self.folder, self.max_fraction = engine, folder, max_fraction
        self.count = torch.zeros((), dtype=torch.int64, device=engine.device)
        self.world_steps = 0
        self._before = {name: getattr(engine, name).clone() for name in _STATE}
        self._dumped = 0

    def remember(self) -> None:
        """Keep the state that the next step starts from. Call it with `ctrl` set."""
        for name, copy in self._before.items():
            copy.copy_(getattr(self.engine, name))

    def inspect(self) -> torch.Tensor:
        """Worlds `(N,)` that the last step broke; counts them, and dumps the first few."""
        bad = self.engine.unhealthy()
        self.count += bad.sum()
        self.world_steps += self.engine.num_worlds
        if self.folder is not None and self._dumped < _MAX_DUMPS and bad.any():
            for world in bad.nonzero().squeeze(-1)[: _MAX_DUMPS - self._dumped].tolist():
                self._dump(self.folder / f"world_{self._dumped}.safetensors", world)
                self._dumped += 1
        return bad

    def check(self) -> None:
        """Stop a run in which too much goes wrong; call it between rollouts, for it reads the device.

        Raises:
            SimulationError: the quarantined share of world-steps passed the limit.
        """
        count = int(self.count)
        if self.world_steps >= _MIN_STEPS and count > self.max_fraction * self.world_steps:
            where = f"; the first are in {self.folder}, see them with: musclewarp replay FILE" if self._dumped else ""
            raise SimulationError(
                f"{count} of {self.world_steps} world-steps left the finite numbers or overflowed "
                f"(limit {self.max_fraction:.2%}){where}. Try a smaller physics.timestep."
            )

    def _dump(self, path: Path, world: int) -> None:
        model = self.engine.model
        arrays = {name: copy[world].cpu().double().numpy() for name, copy in self._before.items()}
        header = {
            "model": model.name,
            "model_hash": model.hash,
            "timestep": model.physics.timestep,
            "substeps": model.physics.substeps,
            "engine": type(self.engine).__name__,
            "world": world,
        }
        write_arrays(path, arrays, header, _KIND, _VERSION)


def load_dump(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, object]]:
    """The state before the failing step, by MuJoCo's names, and what it was a state of."""
    arrays, header = read_arrays(path, _KIND, _VERSION)
    missing = [name for name in _STATE if name not in arrays]
    if missing:
        raise FileError(f"{path}: lacks {', '.join(missing)}")
    return arrays, header


def replay(engine: Engine, arrays: dict[str, np.ndarray]) -> bool:
    """Take the failing step again in world 0 of `engine`; whether it fails again."""
    rows = {name: torch.as_tensor(arrays[name], dtype=engine.dtype, device=engine.device) for name in _STATE}
    batch = {name: row.expand(engine.num_worlds, -1) for name, row in rows.items()}
    everyone = torch.ones(engine.num_worlds, dtype=torch.bool, device=engine.device)
    engine.reset(everyone, batch["qpos"], batch["qvel"], batch["act"])
    engine.qacc_warmstart.copy_(batch["qacc_warmstart"])
    engine.ctrl.copy_(batch["ctrl"])
    engine.step()
    return bool(engine.unhealthy()[0])


def check_dump_model(header: dict[str, object], model: MuscleModel) -> None:
    """Refuse to replay a dump on another model.

    Raises:
        FileError: the model is not the one that failed.
    """
    if header["model_hash"] != model.hash:
        raise FileError(f"the dump is of another version of '{header['model']}' than the one installed")
