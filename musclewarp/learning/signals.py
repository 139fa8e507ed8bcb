"""Signals that end a run as if it had been asked to: what was learned is written before."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType
from typing import Any

import lightning
import torch

from musclewarp.learning.distributed import all_reduce_max

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
_AGAIN = 2.0  # seconds; launchers send a signal on that the processes have had already


class Stopped(BaseException):
    """A signal has ended training; like `KeyboardInterrupt`, which Lightning would turn into status 1, no `Exception`.

    Attributes:
        signal: which one.
        status: of the process, as shells have it: 128 and the number of the signal.
    """

    def __init__(self, number: int) -> None:
        self.signal = signal.Signals(number)
        self.status = 128 + number
        super().__init__(self.signal.name)


class StopOnSignals(lightning.Callback):
    """Raises `Stopped` on Ctrl-C, SIGTERM, SIGUSR1 (SLURM's warning) and SIGHUP (the terminal is gone, without nohup).

    A process alone stops at once. Of several ranks all stop after the update in which the first of them had the signal,
    for those who wait for each other on a GPU cannot be woken; a second signal, two seconds later, stops them at once.
    """

    def __init__(self) -> None:
        self._received: int | None = None
        self._before: dict[int, Any] = {}

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Take the signals from Lightning, whose SIGTERM waits for ranks that may be gone."""
        self._alone = trainer.world_size == 1
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._handle)

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, *args: Any, **kwargs: Any
    ) -> None:
        """All ranks agree; also a single one, for what is raised in a callback of C code is lost."""
        mine = torch.tensor(self._received or 0, device=pl_module.device)
        if number := int(all_reduce_max(mine)):
            raise Stopped(number)

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Give them back."""
        while self._before:
            signal.signal(*self._before.popitem())

    def on_exception(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, exception: BaseException
    ) -> None:
        """Give them back."""
        self.on_train_end(trainer, pl_module)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._received is None:
            self._received, self._since = number, now
            if self._alone:
                raise Stopped(number)
        elif now - self._since > _AGAIN:
            raise Stopped(number)
