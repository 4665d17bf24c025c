"""Histories of a training: ``metrics.jsonl``, ``metrics.csv``, one line per epoch, and running means.

Step lines come every few steps, an epoch line after each epoch. After a restored training the file reads as if nothing
had happened: lines beyond the restored moment are dropped, the others stay.

The table says nothing that ``metrics.jsonl`` does not: after a restored training its rows are those of the lines.
"""

import csv
import io
import json
import logging
import math
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Any

from torch import Tensor, nn

from cogkp.errors import printable
from cogkp.files import in_own_folder, text_lines, write_text, writing_to
from cogkp.training.sinks import EpochEvent, StepEvent

FIRST = ("epoch", "step", "learning_rate", "loss")
LEFT_OUT = ("event", "time")

SECONDS_BETWEEN_LINES = 5.0
MIN_SHARE = 0.01
log = logging.getLogger("cogkp")


class EpochTableSink:
    """Write ``metrics.csv``, whole after each epoch.

    Columns keep their order: epoch, step, learning rate, loss, then all other figures by name. A figure that is not
    there or no number leaves its cell empty. ``kept`` are lines of the history, see :class:`HistorySink`.
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


class EpochLines:
    """Log epochs up to the last; the first, the last, and of the others those that come a while after the line before.

    Every epoch is in the sinks, so a line left out is nothing lost.
    """

    def __init__(self, last_epoch: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._last_epoch = last_epoch
        self._clock = clock
        self._last_line: float | None = None

    def log_epoch(self, epoch: int, loss: float, headline: str, seconds: float, waited: float = 0.0) -> None:
        """Log an epoch that was just completed, the count of those before it being ``epoch``, where a line is due.

        ``waited`` is the share of its seconds that it waited for data; reported from a percent on.
        """
        now = self._clock()
        due = self._last_line is None or now - self._last_line >= SECONDS_BETWEEN_LINES
        if not due and epoch + 1 != self._last_epoch:
            return
        self._last_line = now
        data = f"{100 * waited:.0f} % waiting for data" if waited >= MIN_SHARE else ""
        parts = (f"loss {loss:.3g}", headline, f"{seconds:.1f} s", data)
        log.info("epoch %d/%d: %s", epoch + 1, self._last_epoch, ", ".join(filter(None, parts)))


class Means:
    """Mean of each scalar over the images seen, going on from what :meth:`to_dict` gave."""

    def __init__(self, saved: Mapping[str, Any] | None = None) -> None:
        found = saved or {"sums": {}, "images": 0}
        self._sums: dict[str, float] = defaultdict(float, found["sums"])
        self._images = int(found["images"])

    def add(self, scalars: Mapping[str, float], images: int) -> None:
        """Take in one batch."""
        self._images += images
        for name, value in scalars.items():
            self._sums[name] += value * images

    def values(self) -> dict[str, float]:
        """Return the means; empty before the first batch."""
        return {name: total / self._images for name, total in self._sums.items()}

    def to_dict(self) -> dict[str, Any]:
        """Return the sums as plain values; floats come back from a file bit for bit."""
        return {"sums": dict(self._sums), "images": self._images} if self._images else {}


class HistorySink:
    """Write ``metrics.jsonl``.

    Args:
        log_interval: steps from one step line to the next; the first step of a run has one.
        restored: epochs completed and steps done in the one under way when the training was restored; None for a
            new run.
        earlier: the file with the history before that; ``path`` itself unless the run goes on in another folder.
    """

    def __init__(
        self,
        path: Path,
        *,
        log_interval: int = 10,
        restored: tuple[int, int] | None = None,
        earlier: Path | None = None,
    ) -> None:
        self.path = path
        self.log_interval = log_interval
        self.kept = [] if restored is None else lines_before(earlier or path, restored)
        self.stream: IO[str] | None = None

    def start(self, model: nn.Module, example: Tensor) -> None:
        """Open the file, with what is left of the history in it."""
        write_text(self.path, "".join(f"{line}\n" for line in self.kept), in_own_folder)
        with writing_to(self.path):
            self.stream = self.path.open("a", encoding="utf-8")

    def step(self, event: StepEvent) -> None:
        """Write the loss terms, the gradient's norm and the rate, where a line is due."""
        if (event.step - 1) % self.log_interval == 0:
            position = {"epoch": event.epoch + 1, "step_of_epoch": event.done, "step": event.step}
            figures = {"learning_rate": event.rate, "gradient_norm": event.comparison.gradient_norm}
            self._write({"event": "step", **position, **figures, **event.comparison.scalars})

    def epoch(self, event: EpochEvent) -> None:
        """Write the means, the validation figures, and under ``time/`` where the time went."""
        self._write(epoch_facts(event))

    def flush(self) -> None:
        """Send the lines to the disk."""
        if self.stream is not None:
            with writing_to(self.path):
                self.stream.flush()
                os.fsync(self.stream.fileno())

    def close(self) -> None:
        """Close the file."""
        if self.stream is not None:
            with writing_to(self.path):
                self.stream.close()

    def _write(self, facts: Mapping[str, Any]) -> None:
        if self.stream is None:
            return
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        plain = {name: _finite(value) for name, value in facts.items()}
        with writing_to(self.path):
            self.stream.write(json.dumps({**plain, "time": now}, allow_nan=False) + "\n")
            self.stream.flush()


def epoch_facts(event: EpochEvent) -> dict[str, Any]:
    """Return what the history says of an epoch, ready for JSON; a figure that is no number is None."""
    shares = {f"time/{name}": round(share, 4) for name, share in event.shares.items()}
    figures = {"learning_rate": event.rate, **event.scalars, **shares}
    facts = {"event": "epoch", "epoch": event.epoch + 1, "step": event.step, **figures}
    return {name: _finite(value) for name, value in facts.items()}


def lines_before(path: Path, position: tuple[int, int]) -> list[str]:
    """Read the lines of a history before a position (epochs completed, steps done in the next); none without a file.

    Lines that a dying process left unfinished are dropped.
    """
    return [line for line in text_lines(path) if _is_before(line, position)]


def _is_before(line: str, position: tuple[int, int]) -> bool:
    epoch, step = position
    try:
        facts = json.loads(line)
        at = int(facts["epoch"]) - 1
        return at < epoch or (at == epoch and facts["event"] == "step" and int(facts["step_of_epoch"]) <= step)
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return False


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
