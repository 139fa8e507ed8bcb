"""What happens around training: progress in the terminal, checkpoints on every way out."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import lightning
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from musclewarp.learning.policy import Policy
from musclewarp.learning.ppo import PPO

_SHOWN = (  # metric, how to show it
    ("reward", "reward {:.2f}"),
    ("site_error_cm", "error {:.2f} cm"),
    ("early_termination", "early {:.0%}"),
    ("kl", "KL {:.2f}"),
)


def _faults(module: PPO) -> str:
    """Worlds quarantined so far, and of what; empty as long as there are none."""
    count = int(module.env.quarantine.count)
    kinds = (f"{kind} {n}" for kind, n in module.env.quarantine.summary().items())
    return f"  quarantined {count} ({', '.join(kinds)})" if count else ""


class Progress(lightning.Callback):
    """Frames, frames/s, reward, tracking error and early terminations: a bar in a terminal, lines in a log."""

    def __init__(self, seconds_between_lines: float = 20.0) -> None:
        self.seconds = seconds_between_lines
        self._bar: Bar | None = None

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        assert isinstance(pl_module, PPO)
        self._start = self._said = time.monotonic()
        self._frames_at_start = pl_module.frames
        if not trainer.is_global_zero:
            return
        console = Console()
        if console.is_terminal:
            columns = (BarColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
            self._bar = Bar(*columns, console=console)
            self._task = self._bar.add_task("", total=pl_module.config.total_frames, completed=pl_module.frames)
            self._bar.start()

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, *args: Any, **kwargs: Any
    ) -> None:
        assert isinstance(pl_module, PPO)
        now = time.monotonic()
        pl_module.log("frames_per_s", rate := (pl_module.frames - self._frames_at_start) / (now - self._start))
        if not trainer.is_global_zero:
            return
        metrics = trainer.callback_metrics
        shown = "  ".join(form.format(float(metrics[key])) for key, form in _SHOWN if key in metrics)
        text = f"{pl_module.frames / 1e6:.2f} M frames  {rate:,.0f}/s  {shown}{_faults(pl_module)}"
        if self._bar is not None:
            self._bar.update(self._task, completed=pl_module.frames, description=text)
        elif now - self._said > self.seconds:
            self._said = now
            print(f"{now - self._start:6.0f} s  {text}", flush=True)

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._stop()

    def on_exception(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, exception: BaseException
    ) -> None:
        self._stop()


class Checkpoints(lightning.Callback):
    """Writes `last.ckpt`, to resume from, and `policy.safetensors`, to share, into a folder.

    Every `every` updates, at the end of training and at `max_time`; in a single process also on Ctrl-C and after an
    error (of several, those that the others wait for may be gone). Nothing is written before training has begun: a
    resumption that fails leaves the files as they are. Both are written to a temporary name first, so that there is
    always a whole one.
    """

    def __init__(self, folder: str | Path, every: int = 50) -> None:
        self.folder, self.every = Path(folder), every
        self._begun = False

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._begun = True  # weights, optimiser and worlds are what the checkpoint says

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, *args: Any, **kwargs: Any
    ) -> None:
        assert isinstance(pl_module, PPO)
        if pl_module.updates % self.every == 0:
            self._write(trainer, pl_module)

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._write_last(trainer, pl_module, "ended")

    def on_exception(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, exception: BaseException
    ) -> None:
        # with several ranks, the others may be gone: only a write that needs no one else is safe
        if self._begun and trainer.world_size == 1:
            self._write_last(trainer, pl_module, "stopped")

    def _write_last(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, how: str) -> None:
        assert isinstance(pl_module, PPO)
        self._write(trainer, pl_module)
        if trainer.is_global_zero and pl_module.updates:
            print(f"{how} after {pl_module.frames:,} frames; wrote {self.folder}/last.ckpt and policy.safetensors")

    def _write(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        assert isinstance(pl_module, PPO)
        if pl_module.updates == 0:
            return
        trainer.save_checkpoint(self.folder / "last.ckpt")
        if trainer.is_global_zero:
            module = pl_module
            policy = Policy(
                module.actor, module.env_config, module.config, module.sizes, module.env.model.hash, module.frames
            )
            policy.save(self.folder / "policy.safetensors")
