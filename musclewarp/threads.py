"""How many threads torch uses."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import torch
from threadpoolctl import threadpool_limits


@contextmanager
def one_torch_thread() -> Generator[None]:
    """Run torch's CPU operations in the calling thread: for hundreds of small ones, as a context or a decorator.

    Handing a small operation to other threads costs more than it saves, and takes the cores from MuJoCo's threads.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def use_one_thread() -> None:
    """Let torch and BLAS use the calling thread alone from now on: in a process among as many as there are cores."""
    torch.set_num_threads(1)
    threadpool_limits(1)
