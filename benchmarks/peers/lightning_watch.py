"""Watch a training by Lightning, whoever started it: hold it at its start, count images, save weights often."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from benchmarks.peers.holding import Journal

__all__ = ["CHECKPOINT", "watch"]

CHECKPOINT = "newest.ckpt"


class _Watch(pl.Callback):
    def __init__(self, home: Path, images: str, every_s: float) -> None:
        self.journal = Journal(home)
        self.newest, self.images, self.every_s = home / CHECKPOINT, images, every_s
        self.saved = 0.0

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self.journal.hold()
        self.saved = time.process_time()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.journal.seen(len(batch[self.images]))
        if time.process_time() - self.saved >= self.every_s:
            self.save(trainer)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        self.save(trainer)

    def save(self, trainer: Any) -> None:
        writing = self.newest.with_suffix(".writing")
        trainer.save_checkpoint(writing, weights_only=True)
        writing.replace(self.newest)
        self.saved = time.process_time()


def watch(home: Path, images: str, settings: dict[str, Any]) -> None:
    """Let every trainer made from now on be watched.

    Args:
        home: where the newest weights and the journal go.
        images: the batch's key of its images.
        settings: ``save_every_s`` of processor time, and ``precision`` as Lightning names it, which neither
            Lightning Pose nor SLEAP-NN lets its users choose for a training.
    """
    original = pl.Trainer.__init__
    own = _Watch(home, images, settings["save_every_s"])

    def init(self: Any, *args: Any, callbacks: Any = None, **words: Any) -> None:
        words["precision"] = settings["precision"]
        original(self, *args, callbacks=[*(callbacks or []), own], **words)

    pl.Trainer.__init__ = init
