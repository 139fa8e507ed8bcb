"""What `musclewarp trials` does with recorded episodes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from musclewarp.errors import ConfigError
from musclewarp.evaluation.trial import SUFFIX, Trial
from musclewarp.files import write_atomically, write_text


def compare_solutions(paths: Sequence[Path], out: Path, costs: Path | None = None) -> int:
    """Write how trials of one motion differ into `out`: tables (CSV) and figures (PNG); print the first table.

    Args:
        paths: one for each solution: a trial, or a folder of trials that repeat it.
        out: a folder.
        costs: a reference whose static optimisation under several costs gives further solutions.

    Raises:
        ConfigError: a folder holds no trial, or two paths have one name.
    """
    from rich.console import Console
    from rich.table import Table

    from musclewarp.biomechanics.solution_figures import FIGURES
    from musclewarp.biomechanics.solution_space import cost_solutions, same_motion, solution_space, trial_solution

    groups = {name: load_trials(path) for name, path in zip(_names(paths), paths)}
    if groups:
        same_motion({name: trials[0] for name, trials in groups.items()})
    solutions = [trial_solution(name, trials) for name, trials in groups.items()]
    if costs is not None:
        from musclewarp.models import model_of_rate
        from musclewarp.references.reference import Reference

        reference = Reference.load(costs)
        model = model_of_rate(reference.model, reference.dt)
        reference.check_model(model, costs)
        clips = {trials[0].clip for trials in groups.values()}
        if clips - {reference.name}:
            raise ConfigError(
                f"{costs} is '{reference.name}', the trials are of {', '.join(clips)}: compare one motion"
            )
        solutions += cost_solutions(model, reference)
    space = solution_space(solutions)
    tables = {"solution_space": space.table().reset_index()}
    tables |= {"explained_variance": space.explained_table(), "distances": space.distance_table()}
    for name, table in tables.items():
        write_text(out / f"{name}.csv", table.to_csv(index=False))
    for name, figure in FIGURES.items():
        write_atomically(out / f"{name}.png", lambda path, draw=figure: draw(space).savefig(path, dpi=150))
    shown = Table(*tables["solution_space"].columns, title=f"{len(solutions)} solutions of one motion")
    for row in tables["solution_space"].itertuples(index=False):
        shown.add_row(*(f"{value:.3g}" if isinstance(value, float) else str(value) for value in row))
    Console().print(shown)
    print(f"wrote {', '.join([*(f'{name}.csv' for name in tables), *(f'{name}.png' for name in FIGURES)])} to {out}")
    return 0


def _names(paths: Sequence[Path]) -> list[str]:
    """The shortest parts of paths that tell them apart: "a" and "b" of runs/a/trials and runs/b/trials."""
    parts = [Path(os.path.abspath(path).removesuffix(SUFFIX)).parts for path in paths]
    if len(set(parts)) < len(parts):
        raise ConfigError(f"{', '.join(map(str, paths))}: two solutions have one name; rename one, or give it once")
    while len(parts) > 1 and len({part[-1] for part in parts}) == 1:
        parts = [part[:-1] for part in parts]
    length = 1
    while len({part[-length:] for part in parts}) < len(parts):
        length += 1
    return ["/".join(part[-length:]) for part in parts]


def load_trials(path: Path) -> list[Trial]:
    """The trial at `path`, or those in the folder `path`: of what `musclewarp evaluate` writes, the policy's.

    Raises:
        ConfigError: the folder holds none.
    """
    if not path.is_dir():
        return [Trial.load(path)]
    files = sorted(path.glob(f"*{SUFFIX}"))
    if not files:
        raise ConfigError(f"{path}: no *{SUFFIX} in it; `musclewarp evaluate POLICY --trials FOLDER` writes them")
    trials = [Trial.load(file) for file in files]
    return [trial for trial in trials if trial.controller == "policy"] or trials


def export_trials(
    paths: Sequence[Path], out: Path, motion_group: str | None = None, motions: Sequence[int] | None = None
) -> int:
    """Write trials, or folders of them, of one model as a rollout archive: see `biomechanics.mm_evalkit`."""
    from musclewarp.biomechanics.mm_evalkit import export_mm_evalkit
    from musclewarp.models import model_of_rate

    trials = [trial for path in paths for trial in load_trials(path)]
    model = model_of_rate(trials[0].model, trials[0].dt)
    export_mm_evalkit(out, model, trials, motion_group, motions)
    frames = sum(trial.survived for trial in trials)
    print(f"{out}: {len(trials)} episodes, {frames} frames of {trials[0].dt:g} s before their first failure, at 100 Hz")
    return 0
