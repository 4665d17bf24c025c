"""Metrics of predicted points and masks: pixel errors, stated uncertainty, and mask IoU.

A label counts when it lies inside the frame's crop: elsewhere the network could not have seen the point.
Labels outside the crop are counted apart. Mask pixels without a class are left out.
Axes: B batch, N keypoints, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cogkp.data.images import MISSING_MASK_IGNORE_INDEX
from cogkp.data.keypoint.targets import KeypointTargets
from cogkp.data.sample import Batch
from cogkp.errors import EvaluationError, NotFiniteError, printable
from cogkp.measures.evidence import Curve, Evidence, Table
from cogkp.measures.figures import aligned, share
from cogkp.measures.figures import number as number_of
from cogkp.tasks.base import PCK_THRESHOLDS_PX
from cogkp.tasks.keypoint.codec import KeypointCodec
from cogkp.tasks.keypoint.coverage import COVERED_HEAD, NOTHING_COVERED, Coverage, CoverageMetrics, advice
from cogkp.tasks.keypoint.metrics_3d import SpaceMetrics
from cogkp.tasks.keypoint.overlays_3d import space_marks
from cogkp.tasks.keypoint.per_frame import FrameRows
from cogkp.tasks.keypoint.report_3d import LengthUnit, SpaceReport
from cogkp.visual.marks import SpaceMarks

P95 = 95.0
ALL_POINTS = "all"


@attrs.frozen
class PointRow:
    """One line of the table of errors, pixels of the full frame; None where no label was counted.

    Args:
        name: a point, or 'all'.
        count: labels compared.
        outside: labels left out since they lie outside the crop.
        rmse_px: root of the mean squared distance.
        pck: share of labels within each threshold, under the threshold in pixels.
        coverage_50: share of the labels inside the region that the prediction says holds half of them.
        coverage_90: the same for nine tenths.
    """

    name: str
    count: int
    outside: int
    mean_px: float | None
    median_px: float | None
    p95_px: float | None
    rmse_px: float | None
    pck: Mapping[float, float | None]
    coverage_50: float | None = None
    coverage_90: float | None = None

    @classmethod
    def of(
        cls,
        name: str,
        errors_px: npt.NDArray[np.floating[Any]],
        outside: int,
        thresholds_px: Sequence[float],
        covered: Coverage = NOTHING_COVERED,
    ) -> PointRow:
        """Summarise distances."""
        if not errors_px.size:
            return cls(name, 0, outside, None, None, None, None, dict.fromkeys(thresholds_px))
        return cls(
            name=name,
            count=int(errors_px.size),
            outside=outside,
            mean_px=float(errors_px.mean()),
            median_px=float(np.median(errors_px)),
            p95_px=float(np.percentile(errors_px, P95)),
            rmse_px=float(np.sqrt(np.mean(errors_px**2))),
            pck={threshold: float(np.mean(errors_px <= threshold)) for threshold in thresholds_px},
            coverage_50=covered.half,
            coverage_90=covered.most,
        )

    def cells(self) -> tuple[str, ...]:
        """Return the row as words."""
        distances = (self.mean_px, self.median_px, self.p95_px, self.rmse_px)
        shares = (*self.pck.values(), self.coverage_50, self.coverage_90)
        return (self.name, str(self.count), str(self.outside), *map(number_of, distances), *map(share, shares))

    def to_dict(self) -> dict[str, Any]:
        """Return the row ready for JSON."""
        return attrs.asdict(self) | {"pck": {f"{threshold:g}": hits for threshold, hits in self.pck.items()}}


@attrs.frozen
class KeypointReport:
    """The result of one evaluation.

    Args:
        points: one row per point, in the order of the model.
        iou: intersection over union of each mask class, None for a class that neither truth nor prediction shows;
            empty without segmentation.
        space: points of space, None without calibrated stereo pairs.
        noise_px_for_90: the ``uncertainty.noise_px`` with which the stated 90 % regions would have held 90 % of the
            labels, crop pixels; 0 where they hold more without any, None with too few labels.
        stated: how many labels lie in regions said to hold each share, None with too few labels.
        complaints: what makes no sense about the predictions, in sentences.
    """

    views: int
    points: tuple[PointRow, ...]
    overall: PointRow
    iou: tuple[float | None, ...]
    space: SpaceReport | None = None
    noise_px_for_90: float | None = None
    evidence: Evidence = attrs.field(default=Evidence(()), eq=False, repr=False)
    stated: Curve | None = attrs.field(default=None, eq=False, repr=False)
    complaints: tuple[str, ...] = ()

    @property
    def rows(self) -> tuple[PointRow, ...]:
        """The table: every point, then all together."""
        return (*self.points, self.overall)

    @property
    def mean_iou(self) -> float | None:
        """Mean over the classes that occur, None when no mask was seen."""
        seen = [value for value in self.iou if value is not None]
        return float(np.mean(seen)) if seen else None

    def scalars(self) -> dict[str, float]:
        """Return the few metrics worth a curve."""
        row = self.overall
        named = {
            "error_mean_px": row.mean_px,
            "error_median_px": row.median_px,
            "error_p95_px": row.p95_px,
            "error_rmse_px": row.rmse_px,
            **{f"pck_{threshold:g}px": hits for threshold, hits in row.pck.items()},
            "mask_iou": self.mean_iou,
        }
        in_space = {} if self.space is None else self.space.scalars()
        return {name: value for name, value in named.items() if value is not None} | in_space

    def headline(self) -> str:
        """Return the most important metrics; distances in pixels of the full image, in space in their own unit."""
        row = self.overall
        figures = (
            ("mean", row.mean_px, ".2f", " px"),
            ("median", row.median_px, ".2f", " px"),
            ("mask IoU", self.mean_iou, ".3f", ""),
        )
        parts = [f"{name} {value:{form}}{unit}" for name, value, form, unit in figures if value is not None]
        in_space = "" if self.space is None else self.space.headline()
        return ", ".join([*parts, *([in_space] if in_space else [])])

    def error(self) -> float | None:
        """Return the mean distance, pixels of the full image; without labelled points 1 minus the mask IoU."""
        if self.overall.mean_px is not None:
            return self.overall.mean_px
        return None if self.mean_iou is None else 1.0 - self.mean_iou

    def to_dict(self) -> dict[str, Any]:
        """Return everything, ready for JSON."""
        in_space = {} if self.space is None else {"space": self.space.to_dict()}
        return {
            "views": self.views,
            "points": [row.to_dict() for row in self.points],
            "overall": self.overall.to_dict(),
            "noise_px_for_90": self.noise_px_for_90,
            "mask_iou": {"classes": list(self.iou), "mean": self.mean_iou},
            **in_space,
        }

    def tables(self) -> list[Table]:
        """Return the tables for people; distances in pixels of the full frame, below in space."""
        thresholds = tuple(self.overall.pck)
        distances = (f"{name} px" for name in ("mean", "median", "p95", "rmse"))
        head = ("point", "labels", "outside", *distances, *(f"<= {t:g} px" for t in thresholds), *COVERED_HEAD)
        found = [Table("distances in pixels of the full frame", head, tuple(row.cells() for row in self.rows))]
        if self.iou:
            classes = tuple((f"class {number}", number_of(value)) for number, value in enumerate(self.iou))
            found.append(Table("mask", ("class", "IoU"), (*classes, ("mean", number_of(self.mean_iou)))))
        return found + ([] if self.space is None else self.space.tables())

    def curves(self) -> list[Curve]:
        """Return how well stated uncertainty holds, where there are labels enough."""
        return [] if self.stated is None else [self.stated]

    def notes(self) -> list[str]:
        """Return warnings about the predictions and their stated uncertainty."""
        return [*self.complaints, *advice(self.overall.coverage_90, self.noise_px_for_90)]

    def text(self) -> str:
        """Return the tables for people; distances in pixels of the full frame, below in space."""
        points = self.tables()[0]
        iou = (
            [f"mask IoU: {number_of(self.mean_iou)} (per class: {', '.join(map(number_of, self.iou))})"]
            if self.iou
            else []
        )
        in_space = [] if self.space is None else [self.space.text()]
        return "\n".join([*aligned([points.head, *points.rows]), *map(printable, self.notes()), *iou, *in_space])


class KeypointMetrics:
    """Accumulate distances and mask overlaps over batches.

    Args:
        num_classes: C, or None without segmentation.
        thresholds_px: distances at which the share of hits is reported, pixels of the full frame.
        space: an empty accumulator of points of space, or None where there are no calibrated stereo pairs.
    """

    def __init__(
        self,
        codec: KeypointCodec,
        num_classes: int | None,
        thresholds_px: Sequence[float] = PCK_THRESHOLDS_PX,
        space: SpaceMetrics | None = None,
    ) -> None:
        self._codec = codec
        self._space = space
        self._coverage = CoverageMetrics(codec)
        self._thresholds_px = tuple(thresholds_px)
        self._num_classes = num_classes or 0
        self._rows = FrameRows(codec.point_names, self._num_classes)

    def update(self, outputs: Any, batch: Batch[KeypointTargets]) -> None:
        """Add one batch; raises NotFiniteError where the network predicted something that is not a number."""
        targets = batch.targets
        found = self._codec.decode(outputs, batch.source_to_crop)
        errors_px = (found.uv_source - targets.uv_source).double().norm(dim=-1)
        finite = errors_px.isfinite().all(dim=-1)
        if not finite.all():
            named = ", ".join(batch.ids[row] for row in (~finite).nonzero().flatten().tolist())
            raise NotFiniteError("the network predicts points that are NaN or infinite", where=named)
        self._coverage.update(outputs, targets)
        confusion = None
        if found.mask is not None and self._num_classes:
            confusion = _confusion(targets.mask, found.mask, self._num_classes)
        self._rows.update(batch, found, errors_px.cpu().numpy(), confusion)
        if self._space is not None and len(batch.pairs):
            self._space.update(outputs, batch)

    def merge(self, other: KeypointMetrics) -> None:
        """Add what another accumulator of the same kind saw after this one."""
        self._coverage.merge(other._coverage)
        self._rows.merge(other._rows)
        if self._space is not None and other._space is not None:
            self._space.merge(other._space)

    def in_millimetres(self, world_unit_mm: float) -> KeypointMetrics:
        """Return an empty accumulator that reports in millimetres; EvaluationError where nothing is triangulated."""
        if self._space is None:
            raise EvaluationError(
                "there are no lengths to report in millimetres",
                expected="stereo_pairing.enabled and calibration_file, without which nothing is triangulated",
            )
        space = self._space.in_unit(LengthUnit.of(world_unit_mm))
        return KeypointMetrics(self._codec, self._num_classes, self._thresholds_px, space)

    def ranked_pairs(self) -> list[int]:
        """Order the stereo pairs seen so far by their error in space, worst first; empty without calibrated pairs."""
        return [] if self._space is None else self._space.ranked_pairs()

    def space_marks(self, outputs: Any, batch: Batch[KeypointTargets]) -> list[SpaceMarks]:
        """Return what to draw for each pair; empty without calibrated pairs."""
        return [] if self._space is None else space_marks(self._space, self._codec, outputs, batch)

    def compute(self) -> KeypointReport:
        """Compute the report; raises EvaluationError where there was nothing to compare with."""
        seen = self._rows.rows()
        views, confusion = len(seen.frame), seen.confusion.sum(0)
        errors_px, outside = seen.errors_px, seen.outside
        valid = ~np.isnan(errors_px)
        space = None if self._space is None else self._space.compute()
        if not valid.any() and not confusion.any() and (space is None or not space.overall.count):
            raise EvaluationError(_why_empty(views, int(outside.sum())))
        rows = [
            PointRow.of(name, errors_px[valid[:, n], n], int(outside[:, n].sum()), self._thresholds_px, covered)
            for n, (name, covered) in enumerate(zip(self._codec.point_names, self._coverage.points(), strict=True))
        ]
        covered = self._coverage.overall()
        overall = PointRow.of(ALL_POINTS, errors_px[valid], int(outside.sum()), self._thresholds_px, covered)
        return KeypointReport(
            views=views,
            points=tuple(rows),
            overall=overall,
            iou=_iou(confusion),
            space=space,
            noise_px_for_90=self._coverage.noise_px_for_90(),
            evidence=self._evidence(space),
            stated=self._coverage.curve(),
            complaints=tuple(self._rows.notes()),
        )

    def _evidence(self, space: SpaceReport | None) -> Evidence:
        in_space = None if self._space is None else self._space.errors()
        return self._rows.evidence(self._thresholds_px, in_space, "" if space is None else space.unit)


def _why_empty(views: int, outside: int) -> str:
    if not views:
        return "there is nothing to evaluate: the data holds no image"
    if outside:
        return f"there is nothing to evaluate: all {outside} labelled points of {views} images lie outside the crop"
    return f"there is nothing to evaluate: none of {views} images has a labelled point or a mask"


def _confusion(truth: Tensor, found: Tensor, num_classes: int) -> npt.NDArray[np.int64]:
    """Count pixels by (row, true class, found class)."""
    known = truth != MISSING_MASK_IGNORE_INDEX
    row = torch.arange(len(truth), device=truth.device).view(-1, 1, 1).expand_as(truth)[known]
    cells = (row * num_classes + truth[known].long()) * num_classes + found[known].long()
    counts = torch.bincount(cells, minlength=len(truth) * num_classes**2)
    return counts.reshape(len(truth), num_classes, num_classes).cpu().numpy()


def _iou(confusion: npt.NDArray[np.int64]) -> tuple[float | None, ...]:
    if not confusion.any():
        return tuple(None for _ in confusion)
    hits = np.diag(confusion)
    union = confusion.sum(axis=0) + confusion.sum(axis=1) - hits
    return tuple(float(hit / area) if area else None for hit, area in zip(hits, union, strict=True))
