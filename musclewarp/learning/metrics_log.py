"""The history of a run: one CSV file, which a resumed run goes on with, and TensorBoard's; a full disk ends neither."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only, rank_zero_warn

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
        self._waiting: list[dict[str, float]] = []  # rows that the file does not have yet

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
        """Append a row for update `step`; a column that the file does not have yet is added to all of it.

        A row that finds no room on the disk is written with the next one that does.
        """
        self._waiting.append({"step": step or 0, **metrics})
        try:
            self._write_waiting()
        except OSError as error:
            self._columns = []  # look again at what is there
            rank_zero_warn(f"{self.path} cannot be written ({error.strerror or error}); its rows wait for room")
        else:
            self._waiting = []

    def _write_waiting(self) -> None:
        columns = list(dict.fromkeys(key for row in self._waiting for key in row))
        if set(columns) <= set(self._columns):
            self._append()
            return
        before_columns, before = self._read(self._waiting[0]["step"])
        columns = list(dict.fromkeys((*before_columns, *columns)))
        write_atomically(self.path, lambda temporary: self._write(temporary, columns, [*before, *self._waiting]))
        self._columns = columns

    def _append(self) -> None:
        size = self.path.stat().st_size
        try:
            with open(self.path, "a", newline="", encoding="utf-8") as file:
                csv.DictWriter(file, self._columns).writerows(self._waiting)
        except OSError:
            os.truncate(self.path, size)  # no half row
            raise

    def _read(self, step: float) -> tuple[list[str], list[dict[str, str]]]:
        """Columns of the file, and its rows from before `step`."""
        if not self.path.is_file():
            return [], []
        with open(self.path, newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            rows = [row for row in reader if (row.get("step") or "").isdecimal() and int(row["step"]) < step]
            return list(reader.fieldnames or ()), rows

    def _write(self, path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)


class EventsLog(TensorBoardLogger):
    """Lightning's TensorBoard logger, which on a full disk gives up instead of ending the run."""

    def __init__(self, folder: str | Path) -> None:
        super().__init__(folder, name="", version="")
        self._given_up = False

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """As Lightning's."""
        self._try(lambda: super(EventsLog, self).log_metrics(metrics, step))

    def save(self) -> None:
        """As Lightning's."""
        self._try(super().save)

    def finalize(self, status: str) -> None:
        """As Lightning's."""
        self._try(lambda: super(EventsLog, self).finalize(status))

    def _try(self, do: Callable[[], None]) -> None:
        if self._given_up:
            return
        try:
            do()
        except (OSError, ValueError) as error:
            if not isinstance(error.__cause__ or error, OSError):
                raise
            self._given_up = True  # its writer is dead, and would say so at every point
            rank_zero_warn(f"{self.log_dir}: TensorBoard's points end here ({error.__cause__ or error})")
