"""What happens around training: progress in the terminal, checkpoints on every way out."""

from __future__ import annotations

import contextlib
import copy
import math
import time
from pathlib import Path
from statistics import fmean
from typing import Any

import lightning
from lightning.pytorch.utilities import rank_zero_warn
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from musclewarp.errors import FileError
from musclewarp.files import only_writer, remove_unfinished
from musclewarp.learning.checkpoints import LAST, CheckpointConfig, keep_best, write_last
from musclewarp.learning.policy import save_policy
from musclewarp.learning.ppo import PPO

_SHOWN = (  # metric, how to show it
    ("reward", "reward {:.2f}"),
    ("site_error_cm", "error {:.2f} cm"),
    ("early_termination", "early {:.0%}"),
    ("kl", "KL {:.2f}"),
)


def say(text: str) -> None:
    """Print a line; a log file on a full disk must not end a run."""
    with contextlib.suppress(OSError):
        print(text, flush=True)


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
            say(f"{now - self._start:6.0f} s  {text}")

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
    """Keeps a run in a folder: `last.ckpt`, those before it, `best.ckpt`, and `policy.safetensors` of the last.

    Written every so often (`CheckpointConfig`), and on every way out: at the end, at `max_time`, after a signal and
    after an error. What is written is always the state after the last whole update, of which a copy is held in memory:
    so training goes on from it bit by bit wherever it was stopped, and no other rank has to be alive. The first rank
    writes, and lets nobody else write to the folder meanwhile.

    A save that fails, as on a full disk, is a warning; the one at the end is an error. `best.ckpt` is the one with the
    highest mean reward, with exploration and no teacher's help, over the updates since the one before it. Nothing is
    written before the first update, so a resumption that fails leaves the files as they are.
    """

    def __init__(self, folder: str | Path, config: CheckpointConfig | None = None) -> None:
        self.folder, self.config = Path(folder), config or CheckpointConfig()
        self._lock = contextlib.ExitStack()
        self._state: dict[str, Any] | None = None  # after the last whole update
        self._written = 0  # frames that the newest file has learned from
        self._rewards: list[float] = []  # of the updates since
        self._best: dict[str, Any] = {}

    def state_dict(self) -> dict[str, Any]:
        return self._best

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._best = state_dict

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if trainer.is_global_zero:
            self._lock.enter_context(only_writer(self.folder))

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        assert isinstance(pl_module, PPO)
        self._written, self._saved_at = pl_module.frames, time.monotonic()
        if trainer.is_global_zero:
            remove_unfinished(self.folder)
        rewards = str(pl_module.env_config.rewards)
        if self._best.get("rewards") != rewards:  # sums of other terms cannot be compared
            self._best = {"rewards": rewards, "mean": -math.inf}

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, *args: Any, **kwargs: Any
    ) -> None:
        assert isinstance(pl_module, PPO)
        if not trainer.is_global_zero:
            return
        if pl_module.acts_alone:
            self._rewards.append(float(trainer.callback_metrics["reward"]))
        # Lightning has no public name for what `Trainer.save_checkpoint` writes
        self._state = copy.deepcopy(trainer._checkpoint_connector.dump_checkpoint(False))  # pyright: ignore[reportPrivateUsage]
        every = self.config.frames
        late = time.monotonic() - self._saved_at >= 60 * self.config.minutes
        if late or (every and pl_module.frames // every > self._written // every):
            self._save()

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        written, self._state = self._save("ended"), None
        if not written:
            raise FileError(f"{self.folder}: no room for the last checkpoint, see above; go on from the one before")

    def on_exception(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, exception: BaseException
    ) -> None:
        self._save("stopped")
        self._lock.close()

    def teardown(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        self._lock.close()

    def _save(self, how: str = "") -> bool:
        """Write the state after the last whole update, if there is one; whether that went well."""
        if self._state is None:
            return True
        frames, written = self._state["musclewarp"]["frames"], True
        if frames != self._written:
            written = self._write(frames)
        if how and written:
            say(f"{how} after {frames:,} frames; wrote {self.folder}/{LAST} and policy.safetensors")
        return written

    def _write(self, frames: int) -> bool:
        assert self._state is not None
        mean = fmean(self._rewards) if self._rewards else -math.inf
        best = max(self._best, self._best | {"mean": mean}, key=lambda best: best["mean"])
        self._state["callbacks"][self.state_key] = best
        self._saved_at = time.monotonic()  # also if it fails: not at once again
        try:
            write_last(self.folder, self._state, self.config.keep)
            if best is not self._best:
                keep_best(self.folder)
            save_policy(self._state, self.folder / "policy.safetensors")
        except OSError as error:
            rank_zero_warn(
                f"{self.folder}: the checkpoint after {frames:,} frames cannot be written ({error.strerror or error}); "
                f"{f'the one after {self._written:,} frames stands' if self._written else 'there is none yet'}"
            )
            return False
        self._best, self._written, self._rewards = best, frames, []
        return True
