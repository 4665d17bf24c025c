"""Lens distortion and its inverse, in OpenCV's model.

Points lie in the normalised image plane (x / z, y / z of the camera's frame, no unit). Coefficients come in OpenCV's
order, k1 k2 p1 p2 k3 k4 k5 k6 s1 s2 s3 s4 taux tauy, of which the first 0, 4, 5, 8, 12 or 14 are given.

The model is a polynomial and folds back on itself far from the axis, where two rays would share a pixel. Only the part
of the plane before the first fold is used: a point has a place there or is marked as not valid.

Axes: N points, D coefficients, M points that need a closer look.
Source: OpenCV manual, module calib3d, section "Detailed Description" (the camera model).
"""

from typing import NamedTuple

import torch
from torch import Tensor

from cogkp.errors import GeometryError
from cogkp.geometry.lens import (
    CHUNK,
    Lens,
    all_finite,
    bend,
    columns,
    find_source,
    is_unfolded,
    lens_of,
    move,
    only,
    through,
)

LENGTHS = (0, 4, 5, 8, 12, 14)


class Undistorted(NamedTuple):
    """Points as a pinhole would have seen them.

    Args:
        xy: (..., N, 2) float, normalised image plane; zero where not valid.
        valid: (..., N) bool, the lens can be undone there and the search has converged.
    """

    xy: Tensor
    valid: Tensor


def check_distortion(distortion: Tensor) -> None:
    """Refuse what cannot be a list of distortion coefficients.

    Args:
        distortion: (..., D) float, OpenCV order.

    Raises:
        GeometryError: D is not one of 0, 4, 5, 8, 12, 14, the values are integers, or one is not finite.

    Example:
        >>> check_distortion(torch.zeros(5))
    """
    if distortion.dim() < 1 or distortion.shape[-1] not in LENGTHS or not distortion.is_floating_point():
        raise GeometryError(
            "distortion has the wrong number of coefficients",
            expected=f"(..., D) floating, D one of {', '.join(map(str, LENGTHS))}",
            got=f"{tuple(distortion.shape)}, {distortion.dtype}",
        )
    if not torch.isfinite(distortion).all():
        raise GeometryError("distortion holds a number that is not finite", got=str(distortion.detach().tolist()))


def _prepare(xy: Tensor, distortion: Tensor) -> tuple[Tensor, Tensor]:
    if xy.dim() < 2 or xy.shape[-1] != 2 or not xy.is_floating_point():  # noqa: PLR2004
        raise GeometryError(
            "points of the image plane have the wrong shape",
            expected="(..., N, 2) floating",
            got=f"{tuple(xy.shape)}, {xy.dtype}",
        )
    check_distortion(distortion)
    work = torch.promote_types(torch.promote_types(xy.dtype, distortion.dtype), torch.float32)
    return xy.to(work), distortion.to(xy.device, work)


def distort(xy: Tensor, distortion: Tensor) -> Tensor:
    """Move points as a lens does.

    Args:
        xy: (..., N, 2) float, normalised image plane of the pinhole; leading axes broadcast with the lens's.
        distortion: (..., D) float, OpenCV order, D one of 0, 4, 5, 8, 12, 14.

    Returns:
        (..., N, 2), normalised image plane behind the lens, in the dtype of ``xy`` (float32 for lower ones). Points
        where :func:`invertible` is False share their place with others.

    Raises:
        GeometryError: shapes or values other than above.

    Gradient: flows to points and coefficients.
    Source: OpenCV manual, module calib3d, "Detailed Description".

    Example:
        >>> distort(torch.tensor([[0.5, 0.0]]), torch.tensor([-0.2, 0.0, 0.0, 0.0]))
        tensor([[0.4750, 0.0000]])
    """
    points, coefficients = _prepare(xy, distortion)
    dtype = torch.promote_types(xy.dtype, torch.float32)
    x, y = _together(points[..., 0], points[..., 1], coefficients)
    if coefficients.shape[-1]:
        lens = lens_of(coefficients)
        x, y = move(x, y, lens)
        if lens.tilt is not None:
            x, y, *_ = through(lens.tilt, x, y)
    return columns(x, y).to(dtype)


def distort_jacobian(xy: Tensor, distortion: Tensor) -> Tensor:
    """Return the Jacobian of :func:`distort`.

    Args:
        xy: (..., N, 2) float, normalised image plane of the pinhole; leading axes broadcast with the lens's.
        distortion: (..., D) float, OpenCV order, D one of 0, 4, 5, 8, 12, 14.

    Returns:
        (..., N, 2, 2), row i and column j: how coordinate i behind the lens changes with coordinate j before it, in the
        dtype of ``xy`` (float32 for lower ones). A covariance before the lens becomes ``J @ covariance @ J.mT``. Its
        inverse is the derivative of :func:`undistort` where :func:`invertible` is True, and means nothing elsewhere.

    Raises:
        GeometryError: shapes or values other than above.

    Gradient: flows to points and coefficients.
    Precision: float32 or better.
    Source: OpenCV manual, module calib3d, "Detailed Description", differentiated; the tilt by the quotient rule.

    Example:
        >>> distort_jacobian(torch.tensor([[0.5, 0.5]]), torch.tensor([-0.2, 0.0, 0.0, 0.0]))
        tensor([[[ 0.8000, -0.1000],
                 [-0.1000,  0.8000]]])
    """
    points, coefficients = _prepare(xy, distortion)
    x, y = _together(points[..., 0], points[..., 1], coefficients)
    if coefficients.shape[-1] == 0:
        jacobian = torch.eye(2, dtype=x.dtype, device=x.device).expand(*x.shape, 2, 2).clone()
    else:
        lens = lens_of(coefficients)
        bent = bend(x, y, lens)
        entries = (entry.expand_as(x) for entry in bent[2:])
        jacobian = columns(*entries).reshape(*x.shape, 2, 2)
        if lens.tilt is not None:
            jacobian = (_tilt_jacobian(bent.x, bent.y, lens.tilt).unsqueeze(-1) * jacobian.unsqueeze(-3)).sum(-2)
    return jacobian.to(torch.promote_types(xy.dtype, torch.float32))


def _tilt_jacobian(x: Tensor, y: Tensor, tilt: Tensor) -> Tensor:
    u, v, divisor, ahead = through(tilt, x, y)
    rows = tilt[..., None, :, :2] / divisor[..., None, None]
    # Behind the tilted plane's horizon the divisor is held at 1 and does not change.
    below = torch.where(ahead.unsqueeze(-1), rows[..., 2, :], 0.0)
    return rows[..., :2, :] - torch.stack((u, v), -1).unsqueeze(-1) * below.unsqueeze(-2)


def invertible(xy: Tensor, distortion: Tensor) -> Tensor:
    """Tell which points a lens moves to a place of their own.

    Args:
        xy: (..., N, 2) float, normalised image plane of the pinhole; leading axes broadcast with the lens's.
        distortion: (..., D) float, OpenCV order.

    Returns:
        (..., N) bool. False where the straight way from the axis crosses a fold, a pole or the tilted plane's horizon,
        beyond 89 degrees off the axis, and where the point is not finite.

    Raises:
        GeometryError: shapes or values other than above.

    Gradient: none.
    Source: R. Hartley and A. Zisserman, 2nd ed., section 7.4 (radial distortion), and the inverse function theorem.

    Example:
        >>> invertible(torch.tensor([[0.5, 0.0], [2.0, 0.0]]), torch.tensor([-0.3, 0.0, 0.0, 0.0]))
        tensor([ True, False])
    """
    points, coefficients = _prepare(xy.detach(), distortion.detach())
    x, y = _together(points[..., 0], points[..., 1], coefficients)
    finite = torch.isfinite(x) & torch.isfinite(y)
    return finite & is_unfolded(x, y, coefficients) if coefficients.any() else finite


def _together(x: Tensor, y: Tensor, distortion: Tensor) -> tuple[Tensor, Tensor]:
    """Give x and y the leading axes of points and lens; neighbours in memory are several times faster."""
    if distortion.dim() > 1:
        nothing = distortion.new_zeros((*distortion.shape[:-1], 1))
        x, y = x + nothing, y + nothing
    return x.contiguous(), y.contiguous()


def undistort(xy: Tensor, distortion: Tensor, iterations: int = 30) -> Undistorted:
    """Move points back to where a pinhole would have seen them; undoes :func:`distort`.

    Args:
        xy: (..., N, 2) float, normalised image plane behind the lens; leading axes broadcast with the lens's.
        distortion: (..., D) float, OpenCV order.
        iterations: most steps for a point that does not yield at once.

    Returns:
        Points and validity; see :class:`Undistorted`. A valid point lies before the first fold of the lens.

    Raises:
        GeometryError: shapes or values other than above.

    Gradient: flows to points and coefficients, by the implicit function theorem; zero for rows that are not valid,
        finite everywhere. First order only.
    Precision: float64 for float64 input, float32 or better otherwise.
    Source: Newton's method on OpenCV's model, from a table of the radial part's inverse. For many points on the CPU and
        coefficients without gradient, the whole inverse is tabulated once for a lens and remembered for the next calls.

    Example:
        >>> undistort(torch.tensor([[0.475, 0.0], [3.0, 0.0]]), torch.tensor([-0.2, 0.0, 0.0, 0.0]))
        Undistorted(xy=tensor([[0.5000, 0.0000],
                [0.0000, 0.0000]]), valid=tensor([ True, False]))
    """
    points, coefficients = _prepare(xy, distortion)
    x, y, valid = undo(points[..., 0], points[..., 1], coefficients, iterations)
    return Undistorted(columns(x, y).to(torch.promote_types(xy.dtype, torch.float32)), valid)


def undo(x: Tensor, y: Tensor, distortion: Tensor, iterations: int = 30) -> tuple[Tensor, Tensor, Tensor]:
    """Do what :func:`undistort` does, for x and y (..., N) apart and all in one precision."""
    x, y = _together(x, y, distortion)
    valid = torch.ones_like(x, dtype=torch.bool)
    if not all_finite(x, y):
        valid = torch.isfinite(x) & torch.isfinite(y)
        x, y = torch.where(valid, x, 0.0), torch.where(valid, y, 0.0)
    if distortion.shape[-1] == 0:
        return x, y, valid
    lens = lens_of(distortion)
    if lens.tilt is not None:
        upright = torch.linalg.inv(lens.tilt)
        parts = [
            through(upright, *part) for part in zip(torch.split(x, CHUNK, -1), torch.split(y, CHUNK, -1), strict=True)
        ]
        x, y, _, ahead = (torch.cat(values, -1) for values in zip(*parts, strict=True))
        valid = valid & ahead
    with torch.no_grad():
        found_x, found_y, valid = _find(x, y, valid, distortion, iterations)
    if torch.is_grad_enabled() and (x.requires_grad or y.requires_grad or distortion.requires_grad):
        return *_attach_gradient(found_x, found_y, only(valid, x, y), lens), valid
    return found_x, found_y, valid


def _find(x: Tensor, y: Tensor, valid: Tensor, distortion: Tensor, iterations: int) -> tuple[Tensor, Tensor, Tensor]:
    if distortion.any():
        x, y, found = find_source(x, y, distortion.detach(), iterations, fixed=not distortion.requires_grad)
        valid = valid & found
    return *only(valid, x, y), valid


def _attach_gradient(x: Tensor, y: Tensor, goal: tuple[Tensor, Tensor], lens: Lens) -> tuple[Tensor, Tensor]:
    """Take one more Newton step, whose Jacobian is held fixed: its derivative is that of the implicit function."""
    bent = bend(x, y, lens)
    x_x, x_y, y_x, y_y, over = (value.detach() for value in (*bent[2:], 1 / bent.determinant))
    ex, ey = bent.x - goal[0], bent.y - goal[1]
    return x - (y_y * ex - x_y * ey) * over, y - (x_x * ey - y_x * ex) * over
