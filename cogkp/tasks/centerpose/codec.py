"""Encode labels of boxes as training targets, and decode network outputs to objects in pixels of the full image.

Both directions live in one object, so that training, evaluation and deployment cannot disagree.
Axes: B batch, S symmetric views, O objects that are learned, T objects of an image.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import attrs
import numpy as np
import numpy.typing as npt
from torch import Tensor

from cogkp.config.centerpose.spec import CenterPoseConfig
from cogkp.data.boxes.view import BoxInput
from cogkp.data.images import to_colour
from cogkp.data.sample import Batch, Sample
from cogkp.tasks.centerpose.decode import DecodeRules, decode_maps
from cogkp.tasks.centerpose.detections import DecodedObjects, Detections, FilterRules, find_objects
from cogkp.tasks.centerpose.ground_truth import ObjectTruth, object_truth
from cogkp.tasks.centerpose.overlays import prediction_marks, truth_marks
from cogkp.tasks.centerpose.targets import ObjectTargets, TargetRules, object_targets
from cogkp.visual.marks import Marks


class CenterPoseTargets(NamedTuple):
    """Training targets of one image, and its ground truth."""

    objects: ObjectTargets
    truth: ObjectTruth


@attrs.frozen
class CenterPoseCodec:
    """Encode labels and decode predictions of the object-pose family.

    Args:
        category: what the network is trained on, a word.
    """

    targets: TargetRules = attrs.field(factory=TargetRules)
    decoding: DecodeRules = attrs.field(factory=DecodeRules)
    filtering: FilterRules = attrs.field(factory=FilterRules)
    category: str = "object"
    view: BoxInput = attrs.field(factory=BoxInput)

    @classmethod
    def of(cls, config: CenterPoseConfig) -> CenterPoseCodec:
        """Read the codec's settings from an experiment."""
        data = config.dataset
        return cls(
            targets=TargetRules(
                side=data.input_res,
                stride=config.model.down_ratio,
                max_objs=data.max_objs,
                center_3d=data.center_3D,
                absolute_scale=data.use_absolute_scale,
            ),
            decoding=DecodeRules(config.inference.num_select),
            filtering=FilterRules(config.inference.visualization_threshold),
            category=data.category,
            view=BoxInput(side=data.input_res, mean=data.mean, std=data.std),
        )

    def for_input_size(self, size_wh: tuple[int, int]) -> CenterPoseCodec:
        """Return a codec for another input size, which need not be square; the targets' grid is its bounding square."""
        return attrs.evolve(
            self,
            targets=attrs.evolve(self.targets, side=max(size_wh)),
            view=attrs.evolve(self.view, side=max(size_wh), size_wh=size_wh),
        )

    def prepare(self, image: npt.NDArray[Any]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
        """Make the network's input (3, H, W) of a whole image (H, W) or (H, W, 3) RGB."""
        return self.view.of(to_colour(image))

    def encode(self, sample: Sample[Any]) -> CenterPoseTargets:
        """Make the targets of one image of :class:`ObjectLabels`; the first of them are taught, all are evaluated."""
        taught = object_targets(sample.labels, sample.source_to_crop, sample.source_size_wh, self.targets)
        return CenterPoseTargets(taught, object_truth(sample.labels))

    def decoded(self, outputs: Any) -> DecodedObjects:
        """Decode maps to arrays; what an exported network has decoded already stays as it is."""
        found = outputs if isinstance(outputs, DecodedObjects) else decode_maps(outputs, self.decoding)
        return DecodedObjects(*(_array(field) for field in found))

    def decode(self, outputs: Any, source_to_crop: Any) -> Detections:
        """Find the likely objects in the full images; their poses: :func:`cogkp.tasks.centerpose.poses.find_poses`.

        The outputs of the network, or of an exported one, and ``source_to_crop`` (B, 3, 3) float64 are tensors or
        arrays.
        """
        return find_objects(self.decoded(outputs), _array(source_to_crop), self.targets.stride, self.filtering)

    def display_image(self, image: Tensor) -> npt.NDArray[np.floating[Any]]:
        """Show one network input (3, S, S) in its colours: (S, S, 3) RGB, on the scale 0..1."""
        return self.view.to_rgb(image.cpu().numpy())

    def truth_marks(self, batch: Batch[CenterPoseTargets]) -> list[Marks]:
        """Return the labelled boxes of each input."""
        truth = ObjectTruth(*map(_array, batch.targets.truth))
        return truth_marks(truth, _array(batch.source_to_crop))

    def prediction_marks(self, outputs: Any) -> list[Marks]:
        """Return the predicted boxes of each input."""
        return prediction_marks(self.decoded(outputs), self.targets.stride, self.filtering)


def _array(values: Any) -> npt.NDArray[Any]:
    return values.numpy(force=True) if isinstance(values, Tensor) else np.asarray(values)
