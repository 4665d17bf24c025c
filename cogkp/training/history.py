"""Write ``metrics.jsonl``: the metrics of steps and epochs, one JSON object per line.

Step lines come every few steps, an epoch line after each epoch. After a restored training the file reads as if nothing
had happened: lines beyond the restored moment are dropped, the others stay.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Any

from torch import Tensor, nn

from cogkp.files import in_own_folder, write_text, writing_to
from cogkp.training.sinks import EpochEvent, StepEvent

__all__ = ["HistorySink", "epoch_facts", "lines_before"]


class HistorySink:
    """Write ``metrics.jsonl``.

    Args:
        path: the file.
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
    """Read the lines of a history that tell of the time before a position; none where there is no such file.

    Args:
        path: the file; lines that a dying process left unfinished are dropped.
        position: epochs completed, and steps done in the one under way.
    """
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    return [line for line in lines if _is_before(line, position)]


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
