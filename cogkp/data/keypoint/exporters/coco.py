"""COCO's results of keypoint detection, and the images and categories that give their numbers a meaning.

COCO's keypoints are indices of pixels: the centre of the top-left pixel is (0, 0), as with us, so coordinates are taken
as they are. (COCO's boxes and outlines are not: they reach from 0 to the width.) Detectron2, whose own pixels have
their centres at 0.5, adds 0.5 to the keypoints of annotations when it reads them, and takes 0.5 from its predictions
when it writes results (detectron2/data/datasets/coco.py, detectron2/evaluation/coco_evaluation.py).

The third number of a point is not used by COCO's evaluation of results. It is the confidence here, as Detectron2 and
AlphaPose write it; a point that was not found is 0, 0, 0, which is how COCO says that there is none.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy.typing as npt

from cogkp.data.keypoint.exporters.cells import found_points, rounded
from cogkp.files import json_text

CATEGORY_ID = 1
NOT_FOUND = (0.0, 0.0, 0.0)


def coco_result(image_id: int, points: npt.ArrayLike, confidence: npt.ArrayLike) -> dict[str, Any]:
    """Return the result of one image.

    Args:
        image_id: as :func:`coco_image` states it.
        points: (N, 2) columns and rows, pixels of the image; NaN where a point was not found.
        confidence: (N,) 0 to 1.

    Returns:
        ``image_id``, ``category_id``, ``keypoints`` (x, y, confidence of each point) and ``score``, the mean confidence
        of all points, where one that was not found counts as 0.

    Raises:
        DataError: the shapes do not belong together.

    Example:
        >>> coco_result(3, [[1.5, 2.0], [float("nan"), 0.0]], [0.9, 0.1])["keypoints"]
        [1.5, 2.0, 0.9, 0.0, 0.0, 0.0]
    """
    found = [NOT_FOUND if point.u is None else point for point in found_points(points, confidence)]
    sure = [point[2] or 0.0 for point in found]
    return {
        "image_id": image_id,
        "category_id": CATEGORY_ID,
        "keypoints": [value or 0.0 for point in found for value in point],
        "score": rounded(sum(sure) / len(sure)) if sure else 0.0,
    }


def coco_image(image_id: int, name: str, size_wh: tuple[int, int]) -> dict[str, Any]:
    """Return what COCO says of an image."""
    return {"id": image_id, "file_name": name, "width": int(size_wh[0]), "height": int(size_wh[1])}


def coco_dataset(
    names: Sequence[str],
    images: Iterable[Mapping[str, Any]],
    *,
    category: str = "object",
    links: Sequence[tuple[int, int]] = (),
) -> dict[str, Any]:
    """Return the images and the category that results refer to, as a COCO data set without annotations.

    Args:
        names: of the points, in their order.
        images: each of :func:`coco_image`.
        category: what the points belong to.
        links: pairs of points that are drawn as connected, counted from 0 (COCO's ``skeleton`` counts from 1).
    """
    skeleton = [[first + 1, second + 1] for first, second in links]
    known = {"id": CATEGORY_ID, "name": category, "supercategory": "", "keypoints": list(names), "skeleton": skeleton}
    return {"images": list(images), "categories": [known], "annotations": []}


def json_array(items: Iterable[Any]) -> Iterator[str]:
    """Write a JSON array in pieces, one line an item; what came so far, and ``]``, is an array.

    Example:
        >>> print("".join(json_array([{"a": 1}, {"a": 2}])), end="")
        [
        {"a": 1},
        {"a": 2}
        ]
    """
    yield "["
    between = "\n"
    for item in items:
        yield between + json_text(item)
        between = ",\n"
    yield "\n]\n"
