"""The labels of one image: points, their 3-D positions, and a mask."""

from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating[Any]]


@attrs.frozen(eq=False)
class KeypointLabels:
    """The labels of one view.

    Args:
        uv_source: (N, 2) float64, pixels of the full frame; zero where not labelled.
        labelled: (N,) bool.
        xyz_world: (N, 3) float64, exact places in space, world units; zero where not known.
        located: (N,) bool, where they are known.
        mask_crop: (S, S) uint8 class ids on the crop, ``MISSING_MASK_IGNORE_INDEX`` where unknown, or None.
    """

    uv_source: FloatArray
    labelled: npt.NDArray[np.bool_]
    xyz_world: FloatArray
    located: npt.NDArray[np.bool_]
    mask_crop: npt.NDArray[np.uint8] | None = None
