"""A listener of one's own: whatever a training tells, told to something else as well.

A sink is any object with these five methods. This one keeps a short diary of the epochs that were better than all
before them; another could send a message, or fill a database.

Run: python examples/own_sink.py CONFIG [EPOCHS]
"""

import sys
from pathlib import Path

from torch import Tensor, nn

import cogkp
from cogkp.training.sinks import EpochEvent, StepEvent


class Diary:
    """Write a line whenever validation, or without validation the loss, is better than ever."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.best = float("inf")

    def start(self, model: nn.Module, example: Tensor) -> None:
        """Hear that it begins; ``example`` is an input the model accepts."""
        self.path.write_text(
            f"{sum(p.numel() for p in model.parameters()):,} parameters, input {tuple(example.shape)}\n"
        )

    def step(self, event: StepEvent) -> None:
        """Hear of a step: its losses, its batch, and the model with its gradients; change nothing."""

    def epoch(self, event: EpochEvent) -> None:
        """Hear of an epoch: the means of its losses, and what validation found."""
        error = event.scalars.get("validation/error_mean_px", event.scalars["loss"])
        if error < self.best:
            self.best = error
            with self.path.open("a") as diary:
                diary.write(f"epoch {event.epoch + 1}: {error:.3f}\n")

    def flush(self) -> None:
        """Write down what waits; called before each checkpoint, so that no log is behind it."""

    def close(self) -> None:
        """Hear that it ends, also when it fails."""


def main(config: str, epochs: int) -> None:
    """Train with the diary listening."""
    diary = Path(config).with_name("diary.txt")
    options = cogkp.TrainOptions(epochs=epochs, batch_size=4, num_workers=0)
    root = Path(config).parent / "checkpoints"
    run = cogkp.train(cogkp.load_config(config), options, checkpoint_root=root, log_dir=None, sinks=[Diary(diary)])
    print(diary.read_text() + f"the rest is in {run.run_dir}")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 20)
