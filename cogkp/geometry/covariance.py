"""Covariances: propagate them through a map, remove a blur, add noise; for NumPy arrays and torch tensors alike.

Source: R. Hartley and A. Zisserman, Multiple View Geometry, 2nd ed., section 5.2 and appendix A2.
"""

from cogkp.errors import GeometryError
from cogkp.geometry.arrays import Array, at_least_float32, cast, counting, is_floating, namespace


def check_square(covariance: Array, size: int | None = None) -> None:
    """Refuse what has not the shape (..., D, D), or holds no floating-point numbers.

    Raises:
        GeometryError: it has another shape or type.
    """
    wanted = "D" if size is None else str(size)
    square = covariance.ndim > 1 and covariance.shape[-1] == covariance.shape[-2]
    if not square or size not in {None, covariance.shape[-1]} or not is_floating(covariance):
        raise GeometryError(
            "a covariance has the wrong shape",
            expected=f"(..., {wanted}, {wanted}) floating",
            got=f"{tuple(covariance.shape)}, {covariance.dtype}",
        )


def move_covariance(covariance: Array, jacobian: Array) -> Array:
    """Propagate covariances through a map to first order: J C J^T.

    Args:
        covariance: (..., D, D) float array or tensor, symmetric.
        jacobian: (..., E, D) float, how the map's E results change with its D arguments.

    Returns:
        (..., E, E), symmetric, in the wider of both dtypes, float32 at least.

    Raises:
        GeometryError: the shapes do not fit.

    Gradient: flows to both.
    Precision: sums of products, also under autocast.
    Source: Hartley and Zisserman, result 5.6.

    Example:
        >>> import numpy as np
        >>> move_covariance(np.eye(2), np.array([[2.0, 0.0], [0.0, 3.0]])).tolist()
        [[4.0, 0.0], [0.0, 9.0]]
    """
    check_square(covariance)
    if jacobian.ndim < 2 or jacobian.shape[-1] != covariance.shape[-1]:  # noqa: PLR2004
        raise GeometryError(
            "a Jacobian does not fit its covariance",
            expected=f"(..., E, {covariance.shape[-1]})",
            got=str(tuple(jacobian.shape)),
        )
    C, J = at_least_float32(covariance, jacobian), at_least_float32(jacobian, covariance)
    # Sums of products: autocast would run a matrix product in half precision.
    half = (J[..., None] * C[..., None, :, :]).sum(-2)
    moved = (half[..., None, :] * J[..., None, :, :]).sum(-1)
    return 0.5 * (moved + moved.swapaxes(-1, -2))


def remove_blur(covariance: Array, sigma: float) -> Array:
    """Subtract an isotropic Gaussian blur from covariances; what would fall below zero is held there.

    Args:
        covariance: (..., 2, 2) float array or tensor, symmetric, unit squared.
        sigma: standard deviation of the blur, the same unit; zero takes nothing out.

    Returns:
        (..., 2, 2) in the dtype of ``covariance``, float32 at least: the positive semidefinite part of
        ``covariance - sigma^2 I``. Axes are those of ``covariance``; zero where all was blur, see :func:`with_noise`.

    Raises:
        GeometryError: the covariances are not 2x2.

    Gradient: flows through the eigenvalues that are not held; finite everywhere.
    Source: variances of independent summands add; G. Golub and C. Van Loan, Matrix Computations, 4th ed.,
        section 8.5.2 (eigenvalues of a symmetric 2x2 matrix).

    Example:
        >>> import numpy as np
        >>> remove_blur(np.diag([5.0, 3.0]), sigma=2.0).tolist()
        [[1.0, 0.0], [0.0, 0.0]]
    """
    check_square(covariance, 2)
    xp, C = namespace(covariance), at_least_float32(covariance)
    c00, c01, c11 = C[..., 0, 0], 0.5 * (C[..., 0, 1] + C[..., 1, 0]), C[..., 1, 1]
    middle, half = 0.5 * (c00 + c11) - sigma**2, 0.5 * (c00 - c11)
    square = half * half + c01 * c01
    # The root of zero has no slope; a round covariance has no axes to keep either.
    leaning = square > float(xp.finfo(C.dtype).tiny)
    radius = xp.sqrt(xp.where(leaning, square, 1.0))
    reach = xp.where(leaning, radius, 0.0)
    large, small = (middle + reach).clip(0.0), (middle - reach).clip(0.0)
    centre, stretch = 0.5 * (large + small), 0.5 * (large - small) / radius
    off = stretch * c01
    rows = ((centre + stretch * half, off), (off, centre - stretch * half))
    return xp.stack([xp.stack(row, -1) for row in rows], -2)


def with_noise(covariance: Array, noise: float) -> Array:
    """Add isotropic noise to covariances.

    Args:
        covariance: (..., D, D) float array or tensor, symmetric, positive semidefinite, unit squared.
        noise: standard deviation along any direction, the same unit.

    Returns:
        (..., D, D) in the dtype of ``covariance``, float32 at least: ``covariance + noise^2 I``, positive definite
        where there is noise.

    Raises:
        GeometryError: the covariances are not square.

    Gradient: flows through unchanged.
    Source: variances of independent summands add.

    Example:
        >>> import numpy as np
        >>> with_noise(np.diag([1.0, 0.0]), noise=0.5).tolist()
        [[1.25, 0.0], [0.0, 0.25]]
    """
    check_square(covariance)
    C = at_least_float32(covariance)
    axes = counting(C.shape[-1], C)
    return C + noise**2 * cast(axes[:, None] == axes, C.dtype)
