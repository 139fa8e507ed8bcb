"""Every way out of training leaves what it takes to go on bit by bit: signals, kill -9, a full disk."""

from __future__ import annotations

import csv
import os
import resource
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import torch
import yaml

from musclewarp import train
from musclewarp.errors import FileError, SimulationError
from musclewarp.files import only_writer
from musclewarp.learning.callbacks import Checkpoints
from musclewarp.learning.checkpoints import CheckpointConfig, read_checkpoint
from musclewarp.learning.metrics_log import EventsLog, MetricsLog
from musclewarp.learning.rollouts import Rollouts
from musclewarp.learning.signals import StopOnSignals, Stopped

ROOT = Path(__file__).resolve().parents[2]
ALWAYS = CheckpointConfig(frames=1)


def stop(trainer, module):
    trainer.should_stop = True


def differences(first, second):
    """Keys in which the checkpoints of two runs differ: weights, statistics, Adam, worlds, noise, counters."""
    first, second = (read_checkpoint(path) for path in (first, second))
    optimizers = [checkpoint["optimizer_states"][0] for checkpoint in (first, second)]
    assert optimizers[0]["param_groups"] == optimizers[1]["param_groups"]
    assert first["musclewarp"]["frames"] == second["musclewarp"]["frames"]
    tensors = [
        {
            **checkpoint["state_dict"],
            **{f"world.{key}": value for key, value in checkpoint["musclewarp"]["worlds"].items()},
            **{f"{k}.{key}": value for k, state in optimizer["state"].items() for key, value in state.items()},
            "rng": checkpoint["musclewarp"]["rng"],
        }
        for checkpoint, optimizer in zip((first, second), optimizers, strict=True)
    ]
    assert tensors[0].keys() == tensors[1].keys()
    return [key for key, value in tensors[0].items() if not torch.equal(value, tensors[1][key])]


@contextmanager
def in_the_middle_of(number, do):
    """Call `do()` when half of the n-th rollout has been collected."""
    plain, calls = Rollouts.collect, []

    def collect(self, steps):
        calls.append(steps)
        if len(calls) == number + 1:  # the first is the normaliser's first look
            plain(self, steps // 2)
            do()
        return plain(self, steps)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Rollouts, "collect", collect)
        yield


@pytest.fixture(scope="module")
def quick_command(arms, references, tmp_path_factory):
    """`quick_command(out)`: the arguments of a training run of 40 updates, with a checkpoint after each."""
    settings = {
        "env": {"references": str(references), "num_worlds": 4, "engine": "native", "episode_seconds": 0.3},
        "ppo": {"total_frames": 40 * 32, "horizon": 8, "minibatch": 16, "epochs": 2, "hidden": [16]},
        "trainer": {"accelerator": "cpu"},
        "checkpoint": {"frames": 1},
    }
    path = tmp_path_factory.mktemp("command") / "tiny.yaml"
    path.write_text(yaml.safe_dump(settings))
    return lambda out: ["fit", "--config", str(path), "--out", str(out)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP], ids=lambda s: s.name)
def test_a_signal_in_the_middle_of_an_update_loses_that_update_alone(number, fit, tmp_path):
    def handler(*_):
        raise AssertionError("the run should have it")

    before = signal.signal(number, handler)  # under nohup, a hang-up would be ignored
    try:
        with in_the_middle_of(3, lambda: os.kill(os.getpid(), number)), pytest.raises(Stopped) as stopped:
            fit(Checkpoints(tmp_path / "run"), StopOnSignals())
        assert signal.getsignal(number) == handler
    finally:
        signal.signal(number, before)
    assert (stopped.value.signal, stopped.value.status) == (number, 128 + number)
    assert read_checkpoint(tmp_path / "run" / "last.ckpt")["musclewarp"]["updates"] == 2


def test_a_signal_that_is_ignored_stays_ignored(fit, tmp_path):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nohup
    try:
        with in_the_middle_of(3, lambda: os.kill(os.getpid(), signal.SIGHUP)):
            assert fit(Checkpoints(tmp_path), StopOnSignals()).updates == 5
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(
    "how", [Stopped(signal.SIGTERM), SimulationError("a world broke"), KeyboardInterrupt()], ids=repr
)
def test_training_goes_on_bit_by_bit_after_it_was_stopped_in_the_middle_of_an_update(how, fit, tmp_path):
    def fail():
        raise how

    fit(Checkpoints(tmp_path / "whole"))
    handler = signal.getsignal(signal.SIGINT)
    try:
        with in_the_middle_of(3, fail), pytest.raises((type(how), SystemExit)):
            fit(Checkpoints(tmp_path / "run"))
    finally:
        signal.signal(signal.SIGINT, handler)  # Lightning ignores Ctrl-C from there on
    fit(Checkpoints(tmp_path / "run"), ckpt_path=tmp_path / "run" / "last.ckpt")
    assert differences(tmp_path / "whole" / "last.ckpt", tmp_path / "run" / "last.ckpt") == []


@pytest.mark.slow
def test_training_goes_on_bit_by_bit_on_the_warp_engine(fit, at_update, tmp_path):
    warp = {"engine": "warp", "num_worlds": 2}
    fit(Checkpoints(tmp_path / "whole"), env=warp, total_frames=4 * 16)
    fit(Checkpoints(tmp_path / "run"), at_update(2, stop), env=warp, total_frames=4 * 16)
    fit(Checkpoints(tmp_path / "run"), env=warp, total_frames=4 * 16, ckpt_path=tmp_path / "run" / "last.ckpt")
    assert differences(tmp_path / "whole" / "last.ckpt", tmp_path / "run" / "last.ckpt") == []


@pytest.mark.slow
def test_training_goes_on_bit_by_bit_after_kill_9(quick_command, quick_model, tmp_path, capfd):
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("LT_", "PYTEST_", "COVERAGE_"))}
    environ |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    killed, last = tmp_path / "killed", tmp_path / "killed" / "last.ckpt"
    command = [sys.executable, "-m", "musclewarp.train", *quick_command(killed)]
    with subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while not last.exists() and process.poll() is None:
            time.sleep(0.01)
        time.sleep(0.3)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    before = read_checkpoint(last)["musclewarp"]["updates"]
    assert 0 < before < 40
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert train.main(quick_command(killed)) == 0
        assert train.main(quick_command(tmp_path / "whole")) == 0
    finally:
        torch.set_num_threads(threads)
    assert f"going on from {last}, after {32 * before:,} frames" in capfd.readouterr().out
    assert differences(tmp_path / "whole" / "last.ckpt", last) == []
    assert not list(killed.rglob(".*")), "what the kill left is gone"
    with open(killed / "metrics.csv", newline="") as file:
        rows = [int(row["step"]) for row in csv.DictReader(file)]
    # a kill just after a checkpoint, before its row, may lose that row
    assert rows in (list(range(1, 41)), [step for step in range(1, 41) if step != before])


@contextmanager
def full_disk():
    """No file of this process may grow."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_training_goes_on_while_the_disk_is_full_and_nothing_is_missing_afterwards(
    make_ppo, make_trainer, at_update, tmp_path, recwarn
):
    disk, seen = ExitStack(), []
    begin = at_update(1, lambda *_: disk.enter_context(full_disk()))
    look = at_update(3, lambda *_: seen.append(read_checkpoint(tmp_path / "last.ckpt")["musclewarp"]["updates"]))
    end = at_update(3, lambda *_: disk.close())
    module = make_ppo()
    loggers = [MetricsLog(tmp_path), EventsLog(tmp_path)]
    trainer = make_trainer(Checkpoints(tmp_path, ALWAYS), begin, look, end, logger=loggers, log_every_n_steps=1)
    trainer.fit(module)
    said = [str(warning.message) for warning in recwarn]
    assert any("after 64 frames cannot be written (File too large); the one after 32 frames stands" in s for s in said)
    assert any("metrics.csv cannot be written" in text for text in said)
    assert sum("TensorBoard" in text for text in said) == 1
    assert seen == [1]
    assert read_checkpoint(tmp_path / "last.ckpt")["musclewarp"]["updates"] == module.updates == 5
    with open(tmp_path / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [1, 2, 3, 4, 5]
    assert all(float(row["reward"]) > 0 for row in rows)


def test_a_disk_that_is_full_at_the_end_is_an_error_and_the_older_checkpoint_stands(fit, at_update, tmp_path):
    with ExitStack() as disk:
        begin = at_update(4, lambda *_: disk.enter_context(full_disk()))
        with pytest.warns(UserWarning, match="cannot be written"), pytest.raises(FileError, match="no room"):
            fit(Checkpoints(tmp_path, ALWAYS), begin)
    assert read_checkpoint(tmp_path / "last.ckpt")["musclewarp"]["updates"] == 4
    assert not list(tmp_path.glob(".*"))


def test_two_runs_do_not_write_into_one_folder(fit, tmp_path):
    with only_writer(tmp_path), pytest.raises(FileError, match="another process is writing there"):
        fit(Checkpoints(tmp_path))
    assert fit(Checkpoints(tmp_path)).updates == 5


def test_the_best_is_the_one_with_the_highest_mean_reward(fit, at_update, tmp_path):
    def reward(value):
        return lambda trainer, module: module.env._reward_weights.fill_(value)

    fit(at_update(1, reward(3.0)), at_update(2, reward(0.1)), Checkpoints(tmp_path, ALWAYS))
    assert read_checkpoint(tmp_path / "best.ckpt")["musclewarp"]["updates"] == 2
    assert read_checkpoint(tmp_path / "last.ckpt")["musclewarp"]["updates"] == 5
    fit(Checkpoints(tmp_path, ALWAYS), ckpt_path=tmp_path / "last.ckpt", total_frames=7 * 32)
    assert read_checkpoint(tmp_path / "best.ckpt")["musclewarp"]["updates"] == 2, (
        "what was best is known after resuming"
    )


def test_checkpoints_are_written_by_time(fit, at_update, tmp_path):
    seen = []
    look = at_update(2, lambda *_: seen.append((tmp_path / "last.ckpt").exists()))
    fit(Checkpoints(tmp_path, CheckpointConfig(minutes=1e-9)), look)
    fit(Checkpoints(tmp_path / "slow", CheckpointConfig(minutes=1e9)), look)
    assert seen == [True, True]
