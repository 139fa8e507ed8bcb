"""The `lightning` command: `lightning run` is Lightning's own launcher, under the name that people type.

Lightning renamed `lightning run` to `fabric run` and later gave the name `lightning` to the command line of its cloud
(lightning-sdk). Here `lightning run ARGS` and `fabric run ARGS` are the same, and every other subcommand goes to
lightning-sdk where that is installed. The launcher tells its processes what was asked for by `LT_*` variables, which
Lightning's `Trainer` ignores; `trainer_defaults` maps them.

Both packages install the script `lightning`, and pip lets the one that was installed last win, without a word:

- musclewarp last: `lightning run` launches, all else goes to lightning-sdk (`lightning run job|mmt`, its own, too).
- lightning-sdk last: `lightning run SCRIPT` fails with its message about "noun-first commands". `fabric run` and
  `python -m musclewarp.launch run` launch as ever; `pip install --force-reinstall --no-deps` of musclewarp mends it.
- Uninstalling either one removes the script of both; the same reinstallation of the other one brings it back.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata, util
from pathlib import Path
from typing import Any

HELP = """\
usage: lightning run [--devices N] [--accelerator cpu|gpu|auto] [--strategy S] [--num-nodes N] SCRIPT [SCRIPT_ARGS...]
       lightning run --help      every option of the launcher

Start SCRIPT in one process per device, under Lightning's own launcher (which calls torchrun), for example

    lightning run --devices 2 --accelerator cpu musclewarp/train.py fit --config configs/bimanual_cpu.yaml

`fabric run` is the same command, and so are the historic `lightning run model` and `python -m musclewarp.launch run`.
Any other subcommand of `lightning` belongs to lightning-sdk, Lightning's cloud client: {sdk}"""

_INTERACTIVE = ("bash", "interactive")  # names of SLURM jobs in which Lightning launches processes itself
SDK_COMMANDS_UNDER_RUN = ("job", "mmt")  # lightning-sdk has `lightning run job` and `lightning run mmt`


class _MissingError(Exception):
    """A package that the command needs is not installed."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the `lightning` command with `argv` (default: the process's arguments) and return its exit status.

    What it hands over to (a click command) may instead leave by `SystemExit`.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        sdk = "it is installed, `lightning-sdk --help`." if _sdk_script() else "it is not installed."
        print(HELP.format(sdk=sdk))
        return 0
    try:
        if arguments[0] == "run" and not _names_sdk_command(arguments[1:]):
            return _run(arguments[1:])
        return _hand_to_sdk(arguments)
    except _MissingError as error:
        print(f"lightning: {error}", file=sys.stderr)
        return 2


def trainer_defaults(environ: Mapping[str, str]) -> dict[str, Any]:
    """Trainer keyword defaults for a process that was started by `lightning run`, `fabric run`, torchrun or srun.

    Args:
        environ: the environment variables, `os.environ`. `LT_ACCELERATOR`, `LT_STRATEGY`, `LT_DEVICES`,
            `LT_NUM_NODES` and `LT_PRECISION` count only where `LT_CLI_USED=1`, as in Lightning Fabric.

    Returns:
        Any of `accelerator`, `strategy`, `devices` (int, or list of indices), `num_nodes`, `precision`; empty in a
        process that nobody launched. The strategy is ddp when the world is larger than one and none was asked for.
    """
    defaults: dict[str, Any] = {}
    if environ.get("LT_CLI_USED") == "1":
        for key in ("accelerator", "strategy", "precision"):
            if value := environ.get(f"LT_{key.upper()}"):
                defaults[key] = value
        defaults["num_nodes"] = int(environ.get("LT_NUM_NODES", "1"))
        defaults["devices"] = _devices(environ.get("LT_DEVICES", "1"), environ)
    elif "TORCHELASTIC_RUN_ID" in environ:  # plain torchrun: Trainer insists on devices x nodes == world size
        local = int(environ["LOCAL_WORLD_SIZE"])
        defaults["devices"] = local
        defaults["num_nodes"] = int(environ["WORLD_SIZE"]) // local
    elif "SLURM_NTASKS" in environ and environ.get("SLURM_JOB_NAME") not in _INTERACTIVE:  # srun: Trainer insists, too
        defaults["num_nodes"] = int(environ.get("SLURM_NNODES", "1"))
        per_node = environ.get("SLURM_NTASKS_PER_NODE", "")
        defaults["devices"] = int(per_node) if per_node else int(environ["SLURM_NTASKS"]) // defaults["num_nodes"]
    if "strategy" not in defaults and _world_size(defaults, environ) > 1:
        defaults["strategy"] = "ddp"
    return defaults


def _devices(text: str, environ: Mapping[str, str]) -> int | list[int]:
    """`2` is a count, `0,3` (or `3,`) a list of indices, `auto` whatever the launcher made of it."""
    text = text.strip()
    if text == "auto":
        return int(environ.get("LOCAL_WORLD_SIZE", "1"))
    if "," in text:
        return [int(index) for index in text.split(",") if index.strip()]
    return int(text)


def _world_size(defaults: Mapping[str, Any], environ: Mapping[str, str]) -> int:
    if "WORLD_SIZE" in environ:
        return int(environ["WORLD_SIZE"])
    devices = defaults.get("devices", 1)
    count = len(devices) if isinstance(devices, list) else devices
    return (2 if count == -1 else count) * defaults.get("num_nodes", 1)  # -1: all GPUs of this machine


def _names_sdk_command(arguments: Sequence[str]) -> bool:
    return bool(arguments) and arguments[0] in SDK_COMMANDS_UNDER_RUN and not Path(arguments[0]).exists()


def _run(arguments: Sequence[str]) -> int:
    """Hand `arguments` to the `run` command of Lightning's launcher."""
    if arguments and arguments[0] == "model" and not Path("model").is_file():
        arguments = arguments[1:]  # Lightning 1.8 to 2.1 spelled it `lightning run model SCRIPT`
    if not arguments or arguments[0] == "--help":
        print("`lightning run` is Lightning's `fabric run`; any script with a Trainer will do.")
        arguments = ["--help"]
    command = _load_fabric()
    command(args=["run", *arguments], prog_name="lightning")
    return 0


def _load_fabric() -> Callable[..., Any]:
    """Lightning's click group behind its `fabric` script."""
    if util.find_spec("click") is None:
        raise _MissingError("Lightning's launcher needs click, which is not installed: `pip install click`")
    for package in ("lightning", "lightning-fabric"):
        script = _script(package, "fabric")
        if script is not None:
            return script.load()
    raise _MissingError("Lightning is not installed: `pip install 'lightning>=2.6.4'`")


def _hand_to_sdk(arguments: Sequence[str]) -> int:
    script = _sdk_script()
    if script is None:
        raise _MissingError(
            f"'{arguments[0]}' is not a command here: this `lightning` (from musclewarp) has `run`, the launcher. "
            "Lightning's cloud commands are in another package: `pip install lightning-sdk`, then `lightning-sdk`."
        )
    sys.argv = ["lightning", *arguments]
    script.load()()
    return 0


def _sdk_script() -> metadata.EntryPoint | None:
    # Its first releases had the script `lightning` only.
    return _script("lightning-sdk", "lightning-sdk") or _script("lightning-sdk", "lightning")


def _script(package: str, name: str) -> metadata.EntryPoint | None:
    """The console script `name` of an installed package, whether or not another package overwrote its file."""
    try:
        found = metadata.distribution(package).entry_points.select(group="console_scripts", name=name)
    except metadata.PackageNotFoundError:
        return None
    return next(iter(found), None)


if __name__ == "__main__":
    sys.exit(main())
