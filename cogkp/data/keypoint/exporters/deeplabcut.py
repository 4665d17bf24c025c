"""The table of DeepLabCut and Lightning Pose: three header rows, then x, y and likelihood of each point, row by row.

Several cameras have one table each, as Lightning Pose reads and writes them. Pixels are taken as they are: both
programs count from the centre of the top-left pixel, as we do.
"""

from collections.abc import Sequence

import numpy.typing as npt

from cogkp.data.keypoint.exporters.cells import csv_row, found_points

COLUMNS = ("x", "y", "likelihood")


def deeplabcut_header(names: Sequence[str], scorer: str = "cogkp") -> str:
    """Write the three header rows.

    Args:
        names: of the points.
        scorer: what the table says of who found them.

    Example:
        >>> print(deeplabcut_header(["tip", "end"]), end="")
        scorer,cogkp,cogkp,cogkp,cogkp,cogkp,cogkp
        bodyparts,tip,tip,tip,end,end,end
        coords,x,y,likelihood,x,y,likelihood
    """
    width = len(COLUMNS)
    return (
        csv_row(["scorer", *[scorer] * (width * len(names))])
        + csv_row(["bodyparts", *(name for name in names for _ in COLUMNS)])
        + csv_row(["coords", *COLUMNS * len(names)])
    )


def deeplabcut_row(index: str | int, points: npt.ArrayLike, confidence: npt.ArrayLike) -> str:
    r"""Write the row of one image.

    Args:
        index: name of the image, or number of the frame of a video, counted from 0.
        points: (N, 2) columns and rows, pixels of the image; NaN where a point was not found.
        confidence: (N,) 0 to 1.

    Raises:
        DataError: the shapes do not belong together.

    Example:
        >>> deeplabcut_row(7, [[1.5, 2.0], [float("nan"), 0.0]], [0.9, 0.1])
        '7,1.5,2.0,0.9,,,0.1\n'
    """
    return csv_row([index, *(cell for point in found_points(points, confidence) for cell in point)])
