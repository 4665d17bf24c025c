"""What lets one function work on NumPy arrays and on torch tensors: a deployed model runs without torch.

Most of both libraries is spelt alike (operators, indexing, ``where``, ``stack``, ``sum(axis=..., keepdims=...)``); what
is not is here.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

__all__ = ["Array", "at_least_float32", "cast", "counting", "is_floating", "namespace"]

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
