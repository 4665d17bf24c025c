"""Leave out labels that lie outside their own image, unless the configuration keeps them.

A point lies inside where its pixel does: from -0.5 to the width or height less 0.5, both included.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

import attrs
import numpy as np
import numpy.typing as npt

from cogkp.data.images import image_size
from cogkp.data.images.survey import evenly
from cogkp.data.keypoint.records import Index
from cogkp.data.keypoint.structured import LINES_FILE
from cogkp.errors import ImageError, counted

log = logging.getLogger("cogkp")

IMAGES_LOOKED_AT = 10_000
"""So many headers are read when a data set is opened; of more images, these are spread evenly, beside the extremes."""

EXTREMES = 1000
FIRST_CORNER = -0.5
EXAMPLES = 3
OUTSIDE = "label outside its image"


def inside_image(uv: npt.NDArray[np.float64], size_wh: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Tell which points, (..., 2) pixels, lie on the pixels of an image.

    Example:
        >>> inside_image(np.array([[-0.5, 0.0], [159.5, 119.5], [159.6, 0.0]]), (160, 120)).tolist()
        [True, True, False]
    """
    return np.asarray(((uv >= FIRST_CORNER) & (uv <= np.asarray(size_wh) + FIRST_CORNER)).all(axis=-1))


def without_outside(index: Index, point_keys: Sequence[Sequence[str]], *, oriented: bool = False) -> Index:
    """Let labels outside their image count as not labelled, and tell how many there are.

    Images are known by their headers. Where there are more than ``IMAGES_LOOKED_AT``, some labels may stay that only
    the image itself shows to lie outside; the data set leaves them out when it reads it. ``point_keys`` are V times N
    datakeys, for the message.
    """
    if not index.labelled.any():
        return index
    flat, uv = index.labelled.reshape(-1, index.labelled.shape[-1]), index.uv_source
    having = np.flatnonzero(flat.any(axis=-1))
    looked = _chosen(having, abs(uv).reshape(len(flat), -1).max(axis=-1))
    sizes = np.full((len(flat), 2), np.inf)
    sizes[looked] = [_size(index.image_paths[place], oriented) for place in looked.tolist()]
    inside = inside_image(uv, sizes.reshape(*uv.shape[:2], 1, 2))
    outside = index.labelled & ~inside
    if not outside.any():
        return index
    examples = [
        f"{LINES_FILE}:{index.lines[row]} {point_keys[view][point]} {_pixel(uv[row, view, point])}"
        for row, view, point in np.argwhere(outside)[:EXAMPLES].tolist()
    ]
    some = f" (in {len(looked)} of {len(having)} images looked at)" if len(looked) < len(having) else ""
    say_outside(str(index.root), int(outside.sum()), int(index.labelled.sum()), examples, some)
    return attrs.evolve(
        index,
        uv_source=np.where(outside[..., None], 0.0, uv),
        labelled=index.labelled & inside,
        dropped={**index.dropped, OUTSIDE: int(outside.sum())},
    )


def say_outside(where: str, count: int, of: int, examples: Sequence[str], some: str = "") -> None:
    """Warn of labels outside their image."""
    log.warning(
        "%s: %d of %s lie outside their image%s and are left out of training and evaluation, e.g. %s. "
        "Where such labels are meant, set data_mappings.keep_points_outside_image to true.",
        where,
        count,
        counted(of, "label"),
        some,
        "; ".join(examples[:EXAMPLES]),
    )


def say_suspicious(where: str, uv: npt.NDArray[np.float64]) -> None:
    """Warn of labels ``uv`` (L, 2) on the first corner, as many tools write where there is none, and of fractions."""
    corner = ((uv == 0.0) | (uv == FIRST_CORNER)).all(axis=-1)
    if count := int(corner.sum()):
        log.warning(
            "%s: %s exactly at [0, 0] and used. Write null where that means missing.", where, counted(count, "label")
        )
    if not corner.all() and ((uv >= 0.0) & (uv <= 1.0)).all():
        log.warning(
            "%s: all %s lie within the first pixel. Are they fractions of the image? Labels are pixels.",
            where,
            counted(len(uv), "label"),
        )


def _chosen(having: npt.NDArray[np.int64], reach: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Choose the images whose size is looked up: all that have labels, or a spread of them and the farthest labels."""
    if len(having) <= IMAGES_LOOKED_AT:
        return having
    spread = having[evenly(len(having), IMAGES_LOOKED_AT)]
    return np.unique(np.concatenate([spread, having[np.argsort(reach[having])[-EXTREMES:]]]))


def _size(image: Path, oriented: bool) -> tuple[float, float]:
    """Read width and height; endless for an image that cannot be read, which its reader tells."""
    try:
        return image_size(image, oriented=oriented)
    except ImageError:
        return np.inf, np.inf


def _pixel(uv: npt.NDArray[np.float64]) -> str:
    return "[{:g}, {:g}]".format(*uv)
