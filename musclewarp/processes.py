"""Jobs in worker processes, of which some may die: the jobs they had fail, the others go on.

(`concurrent.futures` gives up all jobs when one process dies, does not say whose job it had, and leaves its workers
behind when the parent is killed.)
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import TypeVar

from musclewarp.errors import MusclewarpError, SimulationError

Job = TypeVar("Job")
Result = TypeVar("Result")


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_in_processes(
    prepare: Callable[[], Callable[[Job], Result]],
    jobs: Iterable[Job],
    workers: int,
    on_result: Callable[[Job, Result], object],
    on_death: Callable[[Job, str], object],
) -> None:
    """Run `prepare()(job)` for every job, in their order, in `workers` processes; both callbacks run in this one.

    Workers are spawned, and prepare once. They end with this function, whatever ends it, also with
    this process if it is killed. Ctrl-C is this process's alone.

    Args:
        prepare: makes the function in the worker; it and the jobs are pickled.
        jobs: what is left to do.
        workers: processes at once.
        on_result: called with a job and what the function returned.
        on_death: called with the job whose process died, and how it died. Another process takes its place.

    Raises:
        MusclewarpError: `prepare` raised it.
        SimulationError: a worker died before it was ready.
    """
    waiting = deque(jobs)
    spawned: list[BaseProcess] = []
    running: dict[Connection, tuple[BaseProcess, Job | None]] = {}

    def start() -> None:
        ours, process = _spawn(prepare)
        spawned.append(process)
        running[ours] = process, None

    try:
        for _ in range(min(workers, len(waiting))):
            start()
        while running:
            for ours in wait(list(running)):
                assert isinstance(ours, Connection)
                process, job = running.pop(ours)
                try:
                    result = ours.recv()
                except (EOFError, ConnectionResetError):
                    process.join()
                    if job is None:
                        raise SimulationError(f"a worker process {_ending(process)} before it was ready") from None
                    if waiting:
                        start()
                    on_death(job, f"its process {_ending(process)}")
                    continue
                if job is None and isinstance(result, MusclewarpError):
                    raise result
                if waiting:  # first, so that the worker is busy during the callback
                    following = waiting.popleft()
                    running[ours] = process, following
                    with contextlib.suppress(BrokenPipeError):  # if it has just died, the next `recv` tells
                        ours.send(following)
                if job is not None:
                    on_result(job, result)
    finally:
        for process in spawned:
            process.kill()
            process.join()


def _spawn(prepare: Callable[[], object]) -> tuple[Connection, BaseProcess]:
    context = multiprocessing.get_context("spawn")
    resource_tracker.ensure_running()  # it would be started by the first worker, and unblock the signal
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, prepare), daemon=True)
    # the mask is inherited: the terminal sends Ctrl-C to all, and while they import nobody could catch it there
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
    return ours, process


def _work(connection: Connection, prepare: Callable[[], Callable[[object], object]]) -> None:
    threading.Thread(target=_die_with_parent, daemon=True).start()
    try:
        function = prepare()
    except MusclewarpError as error:
        connection.send(error)
        return
    connection.send(None)  # ready
    while True:
        try:
            job = connection.recv()
        except EOFError:
            return
        connection.send(function(job))


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _ending(process: BaseProcess) -> str:
    code = process.exitcode or 0
    if code >= 0:
        return f"ended with status {code}"
    name = signal.Signals(-code).name
    return f"was killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
