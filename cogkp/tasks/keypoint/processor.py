"""Pre- and postprocessing of keypoint models with NumPy and OpenCV only: image to network input, outputs to pixels.

Axes: B batch, N keypoints, C classes, S side of the crop, h w heatmap.
"""

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import attrs
import numpy as np
import numpy.typing as npt

from cogkp.config.augment import Crop
from cogkp.config.converter import CONVERTER
from cogkp.config.fields import between, setting
from cogkp.config.issues import RefusedError
from cogkp.data.crop import Bounds, crop_map
from cogkp.data.images import to_grey, warp_image
from cogkp.errors import CogkpError, ModelError, NotFiniteError
from cogkp.geometry.plane_map import inverse_map, map_points
from cogkp.inference.processor import Prepared, Shapes, disagreement, shape_text, unusable_facts
from cogkp.tasks.keypoint.decoding import confidence, heatmap_spread, source_covariance
from cogkp.tasks.keypoint.prediction import KeypointPrediction

log = logging.getLogger("cogkp")

Array = npt.NDArray[Any]

FACTS = ("region", "box", "margin", "min_size_px")
"""What a model file must say of its crop."""
BOX_NUMBERS = 4
WIDEST_PX = 1e4
BOX = "(left, top, right, bottom) in pixels of the image, left <= right and top <= bottom"


@attrs.frozen(kw_only=True)
class KeypointProcessor:
    """Pre- and postprocessing of one keypoint model."""

    crop: Crop = setting(Crop, "Which part of an image the network sees.")
    names: tuple[str, ...] = setting((), "Short names of the points.")
    num_classes: int | None = setting(None, "Classes of the mask; null without one.", between(2, 255))
    kernel_sigma_px: float | None = setting(
        None,
        "Standard deviation of the Gaussian that heatmaps are trained towards, crop pixels; 0 where their shape is not "
        "trained, null where nobody knows.",
        between(0.0, WIDEST_PX),
    )
    noise_px: float | None = setting(
        None,
        "Standard deviation of what a heatmap cannot know, crop pixels; null where nobody knows.",
        between(1e-9, WIDEST_PX),
    )
    where: str = setting("", "The model's file, for messages.")

    @property
    def asks_where(self) -> bool:
        """Whether it was trained on squares round the points."""
        return self.crop.region == "points"

    def beside(self, image: Path) -> Mapping[str, Any]:
        """Return nothing: no file beside an image matters to its points."""
        return {}

    def check(self, takes: Shapes, gives: Shapes) -> None:
        """Compare a file's inputs and outputs with what its facts say; raises ArtifactError where they disagree."""
        side, count = self.crop.output_size, len(self.names)
        if len(takes) != 1 or not _fits(next(iter(takes.values())), ("B", 1, side, side)):
            raise disagreement(self.where, f"an input (B, 1, {side}, {side})", takes)
        wanted: dict[str, tuple[int | str, ...]] = {"keypoints": ("B", count, 2), "heatmaps": ("B", count, "h", "w")}
        if self.num_classes is not None:
            wanted["mask_logits"] = ("B", self.num_classes, side, side)
        for name, shape in wanted.items():
            if not _fits(gives.get(name), shape):
                raise disagreement(self.where, f"an output {name} {shape_text(shape)}", gives)

    def prepare(self, image: Array, *, box: Any = None) -> Prepared:
        """Cut the network's input out of an image, as evaluation does.

        Args:
            image: (H, W) or (H, W, 3) RGB, see :func:`cogkp.data.images.as_image`.
            box: (left, top, right, bottom) of the smallest upright rectangle round the points, pixels of the image;
                needed where ``crop.region`` is 'points', whose margin is added, and not allowed elsewhere.

        Raises:
            ModelError: a box is missing, is none, lies outside the image, or is given where none is needed.
        """
        height, width = image.shape[:2]
        source_to_crop = crop_map(self.crop, (width, height), self._bounds(box, (width, height)))
        side = self.crop.output_size
        crop = warp_image(to_grey(image), source_to_crop, (side, side))
        return Prepared(crop[None], source_to_crop, (width, height), image)

    def _bounds(self, box: Any, size_wh: tuple[int, int]) -> Bounds | None:
        if self.asks_where != (box is not None):
            self._refuse_box(box)
        if box is None:
            return None
        numbers = _numbers(box)
        if numbers is None or not (numbers[:2] <= numbers[2:]).all():
            hint = "With a list of images, give a list of boxes: one for each."
            raise ModelError("not a box", where=self.where, expected=BOX, got=str(box), hint=hint)
        low, high = numbers[:2], numbers[2:]
        if (high < -0.5).any() or (low > np.subtract(size_wh, 0.5)).any():  # noqa: PLR2004 - half a pixel
            size = "{} x {} pixels".format(*size_wh)
            raise ModelError("the box lies outside the image", where=self.where, expected=size, got=str(box))
        return Bounds(low, high)

    def _refuse_box(self, box: Any) -> NoReturn:
        if box is None:
            raise ModelError(
                "this model needs to know where to look",
                where=self.where,
                expected=f"box={BOX}",
                got="no box",
                hint="It was trained on squares round the points (crop.region 'points'): model(image, box=...).",
            )
        shows = "the whole image" if self.crop.region == "frame" else f"the rectangle {self.crop.box} of every image"
        raise ModelError("this model takes no box", where=self.where, expected=shows, got=f"box={box}")

    def predictions(self, outputs: Mapping[str, Array], prepared: Sequence[Prepared]) -> list[KeypointPrediction]:
        """Decode outputs to pixels of their images.

        Args:
            outputs: ``keypoints`` (B, N, 2) crop pixels, ``heatmaps`` (B, N, h, w) probabilities and, with a mask,
                ``mask_logits`` (B, C, S, S).
            prepared: B images.

        Raises:
            NotFiniteError: the network's output is NaN or infinite.
        """
        uv_crop = outputs["keypoints"].astype(np.float32, copy=False)
        heatmaps = outputs["heatmaps"].astype(np.float32, copy=False)
        crop_to_source = np.stack([inverse_map(each.source_to_crop) for each in prepared])
        points = map_points(crop_to_source, uv_crop)
        if not np.isfinite(points).all():
            raise NotFiniteError("the network's output is NaN or infinite", where=self.where)
        sure = partial(confidence, uv_crop, heatmaps, self.crop.output_size)
        known = partial(self._covariances, heatmaps, uv_crop, crop_to_source)
        if len(prepared) > 1:
            # What nobody asks for costs nothing for a single image, but kept heatmaps would fill the memory for many.
            sure, known = partial(_itself, sure()), partial(_itself, known())
        return [
            KeypointPrediction(
                names=self.names,
                points=points[row],
                confidences=sure,
                covariances=known,
                row=row,
                mask_crop=None if self.num_classes is None else _likeliest(outputs["mask_logits"][row]),
                seen=seen,
            )
            for row, seen in enumerate(prepared)
        ]

    def _covariances(self, heatmaps: Array, uv_crop: Array, crop_to_source: Array) -> Array | None:
        """Return the covariance of each point, (B, N, 2, 2) pixels of the images squared; None where not known."""
        if self.noise_px is None or self.kernel_sigma_px is None:
            return None
        spread = heatmap_spread(heatmaps, self.crop.output_size, self.kernel_sigma_px)
        covariances: Array = source_covariance(spread, self.noise_px, crop_to_source, uv_crop)
        return covariances


def _itself(values: Array | None) -> Array | None:
    return values


def processor_of(
    facts: Mapping[str, Any], where: str, *, noise_px: float | None = None, kernel_sigma_px: float | None = None
) -> KeypointProcessor:
    """Make the processor of a model file of its facts, which :meth:`KeypointTask.export_spec` writes.

    ``noise_px`` and ``kernel_sigma_px`` are taken in place of the file's, of which older files say nothing.

    Raises:
        ArtifactError: facts are missing or make no sense.
    """
    crop, uncertainty = _part(facts, "crop", where), _part({"uncertainty": {}, **facts}, "uncertainty", where)
    if missing := [name for name in FACTS if name not in crop]:
        raise unusable_facts(where, "facts.crop with " + ", ".join(FACTS), f"no {', '.join(missing)}")
    raw = {
        "crop": {"output_size": _part(facts, "input", where).get("size_px"), **{name: crop[name] for name in FACTS}},
        "names": _part(facts, "points", where).get("names"),
        "num_classes": facts.get("num_segmentation_classes"),
        "noise_px": uncertainty.get("noise_px") if noise_px is None else noise_px,
        "kernel_sigma_px": uncertainty.get("kernel_sigma_px") if kernel_sigma_px is None else kernel_sigma_px,
    }
    try:
        processor: KeypointProcessor = CONVERTER.structure(raw, KeypointProcessor)
        crop_map(processor.crop, (1, 1))
    except RefusedError as refused:
        problem = refused.findings[0].problem()
        raise unusable_facts(where, f"{problem.where}: {problem.expected}", problem.got) from refused
    except CogkpError as error:
        raise unusable_facts(where, "a rectangle in facts.crop.box", str(crop["box"])) from error
    if not processor.names:
        raise unusable_facts(where, "names of points", "none")
    if processor.noise_px is None or processor.kernel_sigma_px is None:
        told_line = (
            "%s does not say how uncertain its points are, so that no covariance is stated; "
            "cogkp.load(path, noise_px=..., kernel_sigma_px=...) takes uncertainty.noise_px and the heatmaps' sigma_px "
            "(0 without that loss term) of its configuration"
        )
        log.warning(told_line, where)
    return attrs.evolve(processor, where=where)


def _part(facts: Mapping[str, Any], name: str, where: str) -> Mapping[str, Any]:
    part = facts.get(name)
    if not isinstance(part, Mapping):
        raise unusable_facts(where, f"facts.{name}", "nothing" if part is None else repr(part)[:60])
    return part


def _fits(found: tuple[int | str, ...] | None, wanted: tuple[int | str, ...]) -> bool:
    """Compare shapes; a word on either side stands for any length."""
    return (
        found is not None
        and len(found) == len(wanted)
        and all(one == other or str in (type(one), type(other)) for one, other in zip(found, wanted, strict=True))
    )


def _numbers(box: Any) -> npt.NDArray[np.float64] | None:
    """Read four finite numbers, or None."""
    try:
        numbers = np.asarray(box, np.float64)
    except (TypeError, ValueError, OverflowError):
        return None
    return numbers if numbers.shape == (BOX_NUMBERS,) and np.isfinite(numbers).all() else None


def _likeliest(logits: Array) -> npt.NDArray[np.uint8]:
    """Return the class of the largest logit of each pixel, (C, S, S) -> (S, S); twenty times as fast as argmax."""
    best, classes = logits[0], np.zeros(logits.shape[1:], np.uint8)
    for number, each in enumerate(logits[1:], start=1):
        classes[each > best] = number
        best = np.maximum(best, each)
    return classes
