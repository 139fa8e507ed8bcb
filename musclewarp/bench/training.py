"""Where the time of a training iteration goes."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning

from musclewarp.envs import EnvConfig
from musclewarp.learning.config import PPOConfig
from musclewarp.learning.ppo import PPO
from musclewarp.references.reference import SUFFIX, Reference


def training_shares(reference: Reference, config: EnvConfig, seconds: float) -> dict[str, float]:
    """Where the time of training on the CPU goes: physics, networks (forward, backward, optimiser), all else."""
    with tempfile.TemporaryDirectory() as folder:
        reference.save(Path(folder) / f"bench{SUFFIX}")
        module = PPO(replace(config, references=folder), PPOConfig(total_frames=10**9))
        clock = _Clock(module, seconds)
        lightning.Trainer(max_epochs=1, accelerator="cpu", callbacks=[clock], **_QUIET_TRAINER).fit(module)
    total = clock.total
    return {
        "frames_per_s": clock.frames / total,
        "physics_share": clock.spent["physics"] / total,
        "network_share": clock.spent["network"] / total,
        "other_share": 1 - (clock.spent["physics"] + clock.spent["network"]) / total,
    }


_QUIET_TRAINER: dict[str, Any] = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


class _Clock(lightning.Callback):
    """Times the calls of physics and networks during training, after one update to warm up."""

    def __init__(self, module: PPO, seconds: float) -> None:
        self.module, self.seconds = module, seconds
        self.spent = {"physics": 0.0, "network": 0.0}
        self.total = self.frames = 0.0

    @contextmanager
    def _timed(self, what: str) -> Generator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self.spent[what] += time.perf_counter() - started

    def _wrap(self, owner: Any, name: str, what: str) -> None:
        plain = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            with self._timed(what):
                return plain(*args, **kwargs)

        setattr(owner, name, timed)

    def on_train_batch_end(self, trainer: lightning.Trainer, pl_module: Any, *args: Any, **kwargs: Any) -> None:
        if self.module.updates == 1:
            engine, head = self.module.env.engine, self.module.head
            self._wrap(engine, "step", "physics")
            self._wrap(engine, "reset", "physics")
            self._wrap(head.network, "forward", "network")
            self._wrap(self.module.critic.module.network, "forward", "network")
            self._wrap(self.module, "manual_backward", "network")
            self._wrap(trainer.optimizers[0], "step", "network")
            self._start, self._first = time.perf_counter(), self.module.frames
        elif time.perf_counter() - self._start > self.seconds:
            self.total = time.perf_counter() - self._start
            self.frames = self.module.frames - self._first
            self.module.config = PPOConfig(total_frames=1)  # the rollouts end
