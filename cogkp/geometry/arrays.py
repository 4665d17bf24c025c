"""What lets one function work on NumPy arrays and on torch tensors: a deployed model runs without torch.

Most of both libraries is spelt alike (operators, indexing, ``where``, ``stack``, ``sum(axis=..., keepdims=...)``); what
is not is here.
"""

import sys
from typing import Any

import numpy as np

from cogkp.errors import GeometryError

Array = Any
"""A NumPy array or a torch tensor; functions return the kind they are given."""

NUMPY = (np.ndarray, np.generic)


def namespace(array: Array) -> Any:
    """Return the library an array belongs to: ``numpy`` or ``torch``."""
    return np if isinstance(array, NUMPY) else sys.modules["torch"]


def cast(array: Array, dtype: Any) -> Array:
    """Return an array in a dtype of its own library; itself where it has it."""
    return array.astype(dtype, copy=False) if isinstance(array, NUMPY) else array.to(dtype)


def at_least_float32(array: Array, *others: Array) -> Array:
    """Return an array in the widest dtype of all given, float32 at least."""
    xp = namespace(array)
    dtype = xp.promote_types(array.dtype, xp.float32)
    for other in others:
        dtype = xp.promote_types(dtype, other.dtype)
    return cast(array, dtype)


def is_floating(array: Array) -> bool:
    """Say whether an array holds floating-point numbers."""
    if isinstance(array, NUMPY):
        return array.dtype.kind == "f"
    return bool(array.is_floating_point())


def counting(count: int, like: Array) -> Array:
    """Return 0, 1, 2, ... in the dtype, and on the device, of another array."""
    xp = namespace(like)
    return xp.arange(count, dtype=like.dtype) if xp is np else xp.arange(count, dtype=like.dtype, device=like.device)


def like(values: Array, other: Array) -> Array:
    """Return values as an array of the kind, dtype and device of another; a tensor keeps its gradient."""
    xp = namespace(other)
    return np.asarray(values, other.dtype) if xp is np else xp.as_tensor(values, dtype=other.dtype, device=other.device)


def check_points(name: str, points: Array, width: int, axes: str = "N") -> None:
    """Refuse points that are not rows of the given width."""
    if points.ndim < 1 + len(axes.split(", ")) or points.shape[-1] != width:
        raise GeometryError(
            f"{name} has the wrong shape", expected=f"(..., {axes}, {width})", got=str(tuple(points.shape))
        )


def common_shape(what: str, *shapes: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape that all broadcast to, or say that ``what`` do not belong together."""
    try:
        # torch.broadcast_shapes would load sympy, which takes seconds, on its first use.
        return np.broadcast_shapes(*shapes)
    except ValueError as error:
        raise GeometryError(
            f"{what} do not belong together",
            expected="leading axes that broadcast",
            got=" and ".join(str(tuple(shape)) for shape in shapes),
        ) from error
