"""One 3x3 map between two images: it moves points, pixels and predictions alike.

Pixel rule: the centre of the top-left pixel is (0, 0), so resizing by s maps u to (u + 0.5) s - 0.5.
Computed in float64; only invertible maps can be built, so that every prediction finds its way home.

Source: R. Hartley and A. Zisserman, Multiple View Geometry, 2nd ed., section 2.4 (plane projective maps).
"""

from __future__ import annotations

import math

import attrs
import torch
from torch import Tensor

from cogkp.errors import GeometryError

__all__ = ["ImageWarp"]

MIN_DETERMINANT = 1e-12


def _check_matrix(_instance: object, _attribute: object, matrix: Tensor) -> None:
    if matrix.shape[-2:] != (3, 3):
        raise GeometryError(
            "an image map needs a 3x3 matrix", expected="shape (..., 3, 3)", got=str(tuple(matrix.shape))
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
    def _of(cls, rows: list[list[float]]) -> ImageWarp:
        matrix = torch.tensor(rows, dtype=torch.float64)
        if not abs(float(torch.linalg.det(matrix))) > MIN_DETERMINANT:
            raise GeometryError("an image map must be invertible", got=str(rows))
        return cls(matrix)

    @classmethod
    def translate(cls, du: float, dv: float) -> ImageWarp:
        """Shift by (du, dv) pixels."""
        return cls._of([[1.0, 0.0, du], [0.0, 1.0, dv], [0.0, 0.0, 1.0]])

    @classmethod
    def resize(cls, scale_u: float, scale_v: float) -> ImageWarp:
        """Resize an image; pixel areas, not pixel centres, keep their corners."""
        return cls._of([[scale_u, 0.0, 0.5 * scale_u - 0.5], [0.0, scale_v, 0.5 * scale_v - 0.5], [0.0, 0.0, 1.0]])

    @classmethod
    def turn(cls, angle_rad: float, scale: float, center_uv: tuple[float, float]) -> ImageWarp:
        """Rotate clockwise as seen on the screen (u towards v) and scale about a fixed point."""
        cosine, sine = scale * math.cos(angle_rad), scale * math.sin(angle_rad)
        cu, cv = center_uv
        return cls._of(
            [
                [cosine, -sine, cu - cosine * cu + sine * cv],
                [sine, cosine, cv - sine * cu - cosine * cv],
                [0.0, 0.0, 1.0],
            ]
        )

    @classmethod
    def mirror(cls, width: int) -> ImageWarp:
        """Mirror an image of the given width left to right."""
        return cls._of([[-1.0, 0.0, width - 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])

    def apply(self, uv: Tensor) -> Tensor:
        """Move points.

        Args:
            uv: (..., N, 2) float, pixels of the first image; leading axes broadcast with those of ``matrix``,
                and a single point (2,) is allowed for a single map.

        Returns:
            (..., N, 2) in the dtype of ``uv``, pixels of the second image.

        Gradient: flows to ``uv`` and ``matrix``.
        """
        single = uv.dim() == 1
        points = uv.unsqueeze(0) if single else uv
        moved = points.to(self.matrix.dtype) @ self.matrix[..., :2].transpose(-1, -2) + self.matrix[..., 2].unsqueeze(
            -2
        )
        result = (moved[..., :2] / moved[..., 2:]).to(uv.dtype)
        return result.squeeze(0) if single else result

    def then(self, other: ImageWarp) -> ImageWarp:
        """Follow this map by another; reads in the order of the images."""
        return ImageWarp(other.matrix @ self.matrix)

    def inverse(self) -> ImageWarp:
        """Return the map back."""
        return ImageWarp(torch.linalg.inv(self.matrix))

    def jacobian(self, uv: Tensor) -> Tensor:
        """Return how the second image's pixels change with the first's, at each point.

        Args:
            uv: (..., N, 2) float, pixels of the first image.

        Returns:
            (..., N, 2, 2); a covariance C moves as J C J^T.
        """
        points = uv.to(self.matrix.dtype)
        moved = points @ self.matrix[..., :2].transpose(-1, -2) + self.matrix[..., 2].unsqueeze(-2)
        w = moved[..., 2, None, None]
        image = (moved[..., :2] / moved[..., 2:]).unsqueeze(-1)
        upper = self.matrix[..., None, :2, :2]
        lower = self.matrix[..., None, 2:, :2]
        return ((upper - image * lower) / w).to(uv.dtype)
