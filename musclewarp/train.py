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

import json
import logging
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from difflib import get_close_matches
from itertools import pairwise
from pathlib import Path
from textwrap import shorten
from types import MappingProxyType
from typing import Any

import jsonargparse
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.utilities import rank_zero_only

from musclewarp.envs import EnvConfig
from musclewarp.errors import ConfigError, FileError, MusclewarpError
from musclewarp.launch import trainer_defaults
from musclewarp.learning.callbacks import Checkpoints, Progress
from musclewarp.learning.checkpoints import LAST, CheckpointConfig, newest_checkpoint, read_checkpoint, software
from musclewarp.learning.config import PPOConfig
from musclewarp.learning.distillation import DistillConfig, Pupil
from musclewarp.learning.metrics_log import EventsLog, MetricsLog
from musclewarp.learning.signals import StopOnSignals, Stopped

_QUIET = (  # what Lightning and its dependencies say that a user of this command can do nothing about
    ".*does not have many workers.*",
    ".*isinstance.treespec, LeafSpec.*",
    ".*Checkpoint directory .* exists and is not empty.*",
    ".*smaller than the logging interval.*",
)
_COUNTED_OTHERWISE: dict[
    str, tuple[Any, str]
] = {  # option of Lightning's Trainer: its usual value, what to set instead
    "max_epochs": (1, "ppo.total_frames or trainer.max_time"),
    "max_steps": (-1, "ppo.total_frames or trainer.max_time"),
    "min_epochs": (None, "ppo.total_frames"),
    "min_steps": (None, "ppo.total_frames"),
    "limit_train_batches": (None, "ppo.total_frames"),
    "overfit_batches": (0.0, "ppo.total_frames"),
    "accumulate_grad_batches": (1, "ppo.minibatch"),
    "gradient_clip_val": (None, "ppo.max_grad_norm"),
}
_GROUPS = {"env": EnvConfig, "ppo": PPOConfig, "distill": DistillConfig, "checkpoint": CheckpointConfig}


class SaveConfig(SaveConfigCallback):
    """Writes `config.yaml` when training begins, so that a run that is refused leaves that of the one before it."""

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Not yet."""

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Now."""
        super().setup(trainer, pl_module, "fit")


class TrainingCLI(LightningCLI):
    """LightningCLI with the task at `env`, the learner at `ppo`, lessons at `distill` and Lightning at `trainer`."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_class_arguments(EnvConfig, "env")
        parser.add_class_arguments(PPOConfig, "ppo")
        parser.add_class_arguments(DistillConfig, "distill")
        parser.add_class_arguments(CheckpointConfig, "checkpoint")
        text = "folder for checkpoints, policy and logs; a run that lies there is gone on with"
        parser.add_argument("--out", type=str, default="runs/latest", help=text)
        text = "a policy (.ckpt or .safetensors) whose weights a new run begins with, on other clips or another variant"
        parser.add_argument("--init_from", type=str, default="", help=text)
        parser.link_arguments("init_from", "model.init_from")
        parser.link_arguments("env", "model.env", apply_on="instantiate")
        parser.link_arguments("ppo", "model.ppo", apply_on="instantiate")
        parser.link_arguments("distill", "model.distill", apply_on="instantiate")

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        super().parse_arguments(parser, args)
        config = self.config[self.config.subcommand]
        _check_trainer(config.trainer, config.seed_everything)
        self.checkpoint = _choose_checkpoint(config.out, config.get("ckpt_path"))
        if not config.env.dump_folder:  # a world that goes wrong is kept for `musclewarp replay`
            config.env.dump_folder = os.path.join(config.out, "quarantine")

    def instantiate_classes(self) -> None:
        super().instantiate_classes()
        if self.checkpoint is not None:
            self.config_init[
                self.config.subcommand
            ].ckpt_path = self.checkpoint  # and not in config.yaml: it is of this time
            _say_what_goes_on(self.checkpoint, self.model)

    def instantiate_trainer(self, **kwargs: Any) -> Any:
        config = self.config[self.config.subcommand]
        if config.trainer.get("logger") is None:
            kwargs["logger"] = [MetricsLog(config.out), EventsLog(config.out)]
        try:
            trainer: Any = super().instantiate_trainer(**kwargs)
        except Exception as error:  # of whatever kind: Lightning refuses options by a dozen
            raise _trainer_error(error, config.trainer) from error
        # checkpoints first: a signal is raised after the update has been remembered
        kept = Checkpoints(config.out, CheckpointConfig(**config.checkpoint.as_dict()))
        trainer.callbacks.extend([kept, StopOnSignals(), Progress()])
        return trainer

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        return {"fit": LightningCLI.subcommands()["fit"]}  # the others need dataloaders


def _check_trainer(trainer: Mapping[str, Any], seed: bool | int) -> None:
    """Refuse what would have no effect, or a wrong one, in a training that counts frames."""
    for key, (usual, instead) in _COUNTED_OTHERWISE.items():
        if trainer.get(key) not in (usual, None):
            raise ConfigError(f"trainer.{key} is {trainer.get(key)}, but not what counts here; set {instead}")
    if not 0 <= seed < 2**32:
        raise ConfigError(f"seed_everything is {seed}; it must lie in [0, {2**32 - 1}]")


def _choose_checkpoint(out: str, given: str | None) -> Path | None:
    """The checkpoint to go on from: the one that is asked for, else the newest in `out` that can be read.

    Raises:
        FileError: what is asked for cannot be resumed, or nothing in `out` can be read.
        ConfigError: `out` holds another run than the one to resume.
    """
    if not given:
        return newest_checkpoint(out)
    if Path(given).suffix == ".safetensors":
        raise FileError(f"{given}: a policy alone cannot be resumed; give the last.ckpt that lies beside it")
    read_checkpoint(given)
    last = Path(out) / LAST
    if last.exists() and Path(given).resolve().parent != last.resolve().parent:
        raise ConfigError(f"{last} exists: go on from it without --ckpt_path, or take {given} on in another --out")
    return Path(given)


@rank_zero_only
def _say_what_goes_on(checkpoint: Path, model: Any) -> None:
    """A line about the run that goes on, and what has changed: the same folder may hold an older experiment."""
    saved = read_checkpoint(checkpoint)["musclewarp"]
    now = {"env": asdict(model.env_config), "ppo": asdict(model.config), "software": software()}
    now["distill"] = asdict(model.distill)
    changed = [
        f"{group}.{key}"
        for group, values in now.items()
        for key, value in values.items()
        if json.dumps(value) != json.dumps(saved.get(group, values).get(key)) and key != "dump_folder"
    ]
    done = " (no frames are left to learn from: raise ppo.total_frames)"
    print(
        f"going on from {checkpoint}, after {saved['frames']:,} frames"
        + (done if saved["frames"] >= model.config.total_frames else "")
        + (f"; changed since: {', '.join(changed)}" if changed else ""),
        flush=True,
    )


def _trainer_error(error: Exception, trainer: Mapping[str, Any] = MappingProxyType({})) -> MusclewarpError:
    """Lightning's refusal in a line, with what was asked for."""
    if isinstance(error, MusclewarpError):
        return error
    usual = {"accelerator": "auto", "strategy": "auto", "devices": "auto", "num_nodes": 1}
    asked = [f"trainer.{key} is {trainer[key]}" for key, value in usual.items() if trainer.get(key, value) != value]
    text = shorten(str(error), 250, placeholder=" ...").rstrip(".")
    with_them = f" ({', '.join(asked)})" if asked else ""
    return ConfigError(f"trainer: {text}{with_them}; `musclewarp fit --help` lists trainer.* options")


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
            Pupil,
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
    except MisconfigurationException as error:  # an option that only shows when training begins
        print(f"musclewarp fit: {_trainer_error(error)}", file=sys.stderr)
        return 2
    except Stopped as stop:
        print(f"musclewarp fit: stopped by {stop.signal.name}; the same command goes on", file=sys.stderr)
        return stop.status
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
