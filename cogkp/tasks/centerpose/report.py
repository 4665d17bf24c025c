"""The report of a CenterPose evaluation: JSON, tables and curves.

Without a camera an axis is drawn from the middle to the mean of the four corners of its face, a little off its true
end; drawings of poses show the true one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cogkp.geometry.cuboid import EDGES, POINTS, UNIT_POINTS
from cogkp.geometry.plane_map import map_points
from cogkp.geometry.pnp import see_points
from cogkp.tasks.centerpose.detections import DecodedObjects, Detections, FilterRules, find_objects
from cogkp.tasks.centerpose.poses import ObjectPose
from cogkp.visual.marks import Marks, Outline

if TYPE_CHECKING:
    from cogkp.tasks.centerpose.ground_truth import ObjectTruth


from collections.abc import Mapping

import attrs

from cogkp.errors import counted, printable
from cogkp.measures.evidence import Curve, Evidence, Line, Table
from cogkp.tasks.centerpose.matching import MEASURES, PoseCriterion

FloatArray = npt.NDArray[np.floating[Any]]

AXES = "xyz"
LINES = (
    *((start, stop, "edge") for start, stop in EDGES),
    *((0, POINTS + k, axis) for k, axis in enumerate(AXES)),
)
NAMES = (*map(str, range(POINTS)), "", "", "")

# The corners of the faces right, top and front.
POSITIVE = np.asarray(UNIT_POINTS)[1:].T > 0


def _marks(outlines: list[Outline]) -> Marks:
    return Marks(np.zeros((0, 2)), np.zeros(0, bool), (), outlines=tuple(outlines))


def box_outline(uv: FloatArray, text: str = "") -> Outline:
    """Outline a box from its points alone.

    Args:
        uv: (9, 2) middle and corners, pixels.
        text: one line about it.
    """
    ends = [uv[1:][face].mean(0) for face in POSITIVE]
    return Outline(np.concatenate((uv, ends)), NAMES, LINES, text)


def _sizes(size_xyz: FloatArray) -> str:
    return "/".join(f"{side:.3f}" for side in size_xyz)


def truth_marks(truth: ObjectTruth, source_to_crop: FloatArray) -> list[Marks]:
    """Return the labelled boxes of each input.

    Args:
        truth: of a batch, arrays.
        source_to_crop: (B, 3, 3) float64.
    """
    uv = map_points(source_to_crop[:, None], truth.uv_source)
    size = truth.size_xyz
    return [
        _marks([box_outline(points, _sizes(sides)) for points, sides in zip(uv[b][rows], size[b][rows], strict=True)])
        for b, rows in enumerate(truth.labelled)
    ]


def prediction_marks(decoded: DecodedObjects, stride: int, rules: FilterRules) -> list[Marks]:
    """Return the predicted boxes of each input, corners as regressed from the object's centre.

    Objects with a side that is not above zero are left out: they have no pose, so that no evaluation counts them.
    """
    count = len(decoded.scores)
    found = find_objects(decoded, np.tile(np.eye(3), (count, 1, 1)), stride, rules)
    found = found.pick(np.asarray((found.relative_size > 0).all(-1)))
    outlines = detection_outlines(found)
    rows = found.image.tolist()
    return [_marks([each for each, row in zip(outlines, rows, strict=True) if row == b]) for b in range(count)]


def detection_outlines(found: Detections) -> list[Outline]:
    """Outline each detection by its regressed corners, in their pixels."""
    return [
        box_outline(uv, f"{score:.2f}  {_sizes(size)}")
        for uv, size, score in zip(detection_points(found), found.relative_size, found.score, strict=True)
    ]


def detection_points(found: Detections) -> FloatArray:
    """(M, 9, 2) corners as each object's centre sees them, after their mean."""
    return np.concatenate((found.uv_direct.mean(1, keepdims=True), found.uv_direct), 1)


def pose_outline(
    pose: ObjectPose, K: FloatArray, axis_size: float = 0.5, distortion: FloatArray | None = None
) -> Outline:
    """Outline a pose in its image.

    Args:
        pose: the object.
        K: (3, 3) intrinsics, pixels of the image.
        axis_size: length of the axes, in the unit of the predicted sizes.
        distortion: (D,) of the lens, OpenCV order; none if None.

    Returns:
        Points in pixels of the full frame.
    """
    length = axis_size * pose.size_xyz[1] / pose.relative_size[1]
    ends = pose.cuboid_to_camera[:3, 3] + length * pose.cuboid_to_camera[:3, :3].T
    uv = see_points(ends[None], np.asarray(K, np.float64), distortion)[0]
    return Outline(np.concatenate((pose.uv, uv)), NAMES, LINES, _sizes(pose.relative_size))


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
            Table(
                f"{title}: {scores.counts}",
                head,
                tuple(_row(measure, scores) for measure in MEASURES),
            )
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
