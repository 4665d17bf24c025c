"""Draw batches, labels and predictions of any family."""

from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
import torch

from cogkp.data.sample import Batch
from cogkp.tasks.base import Codec, StereoMetrics
from cogkp.training.evaluator import Predict
from cogkp.visual.canvas import RgbImage, enlarged_uv, image_grid
from cogkp.visual.figure import LabelledPrediction, comparison_sheet, comparison_tile, enlarged_tile, legend_bar
from cogkp.visual.marks import Marks
from cogkp.visual.overlay import draw_outlines, draw_points
from cogkp.visual.palette import point_colours
from cogkp.visual.space import Pair, pair_sheet

MIN_TILE_PX = 256
MIN_OUTLINED_PX = 512


def draw_batch(codec: Codec, batch: Batch[Any], outputs: Any = None) -> RgbImage:
    """Draw a batch as a square grid: inputs with their labels or, where outputs are given, with the predictions.

    A legend below it tells which colour is which point.
    """
    marks = codec.truth_marks(batch) if outputs is None else codec.prediction_marks(outputs)
    grid = image_grid([_tile(codec.display_image(image), mark) for image, mark in zip(batch.image, marks, strict=True)])
    names = marks[0].names
    return np.vstack([grid, legend_bar(names, point_colours(len(names)), grid.shape[1])])


def draw_comparison(codec: Codec, predict: Predict, batch: Batch[Any], title: str = "") -> RgbImage:
    """Draw truth and prediction over each input of a batch, with errors in pixels of the full frame, and a legend."""
    truths = codec.truth_marks(batch)
    return comparison_sheet(_comparisons(codec, predict, batch), truths[0].names, title=title)


def draw_single(codec: Codec, predict: Predict, batch: Batch[Any], row: int) -> RgbImage:
    """Draw truth and prediction over one input of a batch, without legend or words."""
    comparison = _comparisons(codec, predict, batch)[row]
    return comparison_tile(comparison, point_colours(len(comparison.truth_uv)))


def _comparisons(codec: Codec, predict: Predict, batch: Batch[Any]) -> list[LabelledPrediction]:
    # Plain batches are cut out of their frames by similarities, which have one scale.
    frame_px = torch.linalg.det(batch.source_to_crop[:, :2, :2]).abs().rsqrt().tolist()
    truths, predictions = codec.truth_marks(batch), codec.prediction_marks(predict(batch.image))
    views = zip(batch.image, truths, predictions, batch.ids, frame_px, strict=True)
    comparisons = [
        LabelledPrediction(
            image=codec.display_image(image),
            truth_uv=truth.uv_crop,
            truth_visible=truth.shown,
            predicted_uv=found.uv_crop,
            # Without a label nobody can say whether the point is in the image at all.
            predicted_visible=found.shown & truth.shown,
            mask=found.mask,
            name=name,
            frame_px=scale,
        )
        for image, truth, found, name, scale in views
    ]
    return [_outlined(*each) for each in zip(comparisons, truths, predictions, strict=True)]


def _outlined(comparison: LabelledPrediction, truth: Marks, found: Marks) -> LabelledPrediction:
    """Draw whole objects into the image, enlarged first; points are drawn over it later."""
    if not truth.outlines and not found.outlines:
        return comparison
    tile, factor = enlarged_tile(comparison.image, None, MIN_OUTLINED_PX)
    drawn = draw_outlines(tile, truth.outlines, factor=factor, plain=True)
    return attrs.evolve(
        comparison,
        image=draw_outlines(drawn, found.outlines, factor=factor),
        truth_uv=enlarged_uv(comparison.truth_uv, factor),
        predicted_uv=enlarged_uv(comparison.predicted_uv, factor),
        caption=f"{len(found.outlines)} found, {len(truth.outlines)} labelled   {comparison.name}",
        frame_px=comparison.frame_px / factor,
    )


def draw_pairs(
    codec: Codec,
    metrics: StereoMetrics,
    predict: Predict,
    batch: Batch[Any],
    notes: Sequence[str] = (),
    title: str = "",
) -> RgbImage:
    """Draw truth and prediction of calibrated stereo pairs in both views and in space, with a legend.

    ``metrics`` are of the task whose model predicts; ``notes`` stand before the names of the pairs.

    Raises:
        ValueError: the batch has no calibrated pairs.
    """
    pairs = [
        Pair((codec.display_image(batch.image[left.row]), codec.display_image(batch.image[right.row])), marks)
        for marks in metrics.space_marks(predict(batch.image), batch)
        for left, right in (marks.views,)
    ]
    noted = [attrs.evolve(pair, note=note) for pair, note in zip(pairs, notes, strict=True)] if notes else pairs
    return pair_sheet(noted, title=title)


def _tile(image: npt.NDArray[np.floating[Any]], marks: Marks) -> RgbImage:
    tile, factor = enlarged_tile(image, marks.mask, MIN_TILE_PX)
    radius = max(4.0, max(tile.shape[:2]) / 64)
    # Rings leave what they mark to be seen.
    drawn = draw_points(tile, enlarged_uv(marks.uv_crop, factor), shown=marks.shown, shape="ring", radius=radius)
    return draw_outlines(drawn, marks.outlines, factor=factor)
