"""Write ``metrics.csv``: a table of the epochs, one row each, for spreadsheets.

It says nothing that ``metrics.jsonl`` does not: after a restored training its rows are those of the history's lines.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from cogkp.errors import printable
from cogkp.files import in_own_folder, write_text
from cogkp.training.history import epoch_facts
from cogkp.training.sinks import EpochEvent, StepEvent

__all__ = ["EpochTableSink"]

FIRST = ("epoch", "step", "learning_rate", "loss")
LEFT_OUT = ("event", "time")


class EpochTableSink:
    """Write ``metrics.csv``, whole after each epoch.

    Columns keep their order: epoch, step, learning rate, loss, then all other figures by name. A figure that is not
    there or no number leaves its cell empty.

    Args:
        path: the file.
        kept: lines of the history that a restored training goes on from, see :class:`HistorySink`.
    """

    def __init__(self, path: Path, kept: Iterable[str] = ()) -> None:
        self.path = path
        facts = [json.loads(line) for line in kept]
        self._rows: list[Mapping[str, Any]] = [each for each in facts if each["event"] == "epoch"]

    def start(self, model: nn.Module, example: Tensor) -> None:
        """Write the rows that are left of the history; a new run takes an older table away."""
        if self._rows:
            self._write()
        else:
            self.path.unlink(missing_ok=True)

    def step(self, event: StepEvent) -> None:
        """Ignore steps."""

    def epoch(self, event: EpochEvent) -> None:
        """Add a row."""
        self._rows.append(epoch_facts(event))
        self._write()

    def flush(self) -> None:
        """Nothing is buffered."""

    def close(self) -> None:
        """Nothing is open."""

    def _write(self) -> None:
        names = {name for row in self._rows for name in row}
        columns = [*FIRST, *sorted(names.difference(FIRST, LEFT_OUT))]
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(map(printable, columns))
        table.writerows([row.get(name, "") for name in columns] for row in self._rows)
        write_text(self.path, text.getvalue(), in_own_folder)
