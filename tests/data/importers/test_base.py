"""Dividing lines loses none, follows the seed, and rounds as documented."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cogkp.data.importers.base import located, split, validation_count
from cogkp.errors import Problem

FRACTIONS = st.floats(0.0, 0.99)


@given(total=st.integers(0, 500), fraction=FRACTIONS, seed=st.integers(0, 2**32))
def test_every_line_lands_in_exactly_one_part_in_its_old_order(total, fraction, seed):
    training, validation = split(range(total), fraction, seed)
    assert sorted(training + validation) == list(range(total))
    assert training == sorted(training)
    assert validation == sorted(validation)
    assert len(validation) == validation_count(total, fraction)
    assert (training, validation) == split(range(total), fraction, seed)


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
    parts = {tuple(split(range(50), 0.2, seed)[1]) for seed in range(10)}
    assert len(parts) == 10


def test_a_problem_keeps_the_file_it_concerns():
    assert located(Problem("odd", "a.png"), "t.csv:4").where == "t.csv:4, a.png"
    assert located(Problem("odd"), "t.csv:4").where == "t.csv:4"
