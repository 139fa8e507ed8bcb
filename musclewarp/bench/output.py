"""Rows of a benchmark as JSON or as a table."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from musclewarp.files import write_text


def print_rows(rows: Sequence[dict[str, Any]], path: Path | None) -> None:
    """As a JSON list to `path` ("-": the terminal), else as a table."""
    if path is not None:
        text = json.dumps(list(rows), indent=2) + "\n"
        if str(path) == "-":
            sys.stdout.write(text)
        else:
            write_text(path, text)
        return
    table = Table("case", "model", "engine", "worlds", "steps/s", "bare steps/s", "ratio", "simulated s/s", "faults")
    for row in rows:
        table.add_row(
            row["case"],
            f"{row['model']}, {row['muscles']} muscles",
            f"{row['engine']} on {row['device']}",
            str(row["worlds"]),
            f"{row['steps_per_s']:,.0f}",
            f"{row['bare_steps_per_s']:,.0f}",
            f"{row['ratio']:.2f}",
            f"{row['simulated_seconds_per_s']:,.1f}",
            ", ".join(f"{kind} {count}" for kind, count in row["faults"].items()) or "none",
        )
    console = Console()
    console.print(table)
    for row in rows:
        if "training" in row:
            shares = row["training"]
            console.print(
                f"training: {shares['frames_per_s']:,.0f} frames/s; physics {shares['physics_share']:.0%}, "
                f"networks {shares['network_share']:.0%}, all else {shares['other_share']:.0%}"
            )
