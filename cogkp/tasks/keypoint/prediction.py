"""The prediction of a keypoint model for one image."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import attrs
import cv2
import numpy as np
import numpy.typing as npt

from cogkp.data.images import encode_image, to_display, warp_mask
from cogkp.errors import printable
from cogkp.geometry.plane_map import inverse_map
from cogkp.inference.processor import Box, Prepared
from cogkp.visual.canvas import RgbImage, as_rgb, write_text
from cogkp.visual.markup import data_uri, escape
from cogkp.visual.overlay import draw_points, tint_mask
from cogkp.visual.palette import point_colours

FloatArray = npt.NDArray[np.floating[Any]]

LEAST_RADIUS_PX, RADIUS_SHARE = 3.0, 1 / 90
TEXT_PX, LEAST_SIDE_WITH_TEXT_PX = 9, 160
NOTEBOOK_PX = 480


@attrs.frozen(eq=False, kw_only=True, repr=False, slots=False)
class KeypointPrediction:
    """Points, and optionally the class of each pixel; all in pixels of the image, whose top-left centre is (0, 0).

    Args:
        names: of N points.
        points: (N, 2) float32, columns and rows; all of them, also where the network is unsure.
        confidences: makes those of all B images that were looked at together, (B, N).
        covariances: makes theirs, (B, N, 2, 2).
        row: of this image among them.
        mask_crop: (S, S) uint8 class ids on the network's input, or None.
        seen: the image as the network took it.
    """

    names: tuple[str, ...]
    points: FloatArray
    confidences: Callable[[], FloatArray]
    covariances: Callable[[], FloatArray | None]
    row: int
    mask_crop: npt.NDArray[np.uint8] | None
    seen: Prepared

    @cached_property
    def confidence(self) -> FloatArray:
        """(N,) float32 in 0..1, near 1 for one sharp peak, low for a wide one or for several."""
        row: FloatArray = self.confidences()[self.row]
        return row

    @cached_property
    def covariance(self) -> FloatArray | None:
        """(N, 2, 2) float32, pixels squared, positive definite; None where the model does not say how sure it is."""
        stated = self.covariances()
        return None if stated is None else stated[self.row]

    @cached_property
    def mask(self) -> npt.NDArray[np.uint8] | None:
        """(H, W) uint8 class ids, 255 where the network did not look; None without a mask."""
        if self.mask_crop is None:
            return None
        return warp_mask(self.mask_crop, inverse_map(self.seen.source_to_crop), self.seen.size_wh)

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height of the image, pixels."""
        return self.seen.size_wh

    def box(self, names: Sequence[str], least: float) -> Box | None:
        """Return the smallest upright rectangle round the points that are sure enough; None for less than half of them.

        See :meth:`cogkp.inference.processor.Prediction.box`.
        """
        wanted = [self.names.index(name) for name in names] if set(names) <= set(self.names) else slice(None)
        sure = self.confidence[wanted] >= least
        if 2 * sure.sum() < len(sure):
            return None
        points = self.points[wanted][sure].astype(np.float64)
        (left, top), (right, bottom) = points.min(0), points.max(0)
        return float(left), float(top), float(right), float(bottom)

    def draw(self) -> RgbImage:
        """Draw mask, points and names over the image: (H, W, 3) uint8 RGB.

        The image is not copied when it is given: what was written into the array since then is drawn, too.

        Raises:
            ImageError: the file of the image cannot be read any more.
        """
        drawn = as_rgb(to_display(self.seen.image, self.size_wh))
        if self.mask is not None:
            drawn = tint_mask(drawn, self.mask)
        radius = max(LEAST_RADIUS_PX, RADIUS_SHARE * max(self.size_wh))
        colours = point_colours(len(self.names))
        drawn = draw_points(drawn, self.points, shape="cross", colours=colours, radius=radius)
        if min(self.size_wh) >= LEAST_SIDE_WITH_TEXT_PX:
            for name, (u, v), colour in zip(self.names, self.points.tolist(), colours, strict=True):
                write_text(drawn, name, (round(u + radius), round(v - radius)), TEXT_PX, colour)
        return drawn

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values, ready for JSON.

        Returns:
            ``size_wh``; ``points``, each with name, uv, confidence and covariance (None where unknown); ``mask``: None,
            or pairs [class id, pixels] of equal neighbours along the rows, from the top-left corner on.
        """
        covariances = [None] * len(self.names) if self.covariance is None else self.covariance.tolist()
        rows = zip(self.names, self.points.tolist(), self.confidence.tolist(), covariances, strict=True)
        return {
            "size_wh": list(self.size_wh),
            "points": [dict(zip(("name", "uv", "confidence", "covariance"), row, strict=True)) for row in rows],
            "mask": None if self.mask is None else _runs(self.mask),
        }

    def __repr__(self) -> str:
        rows = zip(self.names, self.points.tolist(), self.confidence.tolist(), strict=True)
        points = ", ".join(f"{printable(name)} ({u:.1f}, {v:.1f}) {sure:.2f}" for name, (u, v), sure in rows)
        mask = ", mask" * (self.mask_crop is not None)
        return f"<{'{} x {}'.format(*self.size_wh)} pixels: {points}{mask}>"

    def _repr_html_(self) -> str:
        drawn = self.draw()
        scale = min(1.0, NOTEBOOK_PX / max(drawn.shape[:2]))
        small = cv2.resize(drawn, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else drawn
        source = data_uri(encode_image(np.asarray(small, np.uint8)))
        sigmas = [""] * len(self.names)
        if self.covariance is not None:
            sigmas = [f"{np.sqrt(np.trace(each) / 2):.1f}" for each in self.covariance]
        rows = "".join(
            f"<tr><td>{escape(name)}</td><td>{u:.1f}</td><td>{v:.1f}</td><td>{sigma}</td><td>{sure:.2f}</td></tr>"
            for name, (u, v), sigma, sure in zip(
                self.names, self.points.tolist(), sigmas, self.confidence.tolist(), strict=True
            )
        )
        head = "<tr><th>point</th><th>u px</th><th>v px</th><th>+- px</th><th>confidence</th></tr>"
        return f'<img src="{source}"><table>{head}{rows}</table>'


def _runs(mask: npt.NDArray[np.uint8]) -> list[list[int]]:
    """Write a mask as pairs [class id, pixels].

    Example:
        >>> _runs(np.array([[0, 0, 1], [1, 1, 0]], np.uint8))
        [[0, 2], [1, 3], [0, 1]]
    """
    flat = mask.ravel()
    starts = np.append(0, np.flatnonzero(flat[1:] != flat[:-1]) + 1)
    return [
        [int(flat[start]), int(length)] for start, length in zip(starts, np.diff(starts, append=flat.size), strict=True)
    ]
