"""Charts as SVG: lines, histograms and intervals, for light and dark pages.

Every function is pure and returns a whole ``<figure>``. Words of users are escaped.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import starmap

import attrs
import numpy as np
import numpy.typing as npt

from cogkp.measures.bootstrap import Interval
from cogkp.measures.evidence import Curve, Line
from cogkp.measures.figures import Histogram
from cogkp.visual.markup import escape
from cogkp.visual.palette import Colour, on_light, point_colours

WIDTH, HEIGHT = 520, 340
LEFT, RIGHT, TOP, BOTTOM = 66, 18, 12, 52
PLOT_WIDTH, PLOT_HEIGHT = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
WANTED_TICKS = 5

FloatArray = npt.NDArray[np.float64]
DASHES = ("", "7 3", "2 3")
ROW_PX = 24
NAME_PX = 150
NAME_LETTERS = 20
MARK_PX = 90


@attrs.frozen
class Axis:
    """The range of values that a side of a chart shows.

    Args:
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


def paint(colour: Colour | None) -> str:
    """Write the style of a series: a colour for light pages and one for dark; None takes that of the text."""
    if colour is None:
        return "--l:var(--text);--d:var(--text)"
    return f"--l:{_hex(on_light(colour))};--d:{_hex(colour)}"


def line_chart(curve: Curve) -> str:
    """Draw the lines of a curve; the first one strong and in the colour of the text."""
    lines = list(curve.lines)
    x_axis = Axis.over([line.x for line in lines])
    y_axis = Axis(0.0, 1.0) if curve.percent_y else Axis.over([*_drawn(lines)], log=curve.log_y)
    colours: list[Colour | None] = [None, *point_colours(len(lines) - 1)]
    parts = [*frame_of(x_axis, y_axis, curve.x_label, curve.y_label, percent=curve.percent_y)]
    if curve.diagonal:
        ends = ((x_axis.low, x_axis.low), (x_axis.high, x_axis.high))
        (x1, y1), (x2, y2) = ((x_axis.across(x), y_axis.up(y)) for x, y in ends)
        parts.append(f'<line class="guide" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>')
    for index, (line, colour) in reversed(list(enumerate(zip(lines, colours, strict=True)))):
        parts.append(_series(line, colour, x_axis, y_axis, _dash(index, len(lines)), strong=index == 0))
    legend = [
        (line.name, colour, _dash(n, len(lines))) for n, (line, colour) in enumerate(zip(lines, colours, strict=True))
    ]
    return _figure(curve.title, parts, legend if len(lines) > 1 else [], curve.note)


def histogram_chart(counts: Histogram, unit: str, *, marks: Sequence[tuple[str, float]] = ()) -> str:
    """Draw how often values fall into each bin, and what lies beyond the last one as a bar of its own.

    ``marks`` are words and the values at which they stand, drawn as upright lines.
    """
    width = float(counts.edges[1] - counts.edges[0])
    beyond = counts.beyond > 0
    x_axis = Axis(
        float(counts.edges[0]), float(counts.edges[-1]) + (2.0 if beyond else 0.0) * width, float(counts.edges[-1])
    )
    y_axis = Axis(0.0, max(1.0, 1.08 * max(float(counts.counts.max(initial=0.0)), counts.beyond)))
    parts = [*frame_of(x_axis, y_axis, f"{unit or 'value'}", "labels")]
    parts += [
        _bar(left, left + width, count, x_axis, y_axis, f"{left:.3g} to {left + width:.3g}: {count:.0f}")
        for left, count in zip(counts.edges[:-1].tolist(), counts.counts.tolist(), strict=True)
        if count
    ]
    if beyond:
        start = float(counts.edges[-1]) + width
        parts.append(_bar(start, start + width, counts.beyond, x_axis, y_axis, f"beyond: {counts.beyond}", "bar far"))
    for n, (word, value) in enumerate(sorted(marks, key=lambda mark: mark[1])):
        if value <= counts.edges[-1]:
            x = x_axis.across(value)
            parts.append(f'<line class="mark" x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{y_axis.up(0.0):.1f}"/>')
            # The least one's words go to the left where there is room, so that they do not run into each other.
            leftwards = n == 0 and x > LEFT + MARK_PX
            shift, anchor = (-5, "end") if leftwards else (5, "start")
            parts.append(label(x + shift, TOP + 12 + 16 * n, f"{word} {value:.2f}", anchor=anchor))
    note = f"The separate bar holds {counts.beyond} farther away." if beyond else ""
    total = int(counts.counts.sum()) + counts.beyond
    return _figure(f"{counts.name}: {total} labels", parts, [], note)


def interval_chart(
    rows: Sequence[tuple[str, Interval]], title: str, x_label: str, *, zero: bool = False, note: str = ""
) -> str:
    """Draw one dot with its interval per row; at least one.

    ``zero`` says that the values are differences, so that zero must be seen; the note is a sentence below.
    """
    ends = [
        end for _, each in rows for end in (each.value, each.low, each.high) if end is not None and np.isfinite(end)
    ]
    x_axis = Axis.over([np.array([0.0, *ends])], left=NAME_PX)
    height = TOP + ROW_PX * len(rows) + HEIGHT - Axis(0.0, 1.0).up(0.0)
    bottom = TOP + ROW_PX * len(rows)
    parts = []
    for tick in x_axis.ticks():
        x = x_axis.across(tick)
        parts.append(f'<line class="grid" x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{bottom}"/>')
        parts.append(label(x, bottom + 18, number(tick)))
    parts.append(label((NAME_PX + WIDTH - RIGHT) / 2, height - 6, x_label))
    if zero:
        x = x_axis.across(0.0)
        parts.append(f'<line class="mark" x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{bottom}"/>')
    for n, (name, each) in enumerate(rows):
        parts += _interval_row(name, each, TOP + ROW_PX * (n + 0.5), x_axis)
    return _figure(title, parts, [], note, height)


def _interval_row(name: str, each: Interval, y: float, axis: Axis) -> Iterator[str]:
    short = name if len(name) <= NAME_LETTERS else f"{name[: NAME_LETTERS - 1]}…"
    yield label(NAME_PX - 8, y + 4, short, anchor="end", hover=name)
    if not np.isfinite(each.value):
        return
    tooltip = f"{name}: {each.value:.4g}"
    if each.low is not None and each.high is not None:
        tooltip += f", 95 % between {each.low:.4g} and {each.high:.4g}"
        ends = (axis.across(each.low), axis.across(each.high))
        yield f'<line class="whisker" x1="{ends[0]:.1f}" y1="{y:.1f}" x2="{ends[1]:.1f}" y2="{y:.1f}"/>'
    x = axis.across(each.value)
    yield f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="4.5"><title>{escape(tooltip)}</title></circle>'


def _drawn(lines: Sequence[Line]) -> Iterator[FloatArray]:
    for line in lines:
        yield line.y
        yield from (band for band in (line.low, line.high) if band is not None)


def _series(line: Line, colour: Colour | None, x_axis: Axis, y_axis: Axis, dash: str, *, strong: bool) -> str:
    style = paint(colour)
    band = ""
    if line.low is not None and line.high is not None:
        known = np.isfinite(line.low) & np.isfinite(line.high)
        x, low, high = line.x[known], line.low[known], line.high[known]
        edge = [*zip(x, high, strict=True), *zip(x[::-1], low[::-1], strict=True)]
        points = " ".join(f"{x_axis.across(u):.1f},{y_axis.up(v):.1f}" for u, v in edge)
        band = f'<polygon class="band" points="{points}"/>'
    usable = np.isfinite(line.y) & ((line.y > 0) if y_axis.log else True)
    runs = np.split(np.arange(len(line.x)), np.flatnonzero(~usable))
    paths = []
    for run in runs:
        kept = run[usable[run]]
        places = [f"{x_axis.across(line.x[i]):.1f} {y_axis.up(line.y[i]):.1f}" for i in kept]
        if len(places) > 1:
            paths.append("M" + "L".join(places))
        elif places:
            paths.append(f"M{places[0]}h0.01")
    path = f'<path class="line{" strong" if strong else ""}" d="{"".join(paths)}"{_dashed(dash)}/>'
    return f'<g class="s" style="{style}"><title>{escape(line.name)}</title>{band}{path}</g>'


def _dash(index: int, lines: int) -> str:
    """Tell lines apart by more than colour where there are many."""
    return DASHES[(index - 1) % len(DASHES)] if index and lines > 4 else ""  # noqa: PLR2004


def _bar(left: float, right: float, count: float, x_axis: Axis, y_axis: Axis, hover: str, kind: str = "bar") -> str:
    x1, x2, top, base = x_axis.across(left), x_axis.across(right), y_axis.up(count), y_axis.up(0.0)
    size = f'x="{x1 + 0.5:.1f}" y="{top:.1f}" width="{max(x2 - x1 - 1, 1):.1f}" height="{base - top:.1f}"'
    return f'<rect class="{kind}" {size}><title>{escape(hover)}</title></rect>'


def _figure(
    title: str,
    parts: Sequence[str],
    legend: Sequence[tuple[str, Colour | None, str]],
    note: str,
    height: float = HEIGHT,
) -> str:
    keys = "".join(starmap(_key, legend))
    below = f'<ul class="legend">{keys}</ul>' if keys else ""
    below += f'<p class="note">{escape(note)}</p>' if note else ""
    drawing = f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(title)}">{"".join(parts)}</svg>'
    return f"<figure><figcaption>{escape(title)}</figcaption>{drawing}{below}</figure>"


def _key(name: str, colour: Colour | None, dash: str) -> str:
    sample = f'<svg viewBox="0 0 26 8" aria-hidden="true"><path class="line" d="M1 4H25"{_dashed(dash)}/></svg>'
    return f'<li class="s" style="{paint(colour)}">{sample}{escape(name)}</li>'


def _dashed(dash: str) -> str:
    return f' stroke-dasharray="{dash}"' if dash else ""


def _hex(colour: Colour) -> str:
    return "#" + "".join(f"{channel:02x}" for channel in colour)
