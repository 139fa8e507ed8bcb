"""Worker processes: every job is answered for, whoever dies, and nobody outlives the parent."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from musclewarp.errors import ModelError, SimulationError
from musclewarp.processes import available_cores, run_in_processes

ROOT = Path(__file__).resolve().parents[1]


def prepare(offset=0):
    return functools.partial(work, offset)


def work(offset, job):
    if job == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if job == "leave":
        os._exit(3)
    if job == "mask":
        return next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("SigBlk"))
    if job == "pid":
        time.sleep(0.2)
        return os.getpid()
    return offset + job


def unprepared():
    raise RuntimeError("cannot begin")


def without_model():
    raise ModelError("no such model; choose another")


def run(jobs, workers, make=prepare):
    done, dead = [], []
    run_in_processes(make, jobs, workers, lambda *pair: done.append(pair), lambda *pair: dead.append(pair))
    return done, dead


def test_every_job_is_done_once_by_the_prepared_function_and_begun_in_order():
    done, dead = run(range(20), 1, functools.partial(prepare, 100))
    assert done == [(job, 100 + job) for job in range(20)]
    assert dead == []


def test_a_job_whose_process_dies_fails_alone_and_says_how():
    done, dead = run([1, "die", 2, "leave", 3, 4], 2)
    assert sorted(done) == [(1, 1), (2, 2), (3, 3), (4, 4)]
    assert dict(dead) == {
        "die": "its process was killed by SIGKILL (out of memory?)",
        "leave": "its process ended with status 3",
    }


def test_jobs_run_side_by_side():
    done, _ = run(["pid"] * 6, 2)
    assert len({pid for _, pid in done}) == 2
    assert os.getpid() not in dict(done)


def test_no_process_is_started_without_a_job():
    assert run([], 4) == ([], [])


def test_ctrl_c_never_reaches_a_worker_not_even_the_first():
    ((_, mask),) = run(["mask"], 1)[0]
    assert int(mask.split()[1], 16) & 1 << signal.SIGINT - 1


def test_a_worker_that_cannot_prepare_stops_everything(capfd):
    with pytest.raises(SimulationError, match="ended with status 1 before it was ready"):
        run([1, 2, 3], 2, unprepared)
    assert "cannot begin" in capfd.readouterr().err


def test_why_a_worker_cannot_prepare_is_told_as_it_was():
    with pytest.raises(ModelError, match="no such model; choose another"):
        run([1, 2, 3], 2, without_model)


@pytest.mark.parametrize("raised", [KeyboardInterrupt, ValueError])
def test_workers_end_when_a_callback_raises(raised):
    pids = []

    def stop(_, pid):
        pids.append(pid)
        if len(pids) == 2:
            raise raised

    with pytest.raises(raised):
        run_in_processes(prepare, ["pid"] * 9, 2, stop, stop)
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_workers_end_when_the_parent_is_killed(tmp_path):
    (tmp_path / "endless.py").write_text(
        "import os, time\n"
        "from musclewarp.processes import run_in_processes\n"
        "def prepare():\n"
        "    return work\n"
        "def work(job):\n"
        "    print(os.getpid(), flush=True)\n"
        "    while True:\n"
        "        time.sleep(0.01)\n"
        "if __name__ == '__main__':\n"
        "    run_in_processes(prepare, [1, 2], 2, print, print)\n"
    )
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen([sys.executable, tmp_path / "endless.py"], env=environ, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pids = [int(parent.stdout.readline()) for _ in range(2)]
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 120
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < deadline, "the workers live on"
        time.sleep(0.05)
    parent.stdout.close()


def test_cores_are_those_this_process_may_use():
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert available_cores() == 1
    finally:
        os.sched_setaffinity(0, before)
