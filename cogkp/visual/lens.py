"""Draw lens distortion: how far, and in which direction, each pixel is moved."""

from itertools import product

import attrs
import cv2
import numpy as np
import numpy.typing as npt

from cogkp.visual.canvas import DARK, RgbImage, fit_text, text_width, write_text
from cogkp.visual.palette import BLACK, GREY, RAMP, WHITE, Colour

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.floating]

TEXT_PX = 9
BAR_PX = 22
TITLE_PX = 46
MARGIN_PX = 26
ARROWS_ACROSS = 11
EDGE = 0.08
"""No arrow starts so near the border, in sides of the frame: it would be cut off."""
LONGEST_ARROW_PX = 36.0
NOTHING_PX = 0.01
BITS = 5
FOLDED: Colour = (70, 70, 70)


@attrs.frozen(eq=False)
class DrawnLens:
    """The lens of one camera over its frame, on an even grid that includes the corners.

    Args:
        name: of the camera.
        size_wh: its frame, pixels.
        uv: (H, W, 2) pixels.
        straight: (H, W, 2) where a pinhole would have seen the same; any value where not valid.
        valid: (H, W) where the lens can be undone.
    """

    name: str
    size_wh: tuple[int, int]
    uv: FloatArray
    straight: FloatArray
    valid: BoolArray


def draw_lens(lens: DrawnLens, width_px: int) -> RgbImage:
    """Draw a frame in the colours of its pixels' shifts, with arrows to where a pinhole would have seen them.

    Returns (H, width_px, 3) uint8 RGB; grey where the lens cannot be undone.
    """
    shift = np.where(lens.valid[..., None], lens.straight - lens.uv, 0.0)
    length = np.linalg.norm(shift, axis=-1)
    largest = float(length.max())
    inner = width_px - 2 * MARGIN_PX - BAR_PX - text_width("100.0 px", TEXT_PX)
    size = inner, round(inner * lens.size_wh[1] / lens.size_wh[0])
    if largest <= NOTHING_PX and lens.valid.all():
        return _with_heading(np.zeros((0, inner, 3), np.uint8), lens, "no lens distortion", width_px)
    frame = _heat(length, lens.valid, largest, size)
    legend = "the lens moves nothing"
    if largest > NOTHING_PX:
        factor = _magnification(largest * inner / lens.size_wh[0])
        _draw_arrows(frame, lens, shift * (inner / lens.size_wh[0]) * factor)
        legend = f"arrows lead to the pinhole's pixels{'' if factor == 1 else f', {factor} x as long'}"
    if not lens.valid.all():
        legend += "; grey: cannot be undone"
    sheet = _with_heading(frame, lens, legend, width_px)
    if largest > NOTHING_PX:
        _draw_bar(sheet, largest, (MARGIN_PX + inner + 8, TITLE_PX), size[1])
    return sheet


def _with_heading(frame: RgbImage, lens: DrawnLens, legend: str, width_px: int) -> RgbImage:
    height, inner = frame.shape[:2]
    sheet = np.full((height + TITLE_PX + MARGIN_PX, width_px, 3), DARK, np.uint8)
    sheet[TITLE_PX : TITLE_PX + height, MARGIN_PX : MARGIN_PX + inner] = frame
    title = f"{lens.name}  {lens.size_wh[0]}x{lens.size_wh[1]}"
    write_text(sheet, fit_text(title, TEXT_PX + 1, inner), (MARGIN_PX, 18), TEXT_PX + 1, WHITE)
    write_text(sheet, fit_text(legend, TEXT_PX, inner), (MARGIN_PX, 36), TEXT_PX, GREY)
    return sheet


def _colours(share: FloatArray) -> RgbImage:
    nodes = np.linspace(0.0, 1.0, len(RAMP))
    channels = [np.interp(share, nodes, [node[channel] for node in RAMP]) for channel in range(3)]
    return np.round(0.8 * np.stack(channels, -1)).astype(np.uint8)


def _heat(length: FloatArray, valid: BoolArray, largest: float, size_wh: tuple[int, int]) -> RgbImage:
    smooth = cv2.resize((length / max(largest, NOTHING_PX)).astype(np.float32), size_wh)
    frame = _colours(np.clip(smooth, 0.0, 1.0))
    known = cv2.resize(valid.astype(np.uint8), size_wh, interpolation=cv2.INTER_NEAREST)
    frame[known == 0] = FOLDED
    return frame


def _magnification(longest_px: float) -> int:
    """A round factor that makes the longest arrow as long as a few letters."""
    wanted = LONGEST_ARROW_PX / longest_px
    power = 10 ** max(0, int(np.floor(np.log10(max(wanted, 1.0)))))
    return int(max(step * power for step in (1, 2, 5) if step * power <= max(wanted, 1.0)))


def _draw_arrows(frame: RgbImage, lens: DrawnLens, steps_px: FloatArray) -> None:
    scale = frame.shape[1] / lens.size_wh[0]
    rows, columns = (
        np.unique(np.linspace(EDGE * count, (1 - EDGE) * (count - 1), ARROWS_ACROSS).round().astype(int))
        for count in lens.valid.shape
    )
    for row, column in product(rows.tolist(), columns.tolist()):
        if lens.valid[row, column]:
            start = (lens.uv[row, column] + 0.5) * scale - 0.5
            _arrow(frame, start, start + steps_px[row, column])


def _arrow(frame: RgbImage, start: FloatArray, stop: FloatArray) -> None:
    ends = [tuple(np.round(end * (1 << BITS)).astype(int).tolist()) for end in (start, stop)]
    for ink, width in ((BLACK, 3), (WHITE, 1)):
        cv2.arrowedLine(frame, ends[0], ends[1], ink, width, cv2.LINE_AA, BITS, tipLength=0.25)


def _draw_bar(sheet: RgbImage, largest: float, left_top: tuple[int, int], height: int) -> None:
    """Explain the colours: zero at the bottom, the largest shift on top."""
    left, top = left_top
    shares = np.linspace(1.0, 0.0, height)[:, None].repeat(BAR_PX - 8, 1)
    sheet[top : top + height, left : left + BAR_PX - 8] = _colours(shares)
    for value, row in ((largest, top + TEXT_PX), (largest / 2, top + height // 2), (0.0, top + height)):
        write_text(sheet, f"{value:.3g} px", (left + BAR_PX - 2, row), TEXT_PX, GREY)
