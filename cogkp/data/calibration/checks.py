"""Checks that every camera must pass, whichever program wrote its calibration.

Knows nothing of: any file format.
"""

import base64
import math
import re
from collections.abc import Callable, Iterable, Mapping
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from cogkp.config.issues import short_repr
from cogkp.errors import DataError
from cogkp.geometry.camera import PinholeCamera
from cogkp.geometry.distortion import LENGTHS
from cogkp.geometry.rig import CameraRig

FloatArray = npt.NDArray[np.float64]
Cameras = dict[str, PinholeCamera | DataError]
"""The cameras of a file in its order; in the place of one that cannot be used, the reason."""

ROTATION_TOLERANCE = 1e-4
SAME_PLACE = 1e-9
OUTSIDE = 0.25
"""How far outside the frame a principal point may lie, in widths or heights of the frame."""
LEAST_UNDONE = 0.5
"""A lens that cannot be undone over this share of its own frame was never fitted to it."""
GRID = (33, 25)
LARGEST = 1e12
"""No length and no pixel is larger in any unit; beyond it, sums of squares leave the numbers."""
SHORTEST_FOCAL_PX = 1e-3
MOST_CAMERAS = 250
MOST_PIXELS = 65_535
"""Longest side of a frame: what JPEG can hold."""

PACKED = {b"1u": "u1", b"1c": "i1", b"1w": "<u2", b"1s": "<i2", b"1i": "<i4", b"1f": "<f4", b"1d": "<f8"}
"""Types of numbers in OpenCV's base64."""
STANDARD_LENSES = ("plumb_bob", "rational_polynomial", "radtan", "radial_tangential")
"""Names that programs give to OpenCV's standard model."""

CALIBRATE = "Calibrate again, or correct the file."


def numbers(value: Any, where: str, *shapes: tuple[int, ...]) -> FloatArray:
    """Take a table of finite numbers.

    Args:
        value: nested or flat lists, an array, or an object of ``data`` with or without ``rows`` and ``cols``; words
            that are numbers count as numbers. A flat list is taken row by row.
        where: the place to name in an error.
        shapes: those allowed; none given allows all.

    Returns:
        float64 of one of the shapes.

    Raises:
        DataError: it is no table of numbers, of another shape, not finite, or beyond all measure.
    """
    if isinstance(value, Mapping):
        value = _matrix(value, where)
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise DataError("not a table of numbers", where=where, got=str(error), hint=CALIBRATE) from error
    fitting = [shape for shape in shapes if math.prod(shape) == array.size]
    if array.shape not in shapes and fitting and array.ndim > 0 and array.size == max(array.shape):
        array = array.reshape(fitting[0])
    if shapes and array.shape not in shapes:
        wanted = " or ".join("x".join(map(str, shape)) for shape in shapes)
        got = "x".join(map(str, array.shape)) or "a single value"
        raise DataError("a matrix has the wrong shape", where=where, expected=wanted, got=got, hint=CALIBRATE)
    if not np.isfinite(array).all():
        raise DataError(
            "a number is not finite", where=where, expected="finite numbers", got="NaN or infinity", hint=CALIBRATE
        )
    if array.size and np.abs(array).max() > LARGEST:
        raise DataError(
            "a number is out of range",
            where=where,
            expected=f"numbers from -{LARGEST:g} to {LARGEST:g}",
            got=f"{np.abs(array).max():g}",
            hint=CALIBRATE,
        )
    return array


def _matrix(value: Mapping[str, Any], where: str) -> Any:
    """Take the numbers of a matrix that is an object, as OpenCV and ROS write it."""
    data = value.get("data", value)
    rows, columns = (value.get(key) for key in ("rows", "cols"))
    if data is value or (rows is None) != (columns is None):
        raise _not_whole(where, ", ".join(map(str, value)))
    data = [] if data is None else _unpacked(data) if isinstance(data, str) else data
    if rows is None:
        return data
    array, shape = numbers(data, where), numbers([rows, columns], where)
    if (shape != shape.round()).any() or shape.min() < 0 or shape.prod() != array.size:
        raise _not_whole(where, f"{array.size} for {shape[0]:g}x{shape[1]:g}")
    return array.reshape(int(shape[0]), int(shape[1]))


def _unpacked(text: str) -> Any:
    """Take the numbers of a matrix that OpenCV wrote in base64: 24 bytes that name their type, then themselves."""
    try:
        raw = base64.b64decode("".join(text.removeprefix("$base64$").split()), validate=True)
        return np.frombuffer(raw[24:], PACKED[raw[:24].strip()])
    except (ValueError, KeyError):
        return text


def _not_whole(where: str, got: str) -> DataError:
    return DataError(
        "a matrix is incomplete", where=where, expected="all its numbers", got=got, hint="Is the file cut off?"
    )


def coefficients(value: Any, where: str) -> FloatArray:
    """Take the coefficients of a lens as (D,) float64; null, nothing and an empty list are no lens distortion."""
    return numbers([] if value is None else value, where).ravel()


def resolution(value: Any, where: str) -> tuple[int, int]:
    """Take a width and a height in whole pixels, however they are written.

    Raises:
        DataError: it is anything else.

    Example:
        >>> resolution(["640.0", 480.0], "LL"), resolution({"width": 9, "height": 7}, "LR")
        ((640, 480), (9, 7))
    """
    if isinstance(value, Mapping) and {"width", "height"} <= value.keys():
        value = [value["width"], value["height"]]
    try:
        sides = numbers(value, where).ravel()
    except DataError:
        sides = np.zeros(0)
    if not (sides.size == 2 and (sides == sides.round()).all() and sides.min() > 0 and sides.max() <= MOST_PIXELS):  # noqa: PLR2004
        raise DataError(
            "not a size of images",
            where=where,
            expected=f"[width, height] in whole pixels, at most {MOST_PIXELS}",
            got=short_repr(value),
            hint="Take the size of the images that were calibrated.",
        )
    return int(sides[0]), int(sides[1])


def rigid(pose: FloatArray, where: str) -> FloatArray:
    """Take a pose (3, 4) or (4, 4) as (4, 4), and refuse what is no rigid motion."""
    rotation = pose[:3, :3]
    off = float(np.abs(rotation @ rotation.T - np.eye(3)).max())
    if off > ROTATION_TOLERANCE:
        raise DataError(
            "not a rotation",
            where=where,
            expected="R R^T = 1",
            got=f"off by {off:.2g}",
            hint="Give R with all its digits.",
        )
    if np.linalg.det(rotation) < 0:
        raise DataError(
            "the rotation is left-handed",
            where=where,
            expected="determinant 1",
            got="determinant -1",
            hint="It mirrors: use OpenCV's camera axes (x right, y down, z forward) throughout.",
        )
    last = [0.0, 0.0, 0.0, 1.0]
    if len(pose) == len(last) and not np.allclose(pose[3], last, rtol=0.0, atol=ROTATION_TOLERANCE):
        raise DataError(
            "not a rigid motion", where=where, expected=f"last row {last}", got=str(pose[3].tolist()), hint=CALIBRATE
        )
    return np.vstack([pose[:3], last])


def camera_of(
    where: str, *, K: FloatArray, pose: FloatArray, distortion: FloatArray, size_wh: tuple[int, int]
) -> PinholeCamera:
    """Make one float64 camera, or say what no camera could be; ``pose`` (4, 4) is world_to_camera, rigid.

    Raises:
        DataError: the intrinsics, the lens or the frame are impossible, or do not belong together.
    """
    _check_intrinsic(K, f"{where}, intrinsic")
    _check_principal(K, size_wh, where)
    if distortion.size not in LENGTHS:
        wanted = ", ".join(map(str, LENGTHS))
        raise DataError(
            "wrong number of coefficients",
            where=f"{where}, distortion",
            expected=f"one of {wanted}, in OpenCV's order",
            got=str(distortion.size),
            hint="Other lens models cannot be read.",
        )
    camera = PinholeCamera(
        torch.tensor(K), torch.tensor(pose), size_wh, torch.tensor(distortion.ravel(), dtype=torch.float64)
    )
    share = undone_share(camera)
    if share < LEAST_UNDONE:
        raise DataError(
            "the lens distortion cannot be undone",
            where=f"{where}, distortion",
            expected="coefficients that can be undone over the frame",
            got=f"{share:.0%} of the frame",
            hint="Check order (k1 k2 p1 p2 k3 ...), focal length and resolution.",
        )
    return camera


def undone_share(camera: PinholeCamera) -> float:
    """Measure the share of a frame, 0..1, in which its lens can be undone, on an even grid."""
    if camera.distortion.shape[-1] == 0:
        return 1.0
    axes = [
        torch.linspace(-0.5, side - 0.5, count, dtype=torch.float64)
        for side, count in zip(camera.size_wh, GRID, strict=True)
    ]
    uv = torch.cartesian_prod(*axes)
    return float(camera.unproject_rays(uv).valid.double().mean())


def rotation_of(value: Any, where: str) -> FloatArray:
    """Take a rotation (3, 3), or the vector (3,) of its axis and angle (Rodrigues), as (3, 3)."""
    import cv2

    found = numbers(value, where, (3,), (3, 1), (1, 3), (3, 3))
    return found if found.shape == (3, 3) else np.asarray(cv2.Rodrigues(found.ravel())[0], np.float64)


def model_name(value: Any) -> str:
    """Take the name of a camera or lens model, however it is spelt.

    Example:
        >>> model_name("Plumb Bob"), model_name("radial-tangential")
        ('plumb_bob', 'radial_tangential')
    """
    return re.sub(r"[\s-]+", "_", str(value).strip().lower())


def each_camera(makers: Iterable[tuple[str, Callable[[], PinholeCamera]]], where: str) -> Cameras:
    """Make every camera of a file; one that cannot be made does not keep the others from being used."""
    makers = list(makers)
    if len(makers) > MOST_CAMERAS:
        raise DataError("too many cameras", where=where, expected=f"at most {MOST_CAMERAS}", got=str(len(makers)))
    return {name: _attempt(make) for name, make in makers}


def _attempt(make: Callable[[], PinholeCamera]) -> PinholeCamera | DataError:
    try:
        return make()
    except DataError as error:
        return error


def in_one_place(rig: CameraRig) -> list[tuple[str, str]]:
    """List the pairs of cameras that stand in the same place, between which nothing can be triangulated."""
    centers = {name: rig[name].center.double() for name in rig}
    pairs = combinations(centers.items(), 2)
    return [
        (one, other)
        for (one, a), (other, b) in pairs
        if float((a - b).norm()) <= SAME_PLACE * max(1.0, float(a.norm()))
    ]


def same_place(pair: tuple[str, str]) -> str:
    """Say of two cameras that nothing can be triangulated between them."""
    return "two cameras stand in the same place, so that they see no depth together: {} and {}".format(*pair)


def _check_intrinsic(K: FloatArray, where: str) -> None:
    if not min(K[0, 0], K[1, 1]) >= SHORTEST_FOCAL_PX:
        raise DataError(
            "a focal length is not positive",
            where=where,
            expected="fx and fy above zero, pixels",
            got=f"{K[0, 0]:g}, {K[1, 1]:g}",
            hint=CALIBRATE,
        )
    if K[1, 0] != 0 or not np.array_equal(K[2], [0, 0, 1]):
        raise DataError(
            "not upper triangular",
            where=where,
            expected="fx s cx / 0 fy cy / 0 0 1",
            got=str(K.tolist()),
            hint="Is it transposed?" if np.array_equal(K[:, 2], [0, 0, 1]) else CALIBRATE,
        )


def _check_principal(K: FloatArray, size_wh: tuple[int, int], where: str) -> None:
    for centre, side in zip(K[:2, 2], size_wh, strict=True):
        if not -OUTSIDE * side <= centre <= (1 + OUTSIDE) * side:
            raise DataError(
                "the principal point is far outside the frame",
                where=where,
                expected=f"near the middle of {size_wh[0]}x{size_wh[1]}",
                got=f"({K[0, 2]:.1f}, {K[1, 2]:.1f})",
                hint="Is the resolution the one that was calibrated?",
            )
