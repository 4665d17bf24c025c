"""Axes of SVG charts: scale, round ticks, grid lines and labels."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import attrs
import numpy as np
import numpy.typing as npt

from cogkp.visual.markup import escape

__all__ = [
    "BOTTOM",
    "HEIGHT",
    "LEFT",
    "PLOT_WIDTH",
    "RIGHT",
    "TOP",
    "WIDTH",
    "Axis",
    "frame_of",
    "label",
    "number",
    "ticks",
]

WIDTH, HEIGHT = 520, 340
LEFT, RIGHT, TOP, BOTTOM = 66, 18, 12, 52
PLOT_WIDTH, PLOT_HEIGHT = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
WANTED_TICKS = 5


@attrs.frozen
class Axis:
    """The range of values that a side of a chart shows.

    Args:
        low: its first value.
        high: its last value.
        last_tick: beyond it no tick is drawn; None draws them to the end.
        log: whether it counts powers of ten.
        left: where the axis begins when it lies across, drawing units.
    """

    low: float
    high: float
    last_tick: float | None = None
    log: bool = False
    left: float = LEFT

    @classmethod
    def over(cls, values: Sequence[npt.NDArray[np.float64]], *, log: bool = False, left: float = LEFT) -> Axis:
        """Choose a range that shows all finite values, with zero where it is near."""
        every = np.concatenate([np.zeros(0), *values])
        finite = every[np.isfinite(every) & ((every > 0) if log else True)]
        if not finite.size:
            return cls(0.1 if log else 0.0, 1.0, log=log, left=left)
        low, high = float(finite.min()), float(finite.max())
        if log:
            return cls(
                10.0 ** math.floor(math.log10(low)), 10.0 ** math.ceil(math.log10(high * 1.0001)), log=True, left=left
            )
        low = 0.0 if 0.0 <= low < high / 2 else low
        pad = 0.0 if high > low else max(abs(high), 1.0) / 2
        return cls(low - pad, high + pad, left=left)

    def across(self, value: float) -> float:
        """Place a value from left to right."""
        return self.left + self._part(value) * (WIDTH - RIGHT - self.left)

    def up(self, value: float) -> float:
        """Place a value from the bottom upwards; drawings count downwards."""
        return TOP + (1.0 - self._part(value)) * PLOT_HEIGHT

    def ticks(self) -> list[float]:
        """Return round values inside the range."""
        if self.log:
            first, last = round(math.log10(self.low)), round(math.log10(self.high))
            step = max(1, math.ceil((last - first) / WANTED_TICKS))
            return [10.0**power for power in range(first, last + 1, step)]
        return ticks(self.low, self.high if self.last_tick is None else self.last_tick)

    def _part(self, value: float) -> float:
        low, high, at = (math.log10(each) if self.log else each for each in (self.low, self.high, value))
        return (at - low) / (high - low)


def ticks(low: float, high: float) -> list[float]:
    """Return about five round values between two others.

    Example:
        >>> ticks(0.0, 0.9), ticks(-3.0, 17.0)
        ([0.0, 0.2, 0.4, 0.6, 0.8], [0.0, 5.0, 10.0, 15.0])
    """
    if not high > low:
        return [low]
    power = 10.0 ** math.floor(math.log10((high - low) / WANTED_TICKS))
    step = next(each * power for each in STEPS if (high - low) / (each * power) <= WANTED_TICKS + 1e-9)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    decimals = 1 - math.floor(math.log10(step))
    return [round(index * step, decimals) for index in range(first, last + 1)]


def number(value: float) -> str:
    """Write a tick: no digits that say nothing.

    Example:
        >>> number(0.25), number(20.0), number(0.0001), number(-0.0)
        ('0.25', '20', '0.0001', '0')
    """
    return f"{value + 0.0:.6g}"


def label(x: float, y: float, words: str, *, anchor: str = "middle", hover: str = "") -> str:
    """Write words at a place of a drawing."""
    tooltip = f"<title>{escape(hover)}</title>" if hover and hover != words else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{tooltip}{escape(words)}</text>'


def frame_of(x_axis: Axis, y_axis: Axis, x_label: str, y_label: str, *, percent: bool = False) -> Iterator[str]:
    """Draw grid lines, ticks and labels of both axes."""
    bottom = TOP + PLOT_HEIGHT
    for tick in y_axis.ticks():
        y = y_axis.up(tick)
        yield f'<line class="grid" x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}"/>'
        yield label(LEFT - 7, y + 4.5, f"{100 * tick:.0f} %" if percent else number(tick), anchor="end")
    for tick in x_axis.ticks():
        x = x_axis.across(tick)
        yield f'<line class="grid" x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{bottom}"/>'
        yield label(x, bottom + 18, number(tick))
    yield f'<line class="axis" x1="{LEFT}" y1="{bottom}" x2="{WIDTH - RIGHT}" y2="{bottom}"/>'
    yield label((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, x_label)
    middle = TOP + PLOT_HEIGHT / 2
    turned = f'<text transform="translate(14 {middle:.1f}) rotate(-90)" text-anchor="middle">{escape(y_label)}</text>'
    yield turned
