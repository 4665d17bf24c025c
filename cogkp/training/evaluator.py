"""Run a predictor over all batches of a loader and compute the task's metrics."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from cogkp.data.sample import Batch
from cogkp.progress import SILENT, Progress
from cogkp.tasks.base import Metrics, Report, Task
from cogkp.training.precision import Precision
from cogkp.training.seeding import undisturbed_rng

Predict = Callable[[Tensor], Any]
"""Images (B, 1, S, S) float32 on the CPU to the model's NamedTuple of tensors on the CPU."""


class Batches(Protocol):
    """A loader whose length is known."""

    def __len__(self) -> int:
        """Return the number of batches."""

    def __iter__(self) -> Iterator[Batch[Any]]:
        """Go through them."""


def evaluate(
    predict: Predict,
    task: Task,
    loader: Batches,
    progress: Progress = SILENT,
    *,
    metrics: Metrics | None = None,
    label: str = "evaluate",
) -> Report:
    """Predict every batch and compute the metrics; the global random streams are left as they were.

    ``metrics`` is an empty accumulator, the task's own when None; ``label`` is what the progress says.

    Raises:
        EvaluationError: nothing could be measured.
    """
    accumulator = task.metrics() if metrics is None else metrics
    measure(predict, accumulator, loader, progress, label=label)
    return accumulator.compute()


def measure(
    predict: Predict, metrics: Metrics, loader: Batches, progress: Progress = SILENT, *, label: str = "evaluate"
) -> None:
    """Predict every batch and update the metrics; the arguments are those of :func:`evaluate`."""
    with undisturbed_rng(), progress.work(label, len(loader)) as work:
        for batch in loader:
            metrics.update(predict(batch.image), batch)
            work.advance()


def merged(parts: Sequence[Metrics]) -> Metrics:
    """Join accumulators that saw one part of the data each, in the order of the data; the first takes all in."""
    for other in parts[1:]:
        parts[0].merge(other)
    return parts[0]


def torch_predictor(model: nn.Module, precision: Precision) -> Predict:
    """Make a predictor of a network on the precision's device; put the network into evaluation mode first."""

    def predict(image: Tensor) -> Any:
        with torch.inference_mode(), precision.autocast():
            outputs = model(precision.place_image(image))
        return type(outputs)(*(field.float().cpu() for field in outputs))

    return predict


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a network into evaluation mode, then restore the mode of each of its parts."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
