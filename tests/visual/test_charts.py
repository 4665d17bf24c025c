"""Charts are well-formed, their marks lie where the values are, and words of users stay words."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cogkp.measures.bootstrap import Interval
from cogkp.measures.evidence import Curve, Line
from cogkp.measures.figures import histogram, hit_curve
from cogkp.visual.charts import LEFT, RIGHT, TOP, WIDTH, Axis, histogram_chart, interval_chart, line_chart, ticks
from cogkp.visual.palette import HUES, RAMP, on_light
from tests.builders.evidence import evidence, measure

HOSTILE = "<script>alert('x')</script>&\"]]>"


def drawn(figure: str) -> ElementTree.Element:
    return ElementTree.fromstring(figure)


def places(figure: str) -> np.ndarray:
    """Every place a path goes through."""
    paths = " ".join(re.findall(r'<path class="line[^"]*" d="([^"]*)"', figure))
    return np.array([[float(word) for word in pair.split()] for pair in re.findall(r"[\d.]+ [\d.]+", paths)])


def test_lines_lie_inside_the_frame_and_follow_their_values():
    x = np.array([0.0, 5.0, 10.0])
    figure = line_chart(Curve("t", "x", "y", [Line("a", x, np.array([0.0, 0.5, 1.0]))], percent_y=True))
    found = places(figure)
    bottom = Axis(0.0, 1.0).up(0.0)
    middle = ((LEFT + WIDTH - RIGHT) / 2, (TOP + bottom) / 2)
    np.testing.assert_allclose(found, [(LEFT, bottom), middle, (WIDTH - RIGHT, TOP)], atol=0.06)
    texts = [each.text for each in drawn(figure).iter("text")]
    assert {"0 %", "100 %", "x", "y"} <= set(texts)


def test_lines_break_where_nothing_was_measured():
    y = np.array([1.0, 2.0, np.nan, 3.0, np.nan, 4.0, 5.0])
    figure = line_chart(Curve("t", "x", "y", [Line("a", np.arange(7.0), y)]))
    (path,) = re.findall(r'<path class="line strong" d="([^"]*)"', figure)
    assert path.count("M") == 3
    assert "nan" not in figure


def test_many_lines_differ_in_more_than_colour_and_all_are_named():
    lines = [Line(f"p{n}", np.arange(3.0), np.arange(3.0) * n) for n in range(10)]
    figure = drawn(line_chart(Curve("t", "x", "y", lines)))
    keys = list(figure.iter("li"))
    assert ["".join(key.itertext()) for key in keys] == [f"p{n}" for n in range(10)]
    looks = {(key.get("style"), key.find("svg/path").get("stroke-dasharray")) for key in keys}
    assert len(looks) == 10


def test_counting_powers_of_ten_leaves_out_what_is_not_above_zero():
    figure = line_chart(
        Curve("t", "x", "y", [Line("a", np.arange(4.0), np.array([0.0, 1.0, 10.0, 100.0]))], log_y=True)
    )
    found = places(figure)
    assert len(found) == 3
    np.testing.assert_allclose(np.diff(found[:, 1], n=2), 0.0, atol=0.11)


def test_bars_are_as_high_as_their_counts():
    counts = histogram(measure([[1.0], [1.1], [4.9], [77.0]] * 5), bins=10)
    figure = drawn(histogram_chart(counts, "px", marks=[("median", 3.0)]))
    bars = {bar.findtext("title"): float(bar.get("height")) for bar in figure.iter("rect")}
    assert len(bars) == int((counts.counts > 0).sum()) + bool(counts.beyond)
    heights = np.array([*bars.values()])
    told = np.array([float(title.rpartition(" ")[2]) for title in bars])
    np.testing.assert_allclose(heights / heights.max(), told / told.max(), atol=0.01)


def test_dots_lie_inside_their_whiskers():
    rows = [
        ("a", Interval(1.0, 0.5, 2.0)),
        ("b", Interval(-1.0, -3.0, 0.0)),
        ("none", Interval(np.nan)),
        ("c", Interval(1.5)),
    ]
    figure = drawn(interval_chart(rows, "t", "px", zero=True))
    dots, whiskers = figure.findall(".//circle"), figure.findall(".//line[@class='whisker']")
    assert (len(dots), len(whiskers)) == (3, 2)
    for dot, line in zip(dots, whiskers, strict=False):
        assert float(line.get("x1")) < float(dot.get("cx")) < float(line.get("x2"))
        assert dot.get("cy") == line.get("y1") == line.get("y2")


@pytest.mark.parametrize(
    "figure",
    [
        line_chart(Curve(HOSTILE, HOSTILE, HOSTILE, [Line(HOSTILE, np.arange(2.0), np.arange(2.0))] * 2, note=HOSTILE)),
        histogram_chart(histogram(measure([[1.0]], columns=(HOSTILE,)), 0), HOSTILE, marks=[(HOSTILE, 0.5)]),
        interval_chart([(HOSTILE, Interval(1.0, 0.5, 2.0))], HOSTILE, HOSTILE, note=HOSTILE),
    ],
)
def test_hostile_names_stay_words(figure):
    root = drawn(figure)
    assert root.find(".//script") is None
    assert "<script" not in figure
    assert any(HOSTILE[:10] in text for text in root.itertext())


def test_an_empty_measure_can_be_drawn():
    nothing = measure(np.full((3, 2), np.nan))
    drawn(histogram_chart(histogram(nothing), "px"))
    drawn(line_chart(hit_curve(nothing, 3)))
    drawn(line_chart(Curve("t", "x", "y", [Line("a", np.zeros(0), np.zeros(0))], log_y=True)))


def test_the_band_of_a_curve_surrounds_it():
    (main, *_) = hit_curve(evidence().measures[0], 40, resamples=300).lines
    assert (main.low <= main.y + 1e-12).all()
    assert (main.y <= main.high + 1e-12).all()


@settings(max_examples=200, deadline=None)
@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_ticks_are_few_round_and_inside(low, span):
    found = ticks(low, low + span)
    assert len(found) <= 6
    slack = 1e-6 * max(1.0, span, abs(low))
    assert all(low - slack <= tick <= low + span + slack for tick in found)
    steps = np.diff(found)
    assert len(steps) == 0 or np.allclose(steps, steps[0], rtol=1e-3)


@pytest.mark.parametrize("colour", [*HUES, *RAMP])
def test_every_colour_of_points_can_be_seen_on_white(colour):
    red, green, blue = (c / 3294.6 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in on_light(colour))
    assert 1.05 / (0.2126 * red + 0.7152 * green + 0.0722 * blue + 0.05) >= 2.99
    assert (on_light(colour) == colour) or max(on_light(colour)) < max(colour)
