"""Confidence and covariance of points from their heatmaps, for NumPy arrays and torch tensors alike.

Axes: B batch, N keypoints, h w heatmap.
"""

from cogkp.geometry.arrays import Array
from cogkp.geometry.covariance import move_covariance, remove_blur, with_noise
from cogkp.geometry.heatmap_moments import mass_near, moments
from cogkp.geometry.plane_map import map_jacobian

CONFIDENCE_RADIUS_CELLS = 2.0


def confidence(uv_crop: Array, heatmaps: Array, side: int) -> Array:
    """Return each heatmap's mass within two cells of its mean along both axes.

    Args:
        uv_crop: (B, N, 2) float, pixels of the crop.
        heatmaps: (B, N, h, w) float, probabilities.
        side: of the crop, pixels.

    Returns:
        (B, N) in 0..1: near 1 for one sharp peak, low for a wide one or for several.
    """
    return mass_near(heatmaps, uv_crop, side / heatmaps.shape[-1], CONFIDENCE_RADIUS_CELLS)


def heatmap_spread(heatmaps: Array, side: int, kernel_sigma_px: float) -> Array:
    """Return the covariance of each heatmap: how sure the network is of the point.

    A heatmap that is trained towards a Gaussian round each label fits best, over all images that look alike, as the
    distribution of the label convolved with that Gaussian. Variances of independent parts add, so the Gaussian's is
    taken out again. Where the shape of heatmaps is not trained nothing is taken out, and the spread is only what the
    network chose.
    Near the crop's edge, within about twice the Gaussian's width, a heatmap is cut off, and both its mean and its
    spread are too small to be trusted.

    Args:
        heatmaps: (B, N, h, w) float, probabilities.
        side: of the crop, pixels.
        kernel_sigma_px: standard deviation of the Gaussian that heatmaps are trained towards, crop pixels; zero where
            their shape is not trained.

    Returns:
        (B, N, 2, 2) float32 (float64 for float64 heatmaps), crop pixels squared, positive semidefinite; zero for a
        heatmap as sharp as the Gaussian.

    Gradient: flows to ``heatmaps``.
    """
    return remove_blur(moments(heatmaps, side / heatmaps.shape[-1]).covariance, kernel_sigma_px)


def source_covariance(spread_crop: Array, noise_px: float, crop_to_source: Array, uv_crop: Array) -> Array:
    """Return the covariance of each point: that of its heatmap, and the noise that no heatmap can know.

    A network that has learned its images by heart draws heatmaps as sharp as the Gaussian on images it never saw, so
    noise, measured on a held-out recording, is added to their spread.

    Args:
        spread_crop: (B, N, 2, 2) float, from :func:`heatmap_spread`.
        noise_px: standard deviation of what a heatmap cannot know, crop pixels.
        crop_to_source: (B, 3, 3) float64.
        uv_crop: (B, N, 2) float, pixels of the crop.

    Returns:
        (B, N, 2, 2) in the dtype of the spread, pixels of the full image squared, positive definite.

    Gradient: flows to the spread, and under a perspective map to ``uv_crop``.
    """
    return move_covariance(with_noise(spread_crop, noise_px), map_jacobian(crop_to_source, uv_crop))
