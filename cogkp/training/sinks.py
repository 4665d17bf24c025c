"""Loggers of a training: their interface, and TensorBoard; a new log is a new sink."""

import copy
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol

import attrs
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from cogkp.data.sample import Batch
from cogkp.errors import first_line, printable
from cogkp.training.events import EVENT_FILES, EventFile, network_graph
from cogkp.training.learner import BatchResult
from cogkp.training.seeding import undisturbed_rng

log = logging.getLogger("cogkp")

DrawBatch = Callable[[Batch[Any], Any], npt.NDArray[np.uint8]]
"""Render a batch with its labels, or, where outputs are given, with the predictions: (H, W, 3) uint8 RGB."""


@attrs.frozen(eq=False)
class StepEvent:
    """One optimiser step that was just taken.

    Args:
        epoch: epochs completed before it.
        done: steps taken in its epoch, this one included.
        step: steps taken over the life of the run, this one included.
        rate: its learning rate.
        comparison: losses, gradient norm and outputs; the outputs are those from before the update.
        model: carries the clipped gradients until the next step.
        batch: the data, on the CPU.
    """

    epoch: int
    done: int
    step: int
    rate: float
    comparison: BatchResult
    model: nn.Module
    batch: Batch[Any]


@attrs.frozen
class EpochEvent:
    """One epoch that was just completed.

    Args:
        epoch: epochs completed before it.
        step: steps taken over the life of the run.
        rate: the learning rate of its last step.
        scalars: mean loss terms, and validation figures under ``validation/``.
        shares: of the wall time since the epoch before, by what it was spent on; see :mod:`cogkp.training.stopwatch`.
    """

    epoch: int
    step: int
    rate: float
    scalars: Mapping[str, float]
    shares: Mapping[str, float] = attrs.field(factory=dict)


class Sink(Protocol):
    """A logger of a training; it must not change the model."""

    def start(self, model: nn.Module, example: Tensor) -> None:
        """Begin; ``example`` is an input the model accepts."""

    def step(self, event: StepEvent) -> None:
        """Log a step."""

    def epoch(self, event: EpochEvent) -> None:
        """Log an epoch."""

    def flush(self) -> None:
        """Write everything to disk; called before each checkpoint, so that no log is behind it."""

    def close(self) -> None:
        """End; called also when the training fails."""


@contextmanager
def opened(sinks: Sequence[Sink], model: nn.Module, example: Tensor) -> Iterator[None]:
    """Start all sinks, and close them whatever happens."""
    with ExitStack() as stack:
        for sink in sinks:
            stack.callback(sink.close)
            sink.start(model, example)
        yield


class TensorBoardSink:
    """Write TensorBoard event files: steps in ``log_dir``, epochs in its folder ``epochs``.

    They lie apart since TensorBoard can hide what came after a restored moment only by one number per folder.

    Args:
        log_dir: folder of this run's events.
        verbose: also write histograms of weights and gradients, and images.
        log_interval: steps from one of these to the next; the first step has one, so that a dry run shows them.
        draw: makes the drawings; None leaves them out.
        restored: steps and epochs that were done when the training was restored; what an earlier training logged
            beyond them is hidden. None for a new run.

    Raises:
        OutputError: the folder cannot be created, or any time later, an event cannot be written.
    """

    def __init__(
        self,
        log_dir: Path,
        *,
        verbose: bool = False,
        log_interval: int = 10,
        draw: DrawBatch | None = None,
        restored: tuple[int, int] | None = None,
    ) -> None:
        steps, epochs = (None, None) if restored is None else restored
        self.has_graph = any(log_dir.glob(EVENT_FILES))
        self.writer = EventFile(log_dir, steps)
        self.epoch_writer = EventFile(log_dir / "epochs", epochs)
        self.verbose = verbose
        self.log_interval = log_interval
        self.draw = draw

    def start(self, model: nn.Module, example: Tensor) -> None:
        """Write the model's graph once per run, traced from a copy so that the model keeps its state.

        A network that cannot be copied, traced or drawn is trained without a graph, and a warning says so.
        """
        if self.has_graph:
            return
        try:
            twin = copy.deepcopy(model).eval()
            with undisturbed_rng(), torch.no_grad():
                graph = network_graph(twin, example)
        except Exception as error:  # whatever a network raises: it only costs the drawing
            said = "the TensorBoard log has no graph of the network, which cannot be traced (%s); all else is logged"
            log.warning(said, printable(first_line(error)))
            return
        self.writer.add_graph(graph)

    def step(self, event: StepEvent) -> None:
        """Write the loss terms, the gradient's norm and the learning rate."""
        scalars = event.comparison.scalars
        for name, value in scalars.items():
            self.writer.add_scalar(f"train/{name}", value, event.step)
        if not event.comparison.skipped:  # a skipped step has no gradient that could be drawn
            self.writer.add_scalar("train/gradient_norm", event.comparison.gradient_norm, event.step)
        self.writer.add_scalar("train/learning_rate", event.rate, event.step)
        if self.verbose and (event.step - 1) % self.log_interval == 0:
            self._histograms(event)
            self._images(event)

    def epoch(self, event: EpochEvent) -> None:
        """Write the epoch's means and the validation figures over the number of epochs."""
        for name, value in event.scalars.items():
            self.epoch_writer.add_scalar(f"epoch/{name}", value, event.epoch + 1)
        self.epoch_writer.add_scalar("epoch/learning_rate", event.rate, event.epoch + 1)
        self.flush()

    def flush(self) -> None:
        """Write what is waiting."""
        self.writer.flush()
        self.epoch_writer.flush()

    def close(self) -> None:
        """Write what is waiting and close the files."""
        try:
            self.writer.close()
        finally:
            self.epoch_writer.close()

    def _histograms(self, event: StepEvent) -> None:
        for name, parameter in event.model.named_parameters():
            self.writer.add_histogram(f"weights/{name}", _numbers(parameter), event.step)
            if parameter.grad is not None and not event.comparison.skipped:
                self.writer.add_histogram(f"gradients/{name}", _numbers(parameter.grad), event.step)

    def _images(self, event: StepEvent) -> None:
        if self.draw is None:
            return
        images = {
            "preview": self.draw(event.batch, None),
            "prediction": self.draw(event.batch, event.comparison.outputs),
        }
        for name, image in images.items():
            self.writer.add_image(f"images/{name}", image, event.step)


def _numbers(tensor: Tensor) -> npt.NDArray[np.float32]:
    values: npt.NDArray[np.float32] = tensor.detach().float().cpu().numpy()
    return values
