"""Draw a calibration on one sheet: the rig from two sides, and the distortion of each lens."""

from collections.abc import Sequence

import numpy as np

from cogkp.visual.canvas import DARK, RgbImage, fit_text, write_text
from cogkp.visual.lens import DrawnLens, draw_lens
from cogkp.visual.palette import GREY
from cogkp.visual.rig import DrawnCamera, draw_rig

TITLE_BAR_PX = 32
TITLE_PX = 12
LENSES_PER_ROW = 2


def calibration_sheet(
    cameras: Sequence[DrawnCamera], lenses: Sequence[DrawnLens], reach: float, *, title: str = ""
) -> RgbImage:
    """Draw a rig and its lenses.

    Args:
        cameras: at least one.
        lenses: one per camera.
        reach: how far the pyramids of sight are drawn, world unit.
        title: one line on top; empty for none.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ValueError: there are no cameras.
    """
    views = draw_rig(cameras, reach)
    width = views.shape[1]
    tiles = [draw_lens(lens, width // LENSES_PER_ROW) for lens in lenses]
    rows = [_row(tiles[start : start + LENSES_PER_ROW], width) for start in range(0, len(tiles), LENSES_PER_ROW)]
    bar = np.full((TITLE_BAR_PX, width, 3), DARK, np.uint8)
    write_text(bar, fit_text(title, TITLE_PX, width - 20), (10, 22), TITLE_PX, GREY)
    return np.vstack([*([bar] if title else []), views, *rows])


def _row(tiles: Sequence[RgbImage], width: int) -> RgbImage:
    row = np.full((max(tile.shape[0] for tile in tiles), width, 3), DARK, np.uint8)
    left = 0
    for tile in tiles:
        row[: tile.shape[0], left : left + tile.shape[1]] = tile
        left += tile.shape[1]
    return row
