"""The report of a CenterPose evaluation: JSON, tables and curves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np

from cogkp.errors import counted, printable
from cogkp.measures.evidence import Curve, Evidence, Line, Table
from cogkp.tasks.centerpose.matching import MEASURES, PoseCriterion

# Which of the thresholds are reported first: IoU 0.5, 15 degrees of azimuth, 10 degrees of elevation.
MIDDLE = 10

# Boxes that are as near as this in the image, its width and height being 1, are found.
NEAR = 0.03


@attrs.frozen
class ProtocolScores:
    """Results by one evaluation protocol.

    Args:
        found: boxes reported in images that show an object.
        matched: how many of them are matched with a true object.
        objects: how many there are to be found, against which recall is counted.
        mean: mean of each measure over those, None where there are none.
        precision: average precision of each measure at each of its thresholds.
    """

    found: int
    matched: int
    objects: int
    mean: Mapping[str, float | None]
    precision: Mapping[str, tuple[float, ...]]

    @property
    def counts(self) -> str:
        """Boxes and objects in words."""
        found, objects = counted(self.found, "box", "es"), counted(self.objects, "object")
        return f"{found} found, {self.matched} matched, {objects}"


@attrs.frozen
class CenterPoseReport:
    """The result of one evaluation.

    Args:
        images: images seen.
        skipped: images that show no object asked for.
        objects: asked for.
        reference: the published protocol, by which two boxes may be right about one object, and objects that are not
            asked for are missed where they stand beside one that is.
        once: each object is matched with one box at most.
        evidence: errors image by image, each object matched with one box at most.
    """

    images: int
    skipped: int
    objects: int
    reference: ProtocolScores
    once: ProtocolScores
    evidence: Evidence = attrs.field(default=Evidence(()), eq=False, repr=False)

    @property
    def protocols(self) -> tuple[tuple[str, ProtocolScores], ...]:
        """Both protocols, each with its name."""
        return ("published protocol", self.reference), ("each object once", self.once)

    def scalars(self) -> dict[str, float]:
        """Return the few metrics worth a curve; the first two have the names of the published ones."""
        precision, mean = self.reference.precision, self.reference.mean
        named = {
            "3DIoU": precision["iou"][MIDDLE],
            "2DMPE": mean["pixel"],
            "azimuth_ap15": precision["azimuth_deg"][MIDDLE],
            "elevation_ap10": precision["elevation_deg"][MIDDLE],
            "3DIoU_once": self.once.precision["iou"][MIDDLE],
        }
        return {name: value for name, value in named.items() if value is not None}

    def headline(self) -> str:
        """Return the most important metrics."""
        precision, pixel = self.reference.precision, self.reference.mean["pixel"]
        error_2d = "" if pixel is None else f", 2-D error {pixel:.4f}"
        azimuth = precision["azimuth_deg"][MIDDLE]
        return f"AP at 3-D IoU 0.5 {precision['iou'][MIDDLE]:.3f}{error_2d}, AP at 15 deg azimuth {azimuth:.3f}"

    def error(self) -> float | None:
        """Return 1 minus the average precision over all thresholds of 3-D IoU, each object matched once."""
        values = self.once.precision["iou"]
        return 1.0 - sum(values) / len(values)

    def to_dict(self) -> dict[str, Any]:
        """Return everything, ready for JSON."""
        return {
            "images": self.images,
            "skipped": self.skipped,
            "objects": self.objects,
            "thresholds": {measure.field: measure.thresholds.tolist() for measure in MEASURES},
            "reference": attrs.asdict(self.reference),
            "once": attrs.asdict(self.once),
        }

    def text(self) -> str:
        """Return the tables for people: mean errors, then the average precision at every threshold."""
        images, objects = counted(self.images, "image"), counted(self.objects, "object")
        lines = [f"{images}, {self.skipped} without objects to evaluate; {objects} to find"]
        for title, scores in self.protocols:
            lines += ["", f"{title}: {scores.counts}", *_means(scores)]
            lines += ["average precision within", *_precisions(scores)]
        return "\n".join(map(printable, [*lines, *self.notes()]))

    def tables(self) -> list[Table]:
        """Return mean errors and average precisions, a table for each protocol."""
        head = ("measure", "unit", "mean", "AP, all thresholds", "threshold", "AP there")
        return [
            Table(f"{title}: {scores.counts}", head, tuple(_row(measure, scores) for measure in MEASURES))
            for title, scores in self.protocols
        ]

    def curves(self) -> list[Curve]:
        """Return the average precision over the thresholds of each measure."""
        return [
            Curve(
                title=f"Average precision by {measure.word}",
                x_label=f"{'at least' if measure.larger else 'at most'}{', ' * bool(measure.unit)}{measure.unit}",
                y_label="average precision",
                lines=[
                    Line(title, measure.thresholds.astype(np.float64), np.array(scores.precision[measure.field]))
                    for title, scores in self.protocols
                ],
                percent_y=True,
            )
            for measure in MEASURES
        ]

    def notes(self) -> list[str]:
        """Return warnings about the predictions as a whole."""
        if not self.reference.found:
            return ["No box was found in any image: the network is not trained, or the least score is too high."]
        pixel, iou = self.once.mean["pixel"], self.once.mean["iou"]
        if pixel is not None and iou == 0 and pixel < NEAR:
            return ["Boxes are right in the images but share no space with the true ones: check camera and ground."]
        return []


def _row(measure: PoseCriterion, scores: ProtocolScores) -> tuple[str, ...]:
    mean, precision = scores.mean[measure.field], scores.precision[measure.field]
    return (
        measure.word,
        measure.unit,
        "-" if mean is None else f"{mean:.4f}",
        f"{sum(precision) / len(precision):.3f}",
        f"{measure.thresholds[MIDDLE]:g}",
        f"{precision[MIDDLE]:.3f}",
    )


def _means(scores: ProtocolScores) -> list[str]:
    figures = ((measure, scores.mean[measure.field]) for measure in MEASURES)
    return [
        f"  mean {measure.word:<10} {'-' if value is None else f'{value:.4f}'} {measure.unit}".rstrip()
        for measure, value in figures
    ]


def _precisions(scores: ProtocolScores) -> list[str]:
    return [
        line
        for measure in MEASURES
        for line in (
            f"  {measure.word:<12}" + " ".join(f"{threshold:>6g}" for threshold in measure.thresholds.round(4)),
            " " * 14 + " ".join(f"{value:6.3f}" for value in scores.precision[measure.field]),
        )
    ]
