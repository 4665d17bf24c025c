"""Dividing lines loses none, follows the seed, and rounds as documented."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cogkp.data.importing import ImportedLine, divide, located, validation_count
from cogkp.errors import Problem

FRACTIONS = st.floats(0.0, 0.99)


PARTS = st.sampled_from(("train", "validation", None))


def lines_of(*parts):
    return [ImportedLine(record={}, where=str(index), part=part) for index, part in enumerate(parts)]


def places(lines):
    return [int(line.where) for line in lines]


@given(own=st.lists(PARTS, max_size=60), fraction=FRACTIONS, seed=st.integers(0, 2**32))
def test_every_line_lands_in_exactly_one_part_in_its_old_order(own, fraction, seed):
    lines = lines_of(*own)
    parts = divide(lines, fraction, seed)
    found = {name: places(chosen) for name, chosen in parts.items()}
    assert sorted(place for chosen in found.values() for place in chosen) == list(range(len(own)))
    assert all(chosen and chosen == sorted(chosen) for chosen in found.values())
    assert all(line.part in (None, name) for name, chosen in parts.items() for line in chosen)
    drawn = [line for line in parts.get("validation", ()) if line.part is None]
    assert len(drawn) == validation_count(own.count(None), fraction)
    assert parts == divide(lines, fraction, seed)


@given(total=st.integers(2, 10_000), fraction=st.floats(1e-6, 0.99))
def test_neither_part_is_empty_where_both_are_wanted(total, fraction):
    assert 1 <= validation_count(total, fraction) < total


@pytest.mark.parametrize(
    ("total", "fraction", "count"),
    [(90, 0.1, 9), (116, 0.1, 11), (100, 0.29, 29), (10, 0.0, 0), (1, 0.5, 0), (2, 0.01, 1), (2, 0.99, 1)],
)
def test_the_share_is_rounded_down(total, fraction, count):
    assert validation_count(total, fraction) == count


def test_seeds_differ():
    parts = {tuple(places(divide(lines_of(*[None] * 50), 0.2, seed, "val")["val"])) for seed in range(10)}
    assert len(parts) == 10


def test_a_problem_keeps_the_file_it_concerns():
    assert located(Problem("odd", "a.png"), "t.csv:4").where == "t.csv:4, a.png"
    assert located(Problem("odd"), "t.csv:4").where == "t.csv:4"
