"""A 3x3 map (affine or projective) between two images, applied alike to points, pixels and predictions.

Pixel rule: the centre of the top-left pixel is (0, 0), so resizing by s maps u to (u + 0.5) s - 0.5.
Computed in float64; the factories build only invertible maps, so that every prediction finds its way home.

Axes: N points; leading axes of ``matrix`` are batch axes.
Knows nothing of: pixels' values (see cogkp.data.images) and which map an image needs (see cogkp.data.augment).
Source: R. Hartley and A. Zisserman, Multiple View Geometry, 2nd ed., section 2.4 (plane projective maps).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import attrs
import torch
from torch import Tensor

from cogkp.errors import GeometryError
from cogkp.geometry.plane_map import Row, affine_map, fit_map, map_jacobian, map_points


def _check_matrix(_instance: object, _attribute: object, matrix: Tensor) -> None:
    if matrix.shape[-2:] != (3, 3) or not matrix.is_floating_point():
        raise GeometryError(
            "an image map needs a 3x3 matrix",
            expected="shape (..., 3, 3), floating",
            got=f"{tuple(matrix.shape)}, {matrix.dtype}",
        )


def _check_points(uv: Tensor) -> None:
    if uv.shape[-1:] != (2,) or not uv.is_floating_point():
        raise GeometryError(
            "an image map moves points",
            expected="shape (..., N, 2) or (2,), floating",
            got=f"{tuple(uv.shape)}, {uv.dtype}",
        )


@attrs.frozen(eq=False)
class ImageWarp:
    """A map from the pixels of one image to the pixels of another.

    Args:
        matrix: (..., 3, 3) float, acts on columns (u, v, 1).

    Example:
        >>> half = ImageWarp.resize(0.5, 0.5)
        >>> half.apply(torch.tensor([0.5, 0.5]))  # the corner shared by four pixels is the centre of one
        tensor([0., 0.])
        >>> half.then(half.inverse()).apply(torch.tensor([7.0, 3.0]))
        tensor([7., 3.])
    """

    matrix: Tensor = attrs.field(validator=_check_matrix)

    @classmethod
    def identity(cls) -> ImageWarp:
        """Return the map that moves nothing."""
        return cls(torch.eye(3, dtype=torch.float64))

    @classmethod
    def _affine(cls, first: Row, second: Row) -> ImageWarp:
        return cls(torch.from_numpy(affine_map(first, second)))

    @classmethod
    def translate(cls, du: float, dv: float) -> ImageWarp:
        """Shift by (du, dv) pixels."""
        return cls._affine((1.0, 0.0, du), (0.0, 1.0, dv))

    @classmethod
    def resize(cls, scale_u: float, scale_v: float) -> ImageWarp:
        """Resize an image; pixel areas, not pixel centres, keep their corners."""
        return cls._affine((scale_u, 0.0, 0.5 * scale_u - 0.5), (0.0, scale_v, 0.5 * scale_v - 0.5))

    @classmethod
    def turn(cls, angle_rad: float, scale: float, center_uv: tuple[float, float]) -> ImageWarp:
        """Rotate clockwise as seen on the screen (u towards v) and scale about a fixed point."""
        cosine, sine = scale * math.cos(angle_rad), scale * math.sin(angle_rad)
        cu, cv = center_uv
        return cls._affine((cosine, -sine, cu - cosine * cu + sine * cv), (sine, cosine, cv - sine * cu - cosine * cv))

    @classmethod
    def mirror(cls, width: int) -> ImageWarp:
        """Mirror an image of the given width left to right."""
        return cls._affine((-1.0, 0.0, width - 1.0), (0.0, 1.0, 0.0))

    @classmethod
    def fit(cls, corner_uv: tuple[float, float], size_wh: tuple[float, float], side: int) -> ImageWarp:
        """Fit a rectangle, centred and without distortion, into a square image.

        Args:
            corner_uv: the rectangle's outer top-left corner, pixels; (-0.5, -0.5) for a whole image, since the
                corner of a pixel lies half a pixel from its centre.
            size_wh: the rectangle's width and height, pixels.
            side: width and height of the square image, pixels.

        Returns:
            The map from the image that holds the rectangle to the square image.

        Raises:
            GeometryError: the rectangle has no area.

        Example:
            >>> ImageWarp.fit((-0.5, -0.5), (640, 480), 256).apply(torch.tensor([[-0.5, -0.5], [639.5, 479.5]]))
            tensor([[ -0.5000,  31.5000],
                    [255.5000, 223.5000]])
        """
        return cls(torch.from_numpy(fit_map(corner_uv, size_wh, side)))

    @property
    def mirrored(self) -> Tensor:
        """(...) bool, whether the map turns a right hand into a left one."""
        determinant: Tensor = torch.linalg.det(self.matrix)
        return determinant < 0

    def apply(self, uv: Tensor) -> Tensor:
        """Move points.

        Args:
            uv: (..., N, 2) float, pixels of the first image; leading axes broadcast with those of ``matrix``,
                and a single point (2,) is allowed for a single map.

        Returns:
            (..., N, 2) in the dtype of ``uv``, pixels of the second image. Points on the horizon of a perspective
            map land far away, yet finite.

        Raises:
            GeometryError: ``uv`` holds integers or is not made of pairs.

        Gradient: flows to ``uv`` and ``matrix``.
        Source: Hartley and Zisserman, equation 2.5.
        """
        return self._each(map_points, uv)

    def then(self, other: ImageWarp) -> ImageWarp:
        """Follow this map by another; reads in the order of the images.

        Example:
            >>> ImageWarp.resize(2.0, 2.0).then(ImageWarp.translate(1.0, 0.0)).apply(torch.zeros(2))
            tensor([1.5000, 0.5000])
        """
        return ImageWarp(other.matrix @ self.matrix)

    def inverse(self) -> ImageWarp:
        """Return the map back.

        Raises:
            GeometryError: the map flattens the image, so that there is no way back.

        Gradient: flows to ``matrix``.
        """
        try:
            return ImageWarp(torch.linalg.inv(self.matrix))
        except RuntimeError as error:
            raise GeometryError("an image map must be invertible", got="a singular matrix") from error

    def jacobian(self, uv: Tensor) -> Tensor:
        """Return how the second image's pixels change with the first's, at each point.

        Args:
            uv: (..., N, 2) float, pixels of the first image; a single point (2,) is allowed for a single map.

        Returns:
            (..., N, 2, 2) in the dtype of ``uv``; a covariance C moves as J C J^T.

        Raises:
            GeometryError: ``uv`` holds integers or is not made of pairs.

        Gradient: flows to ``uv`` and ``matrix``.
        Source: the quotient rule on equation 2.5 of Hartley and Zisserman.

        Example:
            >>> ImageWarp.resize(0.5, 2.0).jacobian(torch.zeros(2))
            tensor([[0.5000, 0.0000],
                    [0.0000, 2.0000]])
        """
        return self._each(map_jacobian, uv)

    def _each(self, ask: Callable[[Tensor, Tensor], Tensor], uv: Tensor) -> Tensor:
        """Ask about points, or about a single one."""
        _check_points(uv)
        return ask(self.matrix, uv) if uv.dim() > 1 else ask(self.matrix, uv.unsqueeze(0)).squeeze(0)
