"""The `lightning` command, and what a launched process tells its Trainer."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from lightning.fabric.strategies import STRATEGY_REGISTRY
from lightning.pytorch import Trainer

from musclewarp import launch
from musclewarp.launch import main, trainer_defaults

# Each rank draws other batches; only ddp's gradient averaging can keep the weights equal.
SCRIPT = """
import os, sys, torch
from lightning.pytorch import LightningModule, Trainer
from musclewarp.launch import trainer_defaults

class Line(LightningModule):
    def __init__(self):
        super().__init__()
        torch.manual_seed(int(os.environ["RANK"]))  # unequal at the start: ddp broadcasts rank 0's
        self.layer = torch.nn.Linear(3, 1)
    def training_step(self, batch, index):
        return self.layer(batch[0] + self.global_rank).square().mean()
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)

data = torch.utils.data.TensorDataset(torch.randn(16, 3))
trainer = Trainer(max_epochs=2, logger=False, enable_checkpointing=False, enable_progress_bar=False,
                  enable_model_summary=False, **trainer_defaults(os.environ))
assert trainer.world_size == 2, trainer.world_size
model = Line()
trainer.fit(model, torch.utils.data.DataLoader(data, batch_size=4))
torch.save({"weight": model.layer.weight.detach(), "argv": sys.argv[1:]}, f"{sys.argv[1]}/{trainer.global_rank}.pt")
"""


@pytest.fixture
def fake_group(monkeypatch):
    """Stands for Lightning's click group; remembers the arguments it was called with."""
    calls = []
    monkeypatch.setattr(launch, "_load_fabric", lambda: lambda args, prog_name: calls.append(args))
    return calls


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def test_run_hands_its_arguments_to_lightnings_launcher(fake_group):
    assert main(["run", "--devices", "2", "train.py", "fit", "--config", "a.yaml"]) == 0
    assert fake_group == [["run", "--devices", "2", "train.py", "fit", "--config", "a.yaml"]]


def test_historic_run_model_is_run(fake_group):
    main(["run", "model", "--devices", "2", "train.py"])
    assert fake_group == [["run", "--devices", "2", "train.py"]]


def test_a_script_called_model_is_a_script(fake_group, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("model").touch()
    main(["run", "model"])
    assert fake_group == [["run", "model"]]


@pytest.mark.parametrize("arguments", [["run"], ["run", "--help"]])
def test_help_of_run_is_the_launchers(arguments, capsys):
    with pytest.raises(SystemExit) as leaving:
        main(arguments)
    assert leaving.value.code == 0
    text = capsys.readouterr().out
    assert "lightning run" in text
    assert "--num-nodes" in text


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_help_teaches(arguments, capsys):
    assert main(arguments) == 0
    text = capsys.readouterr().out
    assert "lightning run --devices 2 --accelerator cpu musclewarp/train.py fit" in text
    assert "fabric run" in text


@pytest.mark.parametrize("arguments", [["studio", "list"], ["run", "job", "--name", "a"]])
def test_cloud_commands_without_the_sdk_say_where_they_went(arguments, monkeypatch, capsys):
    monkeypatch.setattr(launch, "_sdk_script", lambda: None)
    assert main(arguments) == 2
    text = capsys.readouterr().err
    assert f"'{arguments[0]}' is not a command here" in text
    assert "pip install lightning-sdk" in text


@pytest.mark.parametrize("arguments", [["studio", "list"], ["run", "job", "--name", "a"]])
def test_cloud_commands_go_to_the_sdk_where_it_is_installed(arguments, monkeypatch):
    calls = []

    class Script:
        def load(self):
            return lambda: calls.append(sys.argv)

    monkeypatch.setattr(launch, "_sdk_script", Script)
    monkeypatch.setattr(sys, "argv", ["lightning"])
    assert main(arguments) == 0
    assert calls == [["lightning", *arguments]]


def test_missing_click_is_one_clear_line(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "click", None)
    monkeypatch.setattr(launch.util, "find_spec", lambda name: None)
    assert main(["run", "train.py"]) == 2
    assert capsys.readouterr().err == (
        "lightning: Lightning's launcher needs click, which is not installed: `pip install click`\n"
    )


def test_a_process_that_nobody_launched_has_no_defaults():
    assert trainer_defaults({}) == {}
    assert trainer_defaults({"LT_DEVICES": "2"}) == {}  # left over, without LT_CLI_USED


def test_two_cpu_processes_are_ddp():
    environ = {"LT_CLI_USED": "1", "LT_ACCELERATOR": "cpu", "LT_DEVICES": "2", "LT_NUM_NODES": "1"}
    assert trainer_defaults(environ) == {"accelerator": "cpu", "devices": 2, "num_nodes": 1, "strategy": "ddp"}


def test_one_process_leaves_the_strategy_to_trainer():
    assert trainer_defaults({"LT_CLI_USED": "1", "LT_DEVICES": "1", "WORLD_SIZE": "1"}) == {
        "devices": 1,
        "num_nodes": 1,
    }


def test_nodes_multiply_the_world():
    assert trainer_defaults({"LT_CLI_USED": "1", "LT_DEVICES": "1", "LT_NUM_NODES": "2"})["strategy"] == "ddp"


def test_asked_strategy_and_precision_are_kept():
    environ = {"LT_CLI_USED": "1", "LT_DEVICES": "2", "LT_STRATEGY": "fsdp", "LT_PRECISION": "bf16-mixed"}
    defaults = trainer_defaults(environ)
    assert defaults["strategy"] == "fsdp"
    assert defaults["precision"] == "bf16-mixed"


@pytest.mark.parametrize(
    ("text", "devices"), [("2", 2), ("0,3", [0, 3]), ("3,", [3]), ("-1", -1), ("auto", 1), (" 4 ", 4)]
)
def test_devices_are_what_trainer_expects(text, devices):
    assert trainer_defaults({"LT_CLI_USED": "1", "LT_DEVICES": text})["devices"] == devices


def test_auto_devices_are_as_many_as_the_launcher_started():
    environ = {"LT_CLI_USED": "1", "LT_DEVICES": "auto", "LOCAL_WORLD_SIZE": "4", "WORLD_SIZE": "4"}
    assert trainer_defaults(environ)["devices"] == 4


def test_plain_torchrun_sets_devices_nodes_and_ddp():
    environ = {"TORCHELASTIC_RUN_ID": "none", "LOCAL_WORLD_SIZE": "4", "WORLD_SIZE": "8"}
    assert trainer_defaults(environ) == {"devices": 4, "num_nodes": 2, "strategy": "ddp"}


def test_trainer_accepts_the_defaults():
    environ = {"LT_CLI_USED": "1", "LT_ACCELERATOR": "cpu", "LT_DEVICES": "2", "LT_PRECISION": "32-true"}
    trainer = Trainer(logger=False, **trainer_defaults(environ))
    assert trainer.num_devices == 2
    assert type(trainer.strategy).__name__ == "DDPStrategy"
    assert "ddp" in STRATEGY_REGISTRY


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        ["-m", "musclewarp.launch", "run"],
        [str(Path(sys.executable).with_name("fabric")), "run"],
    ],
    ids=["lightning-run", "fabric-run"],
)
def test_two_launched_cpu_processes_train_as_one(command, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    options = ["--devices", "2", "--accelerator", "cpu", "--main-port", str(free_port())]
    # without coverage's trace, which would double the time
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("LT_", "PYTEST_", "COVERAGE_"))}
    environ["CUDA_VISIBLE_DEVICES"] = ""
    done = subprocess.run(
        [sys.executable, *command, *options, str(script), str(tmp_path), "--seed", "3"],
        env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    assert first["argv"] == [str(tmp_path), "--seed", "3"]
    assert torch.equal(first["weight"], second["weight"])
