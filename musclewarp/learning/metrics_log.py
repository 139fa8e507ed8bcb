"""The history of a run: one CSV file, which a resumed run goes on with."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from musclewarp.files import write_atomically


class MetricsLog(Logger):
    """A Lightning logger that writes `metrics.csv` into a folder, a row for each update as it ends.

    A run that resumes keeps the rows that came before its first; later ones, of updates that were lost because no
    checkpoint followed them, are replaced by its own. (Lightning's CSVLogger deletes the file.)
    """

    def __init__(self, folder: str | Path) -> None:
        super().__init__()
        self.path = Path(folder) / "metrics.csv"
        self._columns: list[str] = []  # of the file, once this run has written to it

    @property
    def name(self) -> str:
        """Lightning's name for a subfolder; there is none."""
        return ""

    @property
    def version(self) -> str:
        """The same, below `name`."""
        return ""

    @property
    def save_dir(self) -> str:
        """The folder."""
        return str(self.path.parent)

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing: the run's config is a file of its own."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Append a row for update `step`; a column that the file does not have yet is added to all of it."""
        row = {"step": step or 0, **metrics}
        if row.keys() <= set(self._columns):
            with open(self.path, "a", newline="", encoding="utf-8") as file:
                csv.DictWriter(file, self._columns).writerow(row)
            return
        columns, before = self._read(row["step"])
        self._columns = list(dict.fromkeys((*columns, *row)))
        write_atomically(self.path, lambda temporary: self._write(temporary, [*before, row]))

    def _read(self, step: float) -> tuple[list[str], list[dict[str, str]]]:
        """Columns of the file, and its rows from before `step`."""
        if not self.path.is_file():
            return [], []
        with open(self.path, newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            rows = [row for row in reader if (row.get("step") or "").isdecimal() and int(row["step"]) < step]
            return list(reader.fieldnames or ()), rows

    def _write(self, path: Path, rows: Iterable[Mapping[str, object]]) -> None:
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self._columns, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)
