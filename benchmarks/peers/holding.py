"""The contestant's side of a race: wait at the start, and write down how much was learnt from. Needs nothing."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["JOURNAL", "Journal", "Order", "order"]

JOURNAL = "journal.jsonl"
EVERY_S = 1.0


class Order(NamedTuple):
    """What a contestant is told to do.

    Args:
        verb: ``train`` or ``predict``.
        frames: file of the set, see :func:`benchmarks.peers.exchange.read_frames`.
        home: folder of the training.
        epochs: passes over the data the training is planned for.
        settings: of this contestant.
        checkpoint: what to predict with.
        output: where predictions go, ``.npy``.
    """

    verb: str
    frames: Path
    home: Path
    epochs: int
    settings: dict[str, Any]
    checkpoint: Path
    output: Path


def order() -> Order:
    """Read the order from the command line."""
    words = json.loads(sys.argv[1])
    paths = {name: Path(words[name]) for name in ("frames", "home", "checkpoint", "output")}
    return Order(**{**words, **paths})


class Journal:
    """What is told about a training while it goes on.

    Args:
        home: folder of the training.
    """

    def __init__(self, home: Path) -> None:
        self.path = home / JOURNAL
        self.images = 0
        self.told = 0.0

    def hold(self) -> None:
        """Stop at the start line: everything is imported and set up; whoever started this process lets it go on."""
        self._tell()
        os.kill(os.getpid(), signal.SIGSTOP)

    def seen(self, images: int) -> None:
        """Count images that were learnt from."""
        self.images += images
        if time.process_time() - self.told >= EVERY_S:
            self._tell()

    def _tell(self) -> None:
        self.told = time.process_time()
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"images": self.images, "cpu_s": self.told}) + "\n")
