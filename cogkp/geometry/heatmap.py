"""Heatmaps and coordinates: softmax, soft-argmax, Gaussian targets, and moments in pixels of the network input.

Axes: B batch, N keypoints, h rows and w columns of the grid. A grid of stride s has one cell for s x s pixels;
the centre of cell i lies at pixel (i + 0.5) s - 0.5, where the centre of the top-left pixel is (0, 0).
"""

import torch
from torch import Tensor

from cogkp.geometry.heatmap_moments import crop_to_grid, grid_to_crop, mean_and_deviations

# What a box found from a corner off by the radius must share with the true box.
MIN_OVERLAP = 0.7

REACH = 0.05  # cells inside the outermost centre, where a mean can still lie
NEWTON_STEPS = 6
LEAST_VARIANCE = 0.01  # square cells; smaller only where a bell is narrower than a cell
TINY = 1e-9  # cells


def gaussian_radius(size_wh: Tensor, min_overlap: float = MIN_OVERLAP) -> Tensor:
    """Return the radius within which a wrong centre still gives a box of the required IoU.

    The bound is the one that published networks were trained with: the least of three roots, none of which is divided
    by its leading coefficient.

    Args:
        size_wh: (..., 2) float, width and height of the box, cells; their order does not matter.
        min_overlap: share of the boxes' union that both must hold.

    Returns:
        (...) in the dtype of ``size_wh``, cells.

    Gradient: flows to ``size_wh``, finite for sizes above zero.
    Source: H. Law and J. Deng, CornerNet, ECCV 2018, section 3.2.

    Example:
        >>> gaussian_radius(torch.tensor([[10.0, 10.0], [40.0, 20.0]]))
        tensor([2.7332, 7.3559])
    """
    total, area = size_wh.sum(-1), size_wh.prod(-1)
    shifted = total + (total.square() - 4 * area * (1 - min_overlap) / (1 + min_overlap)).clamp_min(0).sqrt()
    inside = 2 * total + (4 * total.square() - 16 * area * (1 - min_overlap)).clamp_min(0).sqrt()
    b, c = -2 * min_overlap * total, (min_overlap - 1) * area
    around = b + (b.square() - 16 * min_overlap * c).clamp_min(0).sqrt()
    return 0.5 * torch.minimum(torch.minimum(shifted, inside), around)


def _at_least_float32(values: Tensor) -> Tensor:
    # Not that of cogkp.geometry.arrays: this one is part of graphs that are traced and compiled.
    return values.to(torch.promote_types(values.dtype, torch.float32))


def spatial_softmax(heatmap_logits: Tensor) -> Tensor:
    """Turn logits into one probability distribution over the cells of each heatmap.

    Args:
        heatmap_logits: (..., h, w) float, no unit, frame of the heatmap; must be finite.

    Returns:
        (..., h, w) probabilities, float32 (float64 for float64 logits), also under autocast; each map sums to one.

    Gradient: finite everywhere; it vanishes where one cell holds all the mass.
    Source: C. Bishop, Pattern Recognition and Machine Learning, section 4.3.4, equation 4.104.

    Example:
        >>> spatial_softmax(torch.zeros(1, 2, 2))
        tensor([[[0.2500, 0.2500],
                 [0.2500, 0.2500]]])
    """
    logits = _at_least_float32(heatmap_logits)
    return logits.reshape(*logits.shape[:-2], -1).softmax(-1).reshape(logits.shape)


def gaussian_heatmap(uv_crop: Tensor, shape_hw: tuple[int, int], stride: float, sigma_px: float) -> Tensor:
    """Render one Gaussian per point, with its centre at sub-cell precision.

    Args:
        uv_crop: (..., 2) float, pixels of the crop.
        shape_hw: rows and columns of the heatmap.
        stride: pixels of the crop per cell.
        sigma_px: standard deviation, pixels of the crop.

    Returns:
        (..., h, w) in the dtype of ``uv_crop``; each map sums to one, also for points outside the crop, whose mass
        then lies along the nearest edge.

    Gradient: finite everywhere.
    Source: D. Nibali et al., Numerical Coordinate Regression with Convolutional Neural Networks, 2018, section 3.3.

    Example:
        >>> bump = gaussian_heatmap(torch.tensor([9.5, 5.5]), (4, 6), stride=4, sigma_px=2.0)
        >>> bump.shape, bump.argmax()  # row 1, column 2
        (torch.Size([4, 6]), tensor(8))
    """
    uv_grid = crop_to_grid(uv_crop, stride)
    rows, columns = (_bump(uv_grid[..., axis], shape_hw[1 - axis], sigma_px / stride) for axis in (1, 0))
    return rows.unsqueeze(-1) * columns.unsqueeze(-2)


def centred_heatmap(uv_crop: Tensor, shape_hw: tuple[int, int], stride: float, sigma_px: float) -> Tensor:
    """Render one bump per point whose mean is the point, also where the map's edge cuts a part of it off.

    What an edge leaves of a Gaussian has its mean further inside: by 0.8 standard deviations for a point on the edge.
    Among all distributions over the cells, the one drawn here is closest to that Gaussian and has the right mean:
    the same bell, moved outwards.

    Args:
        uv_crop: (..., 2) float, pixels of the crop.
        shape_hw: rows and columns of the heatmap, at least two each.
        stride: pixels of the crop per cell.
        sigma_px: standard deviation of the whole bell, pixels of the crop; at least 0.7 cells.

    Returns:
        (..., h, w) in the dtype of ``uv_crop``; each map sums to one. A mean is never outside the hull of the cell
        centres, so points beyond 0.05 cells within it are taken to lie there.

    Gradient: none is needed; the maps are targets.
    Precision: the mean is right to 1e-3 cells in float32.
    Source: T. Cover and J. Thomas, Elements of Information Theory, 2nd ed., section 11.5 (the nearest distribution
        with a given mean is an exponential tilt, and a tilted Gaussian is a moved one).

    Example:
        >>> at_the_edge = torch.tensor([[3.5, 31.5]])  # half a cell inside
        >>> expectation(gaussian_heatmap(at_the_edge, (16, 16), 4, 6.0), 4)
        tensor([[ 6.0767, 31.5000]])
        >>> expectation(centred_heatmap(at_the_edge, (16, 16), 4, 6.0), 4)
        tensor([[ 3.5000, 31.5000]])
    """
    with torch.no_grad():
        uv_grid, sigma = crop_to_grid(uv_crop, stride), sigma_px / stride
        rows, columns = (
            _bump(_moved(uv_grid[..., axis], shape_hw[1 - axis], sigma), shape_hw[1 - axis], sigma) for axis in (1, 0)
        )
        return rows.unsqueeze(-1) * columns.unsqueeze(-2)


def _moved(mean: Tensor, cells: int, sigma: float) -> Tensor:
    """Find the centre of the bell that has this mean over a row of cells.

    The mean grows with the centre by the variance over sigma squared. Beyond an edge its distance to that edge falls
    exponentially, so Newton's method runs on the logarithm of the distance to the nearer one.
    """
    middle = (cells - 1) / 2
    wanted = (middle - (mean - middle).abs()).clamp(min=REACH)
    centre = wanted
    for _ in range(NEWTON_STEPS):
        found, deviations = mean_and_deviations(bump := _bump(centre, cells, sigma))
        variance = (bump * deviations * deviations).sum(-1)
        pull = (wanted / found.clamp(min=TINY)).log() * found
        centre = centre + pull * sigma**2 / variance.clamp(min=LEAST_VARIANCE)
    return torch.where(mean > middle, 2 * middle - centre, centre)


def _bump(centre: Tensor, cells: int, sigma: float) -> Tensor:
    """Draw a normalised Gaussian over a row of cells: (...) -> (..., cells)."""
    grid = torch.arange(cells, dtype=centre.dtype, device=centre.device)
    # The softmax of the exponent is the normalised bell, and finite however far away the centre lies.
    return (-0.5 * ((grid - centre.unsqueeze(-1)) / sigma) ** 2).softmax(-1)


def expectation(heatmaps: Tensor, stride: float) -> Tensor:
    """Return the mean position of each heatmap; assumes that each map sums to one.

    Only sums and element-wise products are used: autocast would run a matrix product in half precision.

    Args:
        heatmaps: (..., h, w) float, probabilities, frame of the heatmap.
        stride: pixels of the crop per cell.

    Returns:
        (..., 2) float32 (float64 for float64 maps), pixels of the crop, never outside the hull of the cell centres.

    Gradient: of each cell's probability, the position of that cell.
    Source: D. Nibali et al., Numerical Coordinate Regression with Convolutional Neural Networks, 2018, equation 6.

    Example:
        >>> one_cell = torch.zeros(1, 2, 3)
        >>> one_cell[0, 1, 2] = 1.0
        >>> expectation(one_cell, stride=4)
        tensor([[9.5000, 5.5000]])
    """
    mass = _at_least_float32(heatmaps)
    columns = torch.arange(mass.shape[-1], dtype=mass.dtype, device=mass.device)
    rows = torch.arange(mass.shape[-2], dtype=mass.dtype, device=mass.device)
    u = (mass.sum(-2) * columns).sum(-1)
    v = (mass.sum(-1) * rows).sum(-1)
    uv_crop: Tensor = grid_to_crop(torch.stack((u, v), -1), stride)
    return uv_crop


def soft_argmax(heatmap_logits: Tensor, stride: float) -> Tensor:
    """Locate the peak of each heatmap at sub-cell precision, differentiably.

    Args:
        heatmap_logits: (..., h, w) float, no unit, frame of the heatmap; must be finite.
        stride: pixels of the crop per cell.

    Returns:
        (..., 2) float32 (float64 for float64 logits), pixels of the crop.

    Gradient: finite everywhere; cell i receives its probability times its distance from the mean.
    Source: as :func:`expectation`.

    Example:
        >>> soft_argmax(torch.zeros(1, 4, 4), stride=4)  # nothing known: the middle of the crop
        tensor([[7.5000, 7.5000]])
    """
    return expectation(spatial_softmax(heatmap_logits), stride)
