"""Heatmaps read: where their mass lies and how far it is spread, for NumPy arrays and torch tensors alike.

A grid of stride s has one cell for s x s pixels of the crop; the centre of cell i lies at pixel (i + 0.5) s - 0.5,
where the centre of the top-left pixel is (0, 0).
"""

from typing import NamedTuple

from cogkp.geometry.arrays import Array, at_least_float32, cast, counting, namespace


class Moments(NamedTuple):
    """Where the mass of heatmaps lies, and how far it is spread.

    Args:
        uv_crop: (..., 2) float, mean, pixels of the crop.
        covariance: (..., 2, 2) float, pixels of the crop squared; no variance is negative.
    """

    uv_crop: Array
    covariance: Array


def grid_to_crop(uv_grid: Array, stride: float) -> Array:
    """Move points from cells of a heatmap to pixels of the crop.

    Args:
        uv_grid: (..., 2) float array or tensor, cells, frame of the heatmap; cell centres are whole numbers.
        stride: pixels per cell.

    Returns:
        (..., 2) in the dtype of ``uv_grid``, pixels of the crop.

    Gradient: the constant ``stride``.
    Source: R. Szeliski, Computer Vision: Algorithms and Applications, 2nd ed., section 3.5 (decimation).

    Example:
        >>> import numpy as np
        >>> grid_to_crop(np.array([0.0, 1.0]), stride=4)
        array([1.5, 5.5])
    """
    return (uv_grid + 0.5) * stride - 0.5


def crop_to_grid(uv_crop: Array, stride: float) -> Array:
    """Move points from pixels of the crop to cells of a heatmap; undoes :func:`grid_to_crop`.

    Args:
        uv_crop: (..., 2) float array or tensor, pixels, frame of the crop.
        stride: pixels per cell.

    Returns:
        (..., 2) in the dtype of ``uv_crop``, cells of the heatmap.

    Gradient: the constant ``1 / stride``.
    Source: as :func:`grid_to_crop`.

    Example:
        >>> import numpy as np
        >>> crop_to_grid(np.array([1.5, 5.5]), stride=4)
        array([0., 1.])
    """
    return (uv_crop + 0.5) / stride - 0.5


def moments(heatmaps: Array, stride: float) -> Moments:
    """Return the mean and the covariance of each heatmap; assumes that no cell is negative.

    The mass of a cell is taken to sit at its centre. A Gaussian drawn by its values there, as
    :func:`gaussian_heatmap` does and as heatmaps are trained, keeps its variance on the grid as it is (from a standard
    deviation of 0.7 cells on, to one part in ten thousand), and so does any mixture of such: neither Sheppard's
    correction -stride^2 / 12, which holds for mass gathered over each cell, nor mass spread over the cell, which would
    add as much, belongs in it. A Gaussian that is cut off by the map's edge has the moments of what is left.

    Args:
        heatmaps: (..., h, w) float array or tensor, mass, frame of the heatmap; any total.
        stride: pixels of the crop per cell.

    Returns:
        See :class:`Moments`; float32 (float64 for float64 maps), also under autocast. A map that has no mass, or a
        total that is not finite, says nothing and is read as one with the same mass in every cell.

    Gradient: flows to the maps, finite everywhere; zero for a map that says nothing.
    Precision: deviations are taken from the mean, so that nothing cancels however narrow a peak.
    Source: W. F. Sheppard, On the calculation of the most probable values of frequency constants, 1898 (what is left
        out); T. Chan, G. Golub and R. LeVeque, Algorithms for Computing the Sample Variance, 1983 (two passes).

    Example:
        >>> import numpy as np
        >>> one_of_two = np.array([[0.5, 0.0, 0.5]])  # the two outer cells of a row, 8 pixels apart
        >>> uv_crop, covariance = moments(one_of_two, stride=4)
        >>> uv_crop.tolist(), covariance.tolist()
        ([5.5, 1.5], [[16.0, 0.0], [0.0, 0.0]])
    """
    xp, mass = namespace(heatmaps), at_least_float32(heatmaps)
    total = mass.sum((-2, -1), keepdims=True)
    known = xp.isfinite(total) & (total > 0)
    share = xp.where(known, mass, 1.0) / xp.where(known, total, float(mass.shape[-2] * mass.shape[-1]))
    across, down = share.sum(-2), share.sum(-1)
    u, du = mean_and_deviations(across)
    v, dv = mean_and_deviations(down)
    uu, vv = (across * du * du).sum(-1), (down * dv * dv).sum(-1)
    uv = ((share * du[..., None, :]).sum(-1) * dv).sum(-1)
    covariance = xp.stack((xp.stack((uu, uv), -1), xp.stack((uv, vv), -1)), -2)
    return Moments(grid_to_crop(xp.stack((u, v), -1), stride), covariance * stride**2)


def mean_and_deviations(share: Array) -> tuple[Array, Array]:
    """Return (...) and (..., cells) of a row of cells (..., cells) whose mass is one."""
    cells = counting(share.shape[-1], share)
    mean = (share * cells).sum(-1)
    return mean, cells - mean[..., None]


def mass_near(heatmaps: Array, uv_crop: Array, stride: float, radius_cells: float) -> Array:
    """Sum each heatmap over the cells near a point, along both axes.

    Args:
        heatmaps: (..., h, w) float array or tensor, probabilities.
        uv_crop: (..., 2) float of the same kind, pixels of the crop.
        stride: pixels of the crop per cell.
        radius_cells: largest distance of a cell that counts, cells.

    Returns:
        (...) in 0..1, in the dtype of ``heatmaps``.

    Gradient: flows to ``heatmaps``.

    Example:
        >>> import numpy as np
        >>> mass_near(np.array([[0.5, 0.2, 0.3]]), np.array([1.5, 1.5]), stride=4, radius_cells=1.0).tolist()
        0.7
    """
    height, width = heatmaps.shape[-2:]
    near_u = _near(uv_crop[..., 0], width, stride, radius_cells)
    near_v = _near(uv_crop[..., 1], height, stride, radius_cells)
    # The window is a product of one along u and one along v.
    mass = ((heatmaps * near_u[..., None, :]).sum(-1) * near_v).sum(-1)
    return mass.clip(0.0, 1.0)


def _near(crop_px: Array, cells: int, stride: float, radius: float) -> Array:
    """Mark the cells within the radius: (...) crop pixels -> (..., cells) of 0 and 1."""
    return cast(abs(counting(cells, crop_px) - crop_to_grid(crop_px, stride)[..., None]) <= radius, crop_px.dtype)
