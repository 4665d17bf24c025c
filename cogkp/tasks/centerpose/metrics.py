"""Metrics of object poses by the published Objectron protocol, and beside it with each object matched at most once.

Axes: B batch, T true objects of an image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import attrs
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cogkp.data.sample import Batch
from cogkp.errors import EvaluationError
from cogkp.geometry.cuboid import Cuboids
from cogkp.tasks.base import PCK_THRESHOLDS_PX
from cogkp.tasks.centerpose.codec import CenterPoseCodec
from cogkp.tasks.centerpose.ground_truth import ObjectTruth
from cogkp.tasks.centerpose.matching import (
    MEASURES,
    average_precision,
    corner_distances,
    corner_errors,
    ground_scale,
    match_nearest,
    match_once,
    pose_errors,
)
from cogkp.tasks.centerpose.per_object import ObjectRows
from cogkp.tasks.centerpose.poses import ObjectPoses, PoseRules, find_poses
from cogkp.tasks.centerpose.report import CenterPoseReport, ProtocolScores

Protocol = Literal["reference", "once"]
PROTOCOLS: tuple[Protocol, ...] = ("reference", "once")
FIELDS = [measure.field for measure in MEASURES]
# What the evidence shows beside the distance in pixels, which stands second.
KEPT = ("iou", "azimuth_deg", "elevation_deg", "add")


@attrs.frozen
class EvaluationRules:
    """Which objects and detections are evaluated.

    Args:
        turns: after how many equal turns about their vertical axes the objects look as before.
        closed_turns: as ``closed`` of :func:`cogkp.tasks.centerpose.matching.pose_errors`.
        min_visibility: objects less visible are not asked for.
        metric: whether predicted sizes are true lengths; else boxes are grown until they stand on the ground.
        poses: how poses are found.
    """

    turns: int = 1
    closed_turns: bool = False
    min_visibility: float = 0.1
    metric: bool = False
    poses: PoseRules = attrs.field(factory=PoseRules)


class Found(NamedTuple):
    """One image's boxes found, as tensors: (n) boxes, (n, 9, 2) their pixels and (n,) float64 probabilities."""

    cuboids: Cuboids
    uv: Tensor
    score: Tensor

    @classmethod
    def of(cls, poses: ObjectPoses) -> Found:
        """Take them over from arrays."""
        boxes = poses.cuboids
        pose, size, uv = map(torch.from_numpy, (boxes.cuboid_to_camera, boxes.size_xyz, poses.uv))
        return cls(Cuboids(pose, size), uv, torch.from_numpy(poses.detections.score).double())


@attrs.frozen(eq=False)
class Match:
    """The predicted boxes of one image and the true ones they are matched with.

    Args:
        rows: (n,) which of the boxes found.
        truth: (n,) which of the true objects, -1 for none.
        confidence: (n,) of the boxes found; zero where the object should not have been asked for.
    """

    rows: Tensor
    truth: Tensor
    confidence: Tensor


class CenterPoseMetrics:
    """Accumulate pose errors over batches, and hits of corners within each threshold, pixels of the full frame."""

    def __init__(
        self,
        codec: CenterPoseCodec,
        rules: EvaluationRules | None = None,
        thresholds_px: Sequence[float] = PCK_THRESHOLDS_PX,
    ) -> None:
        self._codec = codec
        self._rules = rules or EvaluationRules()
        self._thresholds_px = tuple(thresholds_px)
        self._rows = ObjectRows()
        self._images = self._skipped = self._objects = self._labelled = 0
        self._errors: dict[Protocol, list[npt.NDArray[np.float64]]] = {name: [] for name in PROTOCOLS}
        self._confidence: dict[Protocol, list[npt.NDArray[np.float64]]] = {name: [] for name in PROTOCOLS}

    def update(self, outputs: Any, batch: Batch[Any]) -> None:
        """Add one batch; raises EvaluationError where an image's camera is not known."""
        truth = ObjectTruth(*(field.cpu() for field in batch.targets.truth))
        self._require_cameras(truth, batch)
        detections = self._codec.decode(outputs, batch.source_to_crop)
        poses = find_poses(detections, truth.K.numpy(), self._rules.poses, metric=self._rules.metric)
        for b, size_wh in enumerate(batch.source_size_wh.cpu()):
            self._match_all(
                batch.ids[b], Found.of(poses.of_image(b)), ObjectTruth(*(field[b] for field in truth)), size_wh
            )

    def merge(self, other: CenterPoseMetrics) -> None:
        """Add what another accumulator of the same kind saw after this one."""
        self._images += other._images
        self._skipped += other._skipped
        self._objects += other._objects
        self._labelled += other._labelled
        self._rows.merge(other._rows)
        for name in PROTOCOLS:
            self._errors[name] += other._errors[name]
            self._confidence[name] += other._confidence[name]

    def _require_cameras(self, truth: ObjectTruth, batch: Batch[Any]) -> None:
        unknown = [batch.ids[row] for row in (~truth.calibrated).nonzero().flatten().tolist()]
        if unknown:
            raise EvaluationError(
                "poses cannot be evaluated without the camera's intrinsics",
                where=unknown[0],
                expected="intrinsics in every annotation",
                got=f"{len(unknown)} of {len(batch.ids)} images without",
            )

    def _match_all(self, name: str, found: Found, truth: ObjectTruth, size_wh: Tensor) -> None:
        self._images += 1
        asked = self._objects_in(truth, size_wh)
        if not asked.any():
            self._skipped += 1
            self._rows.add(name, asked.numpy(), np.zeros(0, np.int64), np.zeros((0, len(KEPT) + 1)))
            return
        self._objects += int(asked.sum())
        self._labelled += int(truth.labelled.sum())
        known = (truth.labelled & truth.located).nonzero().flatten()
        distance = corner_distances(found.uv, truth.uv_source[known], size_wh)
        visible = truth.visibility[known] >= self._rules.min_visibility
        nearest = match_nearest(distance)
        once = match_once(distance)
        # A box round an object that nobody asked for is neither right nor wrong where matches are made once.
        counted = (once < 0) | visible[once]
        wanted = visible[nearest]
        truths, confidence = torch.where(wanted, nearest, -1), torch.where(wanted, found.score, 0.0)
        matches: dict[Protocol, Match] = {
            "reference": Match(torch.arange(len(found.uv)), truths, confidence),
            "once": Match(counted.nonzero().flatten(), once[counted], found.score[counted]),
        }
        errors = {kind: self._measure(found, truth, known, match, size_wh) for kind, match in matches.items()}
        for kind, match in matches.items():
            self._confidence[kind].append(match.confidence.numpy())
            self._errors[kind].append(errors[kind])
        self._keep(name, asked, known, found, truth, matches["once"], errors["once"])

    def _keep(
        self,
        name: str,
        asked: Tensor,
        known: Tensor,
        found: Found,
        truth: ObjectTruth,
        match: Match,
        errors: npt.NDArray[np.float64],
    ) -> None:
        """Keep what the evidence shows of one image."""
        held = match.truth >= 0
        rows, objects = match.rows[held], known[match.truth[held]]
        true = Cuboids(truth.cuboid_to_camera[objects], truth.size_xyz[objects])
        pixel = np.zeros(0)
        if len(rows):
            ones = torch.ones(len(rows), 2)
            K = truth.K.expand(len(rows), 3, 3)
            pixel = corner_errors(found.uv[rows], true, K, ones, self._rules.turns).numpy()
        kept = errors[held.numpy()][:, [FIELDS.index(field) for field in KEPT]]
        self._rows.add(name, asked.numpy(), objects.numpy(), np.insert(kept, 1, pixel, axis=1))

    def _objects_in(self, truth: ObjectTruth, size_wh: Tensor) -> Tensor:
        middle = truth.uv_source[:, 0]
        inside = ((middle > 0) & (middle < size_wh)).all(-1)
        ahead = truth.cuboid_to_camera[:, 2, 3] > 0
        visible = truth.visibility > self._rules.min_visibility
        asked: Tensor = truth.labelled & truth.located & inside & ahead & visible
        return asked

    def _measure(
        self, found: Found, truth: ObjectTruth, known: Tensor, match: Match, size_wh: Tensor
    ) -> npt.NDArray[np.float64]:
        """(n, measures) with NaN for unmatched boxes."""
        errors = np.full((len(match.rows), len(MEASURES)), np.nan)
        held = match.truth >= 0
        rows, objects = match.rows[held], known[match.truth[held]]
        if len(rows):
            true = Cuboids(truth.cuboid_to_camera[objects], truth.size_xyz[objects])
            boxes = found.cuboids[rows]
            if not self._rules.metric:
                boxes = boxes.scaled(ground_scale(boxes, true, truth.ground.expand(len(rows), 2, 3)).factor)
            K, size = truth.K.expand(len(rows), 3, 3), size_wh.expand(len(rows), 2)
            turns, closed = self._rules.turns, self._rules.closed_turns
            measured = pose_errors(boxes, found.uv[rows], true, K, size, turns, closed=closed)
            errors[held.numpy()] = torch.stack([getattr(measured, field) for field in FIELDS], -1).numpy()
        return errors

    def compute(self) -> CenterPoseReport:
        """Sum up; raises EvaluationError where no image has an object that can be evaluated."""
        if not self._objects:
            raise EvaluationError(
                f"there is nothing to evaluate: none of {self._images} images shows an object with a known pose",
                expected="an object in front of the camera, its middle in the image, "
                f"visibility above {self._rules.min_visibility:g}",
            )
        # The published protocol counts all objects of an image in which one is asked for.
        counts: dict[Protocol, int] = {"reference": self._labelled, "once": self._objects}
        scores = {name: self._summed(name, count) for name, count in counts.items()}
        evidence = self._rows.evidence(self._thresholds_px)
        return CenterPoseReport(
            self._images, self._skipped, self._objects, scores["reference"], scores["once"], evidence
        )

    def _summed(self, name: Protocol, objects: int) -> ProtocolScores:
        errors = np.concatenate([np.zeros((0, len(MEASURES))), *self._errors[name]])
        confidence = np.concatenate([np.zeros(0), *self._confidence[name]])
        held = ~np.isnan(errors[:, 0])
        columns = dict(zip(FIELDS, errors.T, strict=True))
        return ProtocolScores(
            found=len(errors),
            matched=int(held.sum()),
            objects=objects,
            mean={name: float(values[held].mean()) if held.any() else None for name, values in columns.items()},
            precision={
                measure.field: tuple(
                    average_precision(measure.hits(columns[measure.field]), confidence, objects).tolist()
                )
                for measure in MEASURES
            },
        )
