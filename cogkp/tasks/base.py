"""The protocol of a task: what a model family provides for training, export and evaluation.

A family answers six questions: its data sets, its codec, its model, its loss, its metrics and what it exports.
Nothing in the library asks a seventh.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import attrs
import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from cogkp.data.dataset import ImageDataset, Split
from cogkp.data.sample import Batch, Sample
from cogkp.measures.evidence import Curve, Evidence, Table
from cogkp.visual.marks import Marks, SpaceMarks

FloatArray = npt.NDArray[np.floating[Any]]
BoolArray = npt.NDArray[np.bool_]

PCK_THRESHOLDS_PX = (2.0, 5.0, 10.0)
"""Distances, in pixels of the full frame, at which the share of hits is reported unless others are asked for."""


@attrs.frozen(eq=False)
class LossReport:
    """The loss of one batch.

    Args:
        total: () float32, the weighted sum that is differentiated.
        parts: the value of each active term before its weight.
        weights: the multiplier of each active term, under the same names.
        shares: share of its items that a term could use, 0 to 1; nothing is added to the total.
    """

    total: Tensor
    parts: Mapping[str, Tensor]
    weights: Mapping[str, float]
    shares: Mapping[str, Tensor] = attrs.field(factory=dict)


class Codec(Protocol):
    """Encode labels and decode predictions in one object, so that the two cannot drift apart."""

    def encode(self, sample: Sample[Any]) -> Any:
        """Make the targets of one sample: a NamedTuple of arrays."""

    def prepare(self, image: npt.NDArray[Any]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
        """Make the network's input of one image as evaluation does, and say where its pixels went.

        Args:
            image: (H, W) or (H, W, 3) RGB, see :func:`cogkp.data.images.as_image`. A family may take more, as a box
                to look into.

        Returns:
            The input (C, H, W) float32, and the map (3, 3) from the pixels of the image to those of the input.
        """

    def decode(self, outputs: Any, source_to_crop: Tensor) -> Any:
        """Turn network outputs into results in pixels of the full frame.

        Args:
            outputs: the model's NamedTuple, fields (B, ...).
            source_to_crop: (B, 3, 3).
        """

    def display_image(self, image: Tensor) -> FloatArray:
        """Convert one network input (C, S, S) to an image for people: (S, S) or (S, S, 3) RGB, on the scale 0..1."""

    def truth_marks(self, batch: Batch[Any]) -> list[Marks]:
        """Return what to draw for the labels of each row."""

    def prediction_marks(self, outputs: Any) -> list[Marks]:
        """Return what to draw for the prediction of each row."""


class Loss(Protocol):
    """The active terms of one family's loss."""

    def __call__(self, outputs: Any, batch: Batch[Any]) -> LossReport:
        """Compute the loss; float32, finite also where nothing is labelled."""

    def describe(self) -> str:
        """Name the active terms and their weights in one line."""


class Report(Protocol):
    """The result of an evaluation."""

    def scalars(self) -> Mapping[str, float]:
        """Return the few metrics worth a curve."""

    def headline(self) -> str:
        """Return the two or three most important metrics with their units, as part of a line."""

    def error(self) -> float | None:
        """Return the number by which the best checkpoint is chosen; smaller is better, None where there is none."""

    def to_dict(self) -> dict[str, Any]:
        """Return everything, ready for JSON."""

    def text(self) -> str:
        """Return everything as a table for people."""

    @property
    def evidence(self) -> Evidence:
        """The errors of every frame; intervals, curves, histograms and comparisons are computed from them."""

    def tables(self) -> Sequence[Table]:
        """Return what :meth:`text` says as tables, for a page."""

    def curves(self) -> Sequence[Curve]:
        """Return the charts that only this family knows how to draw; may be empty."""

    def notes(self) -> Sequence[str]:
        """Return warnings about the predictions or the metrics as a whole; empty where all is well."""


class Metrics(Protocol):
    """An accumulator over batches."""

    def update(self, outputs: Any, batch: Batch[Any]) -> None:
        """Add one batch."""

    def merge(self, other: Any) -> None:
        """Add what another accumulator of the same kind saw after this one."""

    def compute(self) -> Report:
        """Compute the report; raises EvaluationError where nothing could be measured."""


@runtime_checkable
class StereoMetrics(Metrics, Protocol):
    """Metrics that also evaluate triangulated points; a family without stereo pairs does not offer it."""

    def in_millimetres(self, world_unit_mm: float) -> Metrics:
        """Return an empty accumulator that reports lengths in millimetres.

        Args:
            world_unit_mm: millimetres per world unit.

        Raises:
            EvaluationError: nothing is triangulated, so there are no lengths.
        """

    def ranked_pairs(self) -> list[int]:
        """Order the stereo pairs seen so far by their error in space, worst first; empty without calibrated pairs."""

    def space_marks(self, outputs: Any, batch: Batch[Any]) -> list[SpaceMarks]:
        """Return what to draw for each stereo pair; empty without calibrated pairs."""


@attrs.frozen
class OutputSpec:
    """One output of the exported model.

    Args:
        name: as in the ONNX file.
        unit: 'px', 'probability', 'logit', ...
        tolerance: largest allowed difference to the source model, in that unit.
    """

    name: str
    unit: str
    tolerance: float


@attrs.frozen(eq=False)
class ExportSpec:
    """Inputs and outputs of an exported model.

    Args:
        inputs: names and example tensors of the right shape.
        outputs: in the order of the model's NamedTuple.
        facts: what a consumer must know (input range, crop rule, point names, classes), ready for JSON.
        inner: of a module in :class:`TwoSteps`, what passes from the first to the second.
    """

    inputs: Mapping[str, Tensor]
    outputs: tuple[OutputSpec, ...]
    facts: Mapping[str, Any]
    inner: tuple[OutputSpec, ...] = ()


class TwoSteps(nn.Module):
    """A module for export that computes first and then chooses.

    Where choices are close, rounding alone may turn them, and two runtimes that compute the same within 1e-6 put out
    something else. So the export check compares the steps one by one: what the first computes must be close, and the
    second must choose the same from the same numbers.

    Args:
        first: returns a NamedTuple, whose fields ``then`` takes one by one.
        then: returns the NamedTuple that is put out.
    """

    def __init__(self, first: nn.Module, then: nn.Module) -> None:
        super().__init__()
        self.first = first
        self.then = then

    def forward(self, *inputs: Tensor) -> Any:
        """Run both."""
        return self.then(*self.first(*inputs))


class Task(Protocol):
    """One model family with one configuration."""

    config: Any

    @property
    def model(self) -> nn.Module:
        """The network; training changes it in place."""

    @property
    def codec(self) -> Codec:
        """What turns labels into targets and outputs into results."""

    def datasets(self, split: Split) -> ImageDataset:
        """Open the data of one split; an item is one view, or the two views of a stereo line."""

    @property
    def loss(self) -> Loss:
        """The loss; raises TrainingError where a term that was asked for cannot run."""

    def metrics(self, thresholds_px: Sequence[float] = PCK_THRESHOLDS_PX) -> Metrics:
        """Start an empty evaluation.

        Args:
            thresholds_px: hits are counted within each, pixels of the full frame.

        Raises:
            DataError: a calibration is configured that cannot be used.
        """

    def export_module(self) -> nn.Module:
        """Return the module to deploy, in evaluation mode; it returns the NamedTuple of ``export_spec``."""

    def export_spec(self, batch_size: int) -> ExportSpec:
        """Describe the exported model for one fixed batch size."""
