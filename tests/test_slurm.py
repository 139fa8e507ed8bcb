"""SLURM: what its variables tell the Trainer, and that the scripts requeue what is not done; no SLURM runs here."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from lightning.fabric.plugins.environments import SLURMEnvironment
from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_only

from musclewarp.launch import trainer_defaults

SCRIPTS = Path(__file__).resolve().parents[1] / "examples" / "slurm"
TASK = {  # of `srun` in a job of two nodes with four tasks each: the second task of the second node
    "SLURM_JOB_ID": "4711", "SLURM_JOB_NAME": "musclewarp", "SLURM_NTASKS": "8", "SLURM_NTASKS_PER_NODE": "4",
    "SLURM_NNODES": "2", "SLURM_PROCID": "5", "SLURM_LOCALID": "1", "SLURM_NODEID": "1", "SLURM_NODELIST": "gpu[07-08]",
}  # fmt: skip


@pytest.fixture
def on_slurm(monkeypatch):
    for name in ("MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "LT_CLI_USED", "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in TASK.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(rank_zero_only, "rank", 0)  # what a trainer sets for the whole process is undone
    monkeypatch.setenv("MASTER_ADDR", "")  # so that what Lightning sets is undone
    monkeypatch.delenv("MASTER_ADDR")
    monkeypatch.setenv("MASTER_PORT", "")
    monkeypatch.delenv("MASTER_PORT")


def test_a_task_of_srun_knows_its_rank_and_world(on_slurm):
    defaults = trainer_defaults(os.environ)
    assert defaults == {"num_nodes": 2, "devices": 4, "strategy": "ddp"}
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, **defaults)
    environment = trainer.strategy.cluster_environment
    assert isinstance(environment, SLURMEnvironment)
    assert (environment.global_rank(), environment.local_rank(), environment.node_rank()) == (5, 1, 1)
    assert (trainer.world_size, trainer.global_rank) == (8, 5)
    assert (environment.main_address, environment.main_port) == ("gpu07", 19711)


def test_one_task_needs_no_strategy():
    environ = {"SLURM_NTASKS": "1", "SLURM_NNODES": "1", "SLURM_JOB_NAME": "musclewarp"}
    assert trainer_defaults(environ) == {"num_nodes": 1, "devices": 1}


def test_interactive_jobs_and_launchers_inside_a_job_are_not_sruns():
    assert trainer_defaults(TASK | {"SLURM_JOB_NAME": "bash"}) == {}
    launched = {"LT_CLI_USED": "1", "LT_DEVICES": "2", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    assert trainer_defaults(TASK | launched)["devices"] == 2


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """`cluster(name, body)`: a command of the cluster; all note their arguments in the file that is returned."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    monkeypatch.setenv("SLURM_GPUS_ON_NODE", "4")
    calls = tmp_path / "calls"

    def command(name, body="exit 0"):
        path = tmp_path / name
        path.write_text(f'#!/bin/bash\necho "{name} $*" >> {calls}\n{body}\n')
        path.chmod(0o755)
        return calls

    command("scontrol")
    return command


def start(script):
    return subprocess.Popen(["bash", str(SCRIPTS / script), "a.yaml", "runs/a", "--ppo.gamma=0.9"])


@pytest.mark.parametrize(("status", "requeued"), [(138, True), (0, False), (2, False), (143, False)])
def test_several_nodes_come_again_when_the_time_was_up(status, requeued, cluster):
    calls = cluster("srun", f"exit {status}")
    assert start("several_nodes.sbatch").wait(timeout=20) == status
    srun, *others = calls.read_text().splitlines()
    assert srun == "srun python -m musclewarp.train fit --config a.yaml --out runs/a --ppo.gamma=0.9"
    assert others == ["scontrol requeue 4711"] * requeued


def test_one_node_comes_again_when_the_time_was_up_and_its_launcher_has_time_to_save(cluster, tmp_path):
    saves = f"trap 'sleep 0.5; touch {tmp_path}/saved; exit 1' TERM"
    body = f"{saves}\ntouch {tmp_path}/began\nwhile true; do sleep 0.05; done"
    calls = cluster("lightning", body)
    with start("one_node.sbatch") as job:
        while not (tmp_path / "began").exists():
            time.sleep(0.02)
        job.send_signal(signal.SIGUSR1)
        assert job.wait(timeout=20) == 1
    assert (tmp_path / "saved").exists()
    lightning, *others = calls.read_text().splitlines()
    options = "--accelerator gpu --devices 4 musclewarp/train.py fit --config a.yaml --out runs/a --ppo.gamma=0.9"
    assert lightning == f"lightning run {options}"
    assert others == ["scontrol requeue 4711"]


@pytest.mark.parametrize("status", [0, 2])
def test_one_node_that_is_done_or_fails_does_not_come_again(status, cluster):
    calls = cluster("lightning", f"exit {status}")
    assert start("one_node.sbatch").wait(timeout=20) == status
    assert "scontrol" not in calls.read_text()


@pytest.mark.parametrize("script", sorted(SCRIPTS.glob("*.sbatch")), ids=lambda path: path.name)
def test_scripts_are_bash_and_ask_to_be_warned(script):
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0
    text = script.read_text()
    assert "--requeue" in text
    assert "--signal=" in text
