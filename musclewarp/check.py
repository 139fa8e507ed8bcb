"""`musclewarp models`: which models there are, and what is wrong with one."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table

from musclewarp.errors import ModelError
from musclewarp.files import write_text
from musclewarp.models import MODELS, MuscleModel, load_model
from musclewarp.models.sanity import KINDS, SEVERITIES, check_model

_SHOWN = 3
_COLOURS = {"error": "red", "warning": "yellow"}


def list_models() -> int:
    """Print a table of the models, and what is missing where one cannot be loaded; 0."""
    table = Table("name", "muscles", "independent coordinates", "mass, kg", "hash")
    for name in MODELS:
        try:
            model = load_model(name)
        except ModelError as error:  # the files of some models are the user's
            Console(stderr=True).print(f"{name}: {error}", soft_wrap=True)
            continue
        mass = model.mj_model.body_mass.sum()
        coordinates = str(len(model.couplings.independent))
        table.add_row(name, str(len(model.muscles)), coordinates, f"{mass:.1f}", model.hash[:8])
    Console().print(table)
    return 0


def check_named(name: str, fingers: bool = False, json_path: Path | None = None, fail_on: str = "error") -> int:
    """Check a model, print its flaws by kind, write them if asked for.

    Args:
        name: see `load_model`.
        fingers: check it with its fingers.
        json_path: where to write every finding.
        fail_on: "error" or "warning".

    Returns:
        1 if there is a finding at least as grave as `fail_on`, else 0.

    Raises:
        ModelError: `name` is unknown.
    """
    model = load_model(name, fingers)
    findings = check_model(model)
    print_findings(model.name, findings)
    if json_path is not None:
        write_text(json_path, json.dumps(as_json(model, findings), indent=2, allow_nan=False) + "\n")
    grave = SEVERITIES[SEVERITIES.index(fail_on) :]
    return int(any(severity in grave for severity in findings["severity"]))


def as_json(model: MuscleModel, findings: pd.DataFrame) -> dict[str, object]:
    """The findings for a file; numbers that are not finite are null."""
    rows = [
        {key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in row.items()}
        for row in findings.to_dict("records")
    ]
    counts = dict(Counter(findings["kind"]))
    return {"model": model.name, "hash": model.hash, "counts": counts, "findings": rows}


def print_findings(name: str, findings: pd.DataFrame) -> None:
    """A table by kind: how many, the worst few, and how to mend them."""
    console = Console()
    if findings.empty:
        console.print(f"{name}: nothing found")
        return
    table = Table("", "what", "count", "the worst", title=f"{name}: {len(findings)} findings", show_lines=True)
    for kind, rows in findings.groupby("kind", sort=False):
        about = KINDS[str(kind)]
        worst = [f"{row['message']} (expected: {row['expected']})" for row in rows.head(_SHOWN).to_dict("records")]
        more = [f"and {len(rows) - _SHOWN} more"] if len(rows) > _SHOWN else []
        severity = f"[{_COLOURS[about.severity]}]{about.severity}[/]"
        what = f"{about.title}\n[dim]to mend: {about.remedy.replace('[', chr(92) + '[')}[/]"
        lines = "\n".join([*worst, *more]).replace("[", "\\[")
        table.add_row(severity, what, str(len(rows)), lines)
    console.print(table)
