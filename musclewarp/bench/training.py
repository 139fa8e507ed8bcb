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
import torch

from musclewarp.envs import EnvConfig
from musclewarp.learning.config import PPOConfig
from musclewarp.learning.ppo import PPO
from musclewarp.references.reference import SUFFIX, Reference

LEARNER = PPOConfig()


def training_shares(
    reference: Reference, config: EnvConfig, seconds: float, ppo: PPOConfig = LEARNER, device: str = "cpu"
) -> dict[str, float]:
    """How fast training is, and where its time goes: physics, networks (forward, backward, optimiser), all else.

    Frames per second are counted for half of `seconds`. Shares are those of the other half, in which a GPU is waited
    for around every part, so that its time is that part's.
    """
    with tempfile.TemporaryDirectory() as folder:
        reference.save(Path(folder) / f"bench{SUFFIX}")
        module = PPO(replace(config, references=folder), replace(ppo, total_frames=10**12))
        clock = _Clock(module, seconds / 2)
        accelerator = "gpu" if device.startswith("cuda") else "cpu"
        lightning.Trainer(max_epochs=1, accelerator=accelerator, devices=1, callbacks=[clock], **_QUIET_TRAINER).fit(
            module
        )
    shares = {f"{what}_share": spent / clock.timed_s for what, spent in clock.spent.items()}
    return {"frames_per_s": clock.frames_per_s, **shares, "other_share": 1 - sum(shares.values())}


_QUIET_TRAINER: dict[str, Any] = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


class _Clock(lightning.Callback):
    """After one update to warm up, counts frames for a while, and then times the calls of physics and networks."""

    def __init__(self, module: PPO, seconds: float) -> None:
        self.module, self.seconds = module, seconds
        self.spent = {"physics": 0.0, "network": 0.0}
        self.frames_per_s = self.timed_s = 0.0

    def _now(self) -> float:
        if self.module.device.type == "cuda":
            torch.cuda.synchronize(self.module.device)
        return time.perf_counter()

    @contextmanager
    def _timed(self, what: str) -> Generator[None]:
        started = self._now()
        try:
            yield
        finally:
            self.spent[what] += self._now() - started

    def _wrap(self, owner: Any, name: str, what: str) -> None:
        plain = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            with self._timed(what):
                return plain(*args, **kwargs)

        setattr(owner, name, timed)

    def _time_parts(self, trainer: lightning.Trainer) -> None:
        engine, head = self.module.env.engine, self.module.head
        self._wrap(engine, "step", "physics")
        self._wrap(engine, "reset", "physics")
        self._wrap(head.network, "forward", "network")
        self._wrap(self.module.critic.module.network, "forward", "network")
        self._wrap(self.module, "manual_backward", "network")
        self._wrap(trainer.optimizers[0], "step", "network")

    def on_train_batch_end(self, trainer: lightning.Trainer, pl_module: Any, *args: Any, **kwargs: Any) -> None:
        now = self._now()
        if self.module.updates == 1:
            self._start, self._first = now, self.module.frames
        elif now - self._start <= self.seconds:
            return
        elif not self.frames_per_s:
            self.frames_per_s = (self.module.frames - self._first) / (now - self._start)
            self._time_parts(trainer)
            self._start = now
        else:
            self.timed_s = now - self._start
            self.module.config = replace(self.module.config, total_frames=1)  # the rollouts end
