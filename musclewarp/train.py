"""`musclewarp fit`, and the script that `lightning run` starts: PPO under Lightning's own command line.

musclewarp fit --config configs/bimanual_cpu.yaml --env.references refs/
lightning run --devices 2 --accelerator cpu musclewarp/train.py fit --config configs/bimanual_cpu.yaml
"""

from __future__ import annotations

import os

# Read when torch is imported: threads that spin while MuJoCo's have the cores make both several times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import sys

if __name__ == "__main__":  # run as a script, by a launcher: the package's folder must not shadow other modules
    folder = os.path.dirname(os.path.realpath(__file__))
    sys.path = [path for path in sys.path if os.path.realpath(path or ".") != folder]

import logging
import re
import warnings
from collections.abc import Sequence
from dataclasses import fields
from difflib import get_close_matches
from itertools import pairwise
from pathlib import Path
from typing import Any

import jsonargparse
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.loggers import TensorBoardLogger

from musclewarp.envs import EnvConfig
from musclewarp.errors import ConfigError, FileError, MusclewarpError
from musclewarp.launch import trainer_defaults
from musclewarp.learning.callbacks import Checkpoints, Progress
from musclewarp.learning.config import PPOConfig
from musclewarp.learning.metrics_log import MetricsLog
from musclewarp.learning.policy import load_policy
from musclewarp.learning.ppo import PPO

_QUIET = (  # what Lightning and its dependencies say that a user of this command can do nothing about
    ".*does not have many workers.*",
    ".*isinstance.treespec, LeafSpec.*",
    ".*Checkpoint directory .* exists and is not empty.*",
    ".*smaller than the logging interval.*",
)
_GROUPS = {"env": EnvConfig, "ppo": PPOConfig}


class SaveConfig(SaveConfigCallback):
    """Writes `config.yaml` when training begins, so that a run that is refused leaves that of the one before it."""

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Not yet."""

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Now."""
        super().setup(trainer, pl_module, "fit")


class TrainingCLI(LightningCLI):
    """LightningCLI with the task at `env`, the learner at `ppo` and Lightning at `trainer`."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_class_arguments(EnvConfig, "env")
        parser.add_class_arguments(PPOConfig, "ppo")
        parser.add_argument("--out", type=str, default="runs/latest", help="folder for checkpoints, policy and logs")
        parser.link_arguments("env", "model.env", apply_on="instantiate")
        parser.link_arguments("ppo", "model.ppo", apply_on="instantiate")

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        super().parse_arguments(parser, args)
        config = self.config[self.config.subcommand]
        _check_paths(config.out, config.get("ckpt_path"))
        if not config.env.dump_folder:  # a world that goes wrong is kept for `musclewarp replay`
            config.env.dump_folder = os.path.join(config.out, "quarantine")

    def instantiate_trainer(self, **kwargs: Any) -> Any:
        config = self.config[self.config.subcommand]
        if config.trainer.get("logger") is None:
            kwargs["logger"] = [MetricsLog(config.out), TensorBoardLogger(config.out, "", "")]
        trainer: Any = super().instantiate_trainer(**kwargs)
        trainer.callbacks.extend([Checkpoints(config.out), Progress()])
        return trainer


def _check_paths(out: str, checkpoint: str | None) -> None:
    """Refuse, with a sentence, what is no checkpoint to resume from, and an `out` that holds another run."""
    last = Path(out) / "last.ckpt"
    if checkpoint:
        if Path(checkpoint).suffix == ".safetensors":
            raise FileError(f"{checkpoint}: a policy alone cannot be resumed; give the last.ckpt that lies beside it")
        load_policy(checkpoint)
    if last.exists() and not (checkpoint and Path(checkpoint).resolve().parent == last.resolve().parent):
        raise ConfigError(f"{last} exists: go on from it with --ckpt_path {last}, or start anew in another --out")


def main(argv: Sequence[str] | None = None) -> int:
    """Train, with `argv` beginning with Lightning's subcommand ("fit"); the exit status."""
    for message in _QUIET:
        warnings.filterwarnings("ignore", message)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # tips and advertisements
    defaults: dict[str, Any] = {
        "max_epochs": 1,  # one pass over the rollouts, which end at ppo.total_frames
        "log_every_n_steps": 1,
        "enable_progress_bar": False,
        "enable_checkpointing": False,  # the Checkpoints callback writes them
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        **trainer_defaults(os.environ),
    }
    try:
        TrainingCLI(
            PPO,
            save_config_callback=SaveConfig,
            save_config_kwargs={"overwrite": True},
            seed_everything_default=0,
            trainer_defaults=defaults,
            parser_kwargs={"parser_mode": "omegaconf+", "exit_on_error": False, "fit": {"exit_on_error": False}},
            args=list(argv) if argv is not None else None,
        )
    except MusclewarpError as error:
        print(f"musclewarp fit: {error}", file=sys.stderr)
        return 2
    except jsonargparse.ArgumentError as error:
        print(f"musclewarp fit: {_explain(error, sys.argv[1:] if argv is None else argv)}", file=sys.stderr)
        return 2
    return 0


def _explain(error: jsonargparse.ArgumentError, argv: Sequence[str]) -> str:
    """One line: which file, what is wrong there, and the key that was probably meant."""
    text = " ".join(str(error).split())
    keys = [f"{group}.{field.name}" for group, kind in _GROUPS.items() for field in fields(kind)]
    named = re.search(rf"({'|'.join(_GROUPS)})(\.\w+)+", text)
    hint = "`musclewarp fit --help` lists every key"
    if named and named[0] not in keys and (close := get_close_matches(named[0], keys, n=1)):
        hint = f"did you mean '{close[0]}'? {hint}"
    following = [value for option, value in pairwise(argv) if option in ("--config", "-c")]
    typed = named and any(part.startswith(f"--{named[0]}") for part in argv)
    files = "" if typed or "config" in text.split('"')[1:2] else "".join(f"{name}: " for name in following)
    return f"{files}{text}; {hint}"


if __name__ == "__main__":
    sys.exit(main())
