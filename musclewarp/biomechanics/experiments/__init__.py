"""Published experiments, one file each, as `Experiment`s."""

from __future__ import annotations

import difflib
import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from musclewarp.biomechanics.experiments import (
    bmclab_run2018,
    gait120,
    hamner_run,
    rajagopal2016_walk,
    santuz_walk_emg,
    wang2023,
)
from musclewarp.biomechanics.experiments.cycle import over_cycle
from musclewarp.biomechanics.experiments.experiment import Emg, Event, Experiment, GroundForce
from musclewarp.errors import ConfigError, FileError

__all__ = ["EXPERIMENTS", "Emg", "Event", "Experiment", "GroundForce", "load_experiment", "over_cycle"]

_MODULES = (rajagopal2016_walk, santuz_walk_emg, hamner_run, bmclab_run2018, gait120, wang2023)
# name -> what reads its folder
EXPERIMENTS: dict[str, Callable[..., Experiment]] = {module.FOLDER: module.load for module in _MODULES}


def load_experiment(name: str, root: str | Path | None = None, **selection: Any) -> Experiment:
    """Read a published experiment from `<root>/experimental/<name>/`.

    Args:
        name: one of `EXPERIMENTS`.
        root: the data root, by default `$MUSCLEWARP_DATA`, else `data`.
        selection: which part, where there are many: gait120 takes `subject`, `task`, `trial` and `step`, wang2023
            `subject` and `trial`, santuz_walk_emg `stance_fraction`.

    Raises:
        ConfigError: no experiment of that name, or one that takes no such selection.
        FileError: its files are missing, truncated or inconsistent.
    """
    if name not in EXPERIMENTS:
        near = difflib.get_close_matches(name, EXPERIMENTS, n=1, cutoff=0.4)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise ConfigError(f"no experiment '{name}'; {hint}choose one of {', '.join(EXPERIMENTS)}")
    load = EXPERIMENTS[name]
    known = list(inspect.signature(load).parameters)[1:]
    if unknown := sorted(selection.keys() - set(known)):
        raise ConfigError(f"experiment '{name}' takes no '{unknown[0]}'; it takes {', '.join(known) or 'nothing'}")
    folder = Path(root if root is not None else os.environ.get("MUSCLEWARP_DATA", "data")) / "experimental" / name
    if not folder.is_dir():
        raise FileError(f"{folder}: no such folder; set MUSCLEWARP_DATA to a data root that has it (data/README.md)")
    return load(folder, **selection)
