"""A long table of predictions for statistics programs: one row for each point of each image.

Frames that were predicted in parts join by concatenation, and groups, filters and plots need no reshaping.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from cogkp.data.keypoint.exporters.cells import PX_DIGITS, csv_row, found_points, rounded
from cogkp.errors import DataError

COLUMNS = (
    "frame",
    "time_s",
    "camera",
    "image",
    "point",
    "u_px",
    "v_px",
    "confidence",
    "sigma_u_px",
    "sigma_v_px",
    "correlation",
)


def points_table_header() -> str:
    """Write the header row.

    Example:
        >>> print(points_table_header(), end="")
        frame,time_s,camera,image,point,u_px,v_px,confidence,sigma_u_px,sigma_v_px,correlation
    """
    return csv_row(COLUMNS)


def points_table_rows(
    names: Sequence[str],
    points: npt.ArrayLike,
    confidence: npt.ArrayLike,
    *,
    frame: int,
    image: str = "",
    camera: str = "",
    time_s: float | None = None,
    covariance: npt.ArrayLike | None = None,
) -> str:
    """Write the rows of one image, one for each point; what is not known is an empty cell.

    Args:
        names: of the points.
        points: (N, 2) columns and rows, pixels of the image; NaN where a point was not found.
        confidence: (N,) 0 to 1.
        frame: its number in the source, counted from 0.
        image: its name.
        camera: whose image it is, where there are several.
        time_s: when it was.
        covariance: (N, 2, 2) px^2; its columns are the standard deviations and their correlation. Zero says that
            nothing is known.

    Raises:
        DataError: the shapes do not belong together.

    Example:
        >>> rows = points_table_rows(["tip"], [[1.5, 2.0]], [0.9], frame=0, covariance=[[[4.0, 1.0], [1.0, 1.0]]])
        >>> print(rows, end="")
        0,,,,tip,1.5,2.0,0.9,2.0,1.0,0.5
    """
    found = found_points(points, confidence)
    spread = np.zeros((len(found), 2, 2)) if covariance is None else np.asarray(covariance, np.float64)
    if len(names) != len(found) or spread.shape != (len(found), 2, 2):
        raise DataError(
            "names, points and covariances do not belong together",
            expected="N names, (N, 2) and (N, 2, 2)",
            got=f"{len(names)} names, {len(found)} points and {spread.shape}",
        )
    moment = None if time_s is None else rounded(time_s)
    return "".join(
        csv_row([frame, moment, camera, image, name, *point, *_spread(each)])
        for name, point, each in zip(names, found, spread, strict=True)
    )


def _spread(covariance: npt.NDArray[np.float64]) -> tuple[float | None, float | None, float | None]:
    """Return standard deviations and correlation; None where the covariance says nothing."""
    variances = np.diag(covariance)
    if not (variances > 0.0).all():
        return None, None, None
    sigma_u, sigma_v = np.sqrt(variances)
    return rounded(sigma_u, PX_DIGITS), rounded(sigma_v, PX_DIGITS), rounded(covariance[0, 1] / (sigma_u * sigma_v))
