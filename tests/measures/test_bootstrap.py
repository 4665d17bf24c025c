"""Intervals against closed forms, against numpy on explicit resamples, and against their own promise: coverage."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cogkp.measures.bootstrap import LEAST_FRAMES, bootstrap, quantile_of, share_of_sums


def mean_of(values):
    return share_of_sums(values, np.ones_like(values))


def interval(statistic, frames, **settings):
    (found,) = bootstrap({"it": statistic}, frames, **settings)["it"]
    return found


def test_the_interval_of_a_mean_is_that_of_the_central_limit_theorem():
    values = np.random.default_rng(0).normal(5.0, 2.0, 400)
    found = interval(mean_of(values), 400, resamples=4000)
    half = 1.96 * values.std() / np.sqrt(400)
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - half, abs=0.05 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.05 * half)


def test_the_interval_of_a_share_is_the_binomials():
    hits = (np.arange(500) < 150).astype(float)
    found = interval(mean_of(hits), 500, resamples=4000)
    half = 1.96 * np.sqrt(0.3 * 0.7 / 500)
    assert (found.low, found.high) == (pytest.approx(0.3 - half, abs=0.005), pytest.approx(0.3 + half, abs=0.005))


def coverage(trials: int, frames: int, points: int, by_point: bool) -> float:
    """How often the interval of a mean holds the truth, 0, where the points of a frame err alike."""
    generator = np.random.default_rng(1)
    inside = 0
    for trial in range(trials):
        errors = generator.normal(0, 1, (frames, 1)) + generator.normal(0, 0.3, (frames, points))
        values = errors.reshape(-1) if by_point else errors.mean(1)
        found = interval(mean_of(values), len(values), resamples=300, seed=trial)
        inside += found.low <= 0.0 <= found.high
    return inside / trials


def test_intervals_over_frames_hold_the_truth_as_often_as_they_say_and_over_points_they_would_not():
    # 300 trials: a share of 0.95 has a standard deviation of 0.013; percentiles of 40 frames lose about 0.01.
    assert 0.90 <= coverage(300, 40, 6, by_point=False) <= 0.985
    assert coverage(100, 40, 6, by_point=True) < 0.75


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 7), st.integers(1, 30), st.sampled_from([0.0, 0.05, 0.5, 0.95, 1.0]))
def test_a_quantile_of_counted_values_is_that_of_the_values_repeated(seed, frames, count, share):
    generator = np.random.default_rng(seed)
    values, frame = generator.integers(0, 5, count).astype(float), generator.integers(0, frames, count)
    counts = generator.integers(0, 4, (6, frames)).astype(float)
    found = quantile_of(values, frame, (share,))(counts)[:, 0]
    for row, value in zip(counts.astype(int), found, strict=True):
        repeated = np.repeat(values, row[frame])
        assert np.isnan(value) if not len(repeated) else value == pytest.approx(np.quantile(repeated, share))


def test_the_same_seed_gives_the_same_interval_however_many_draws_are_held_at_once(monkeypatch):
    values = np.random.default_rng(3).gamma(2.0, 2.0, 60)
    statistics = {"mean": mean_of(values), "median": quantile_of(values, np.arange(60))}
    whole = bootstrap(statistics, 60, resamples=200, seed=7)
    monkeypatch.setattr("cogkp.measures.bootstrap.CELLS_AT_ONCE", 700)
    parts = bootstrap(statistics, 60, resamples=200, seed=7)
    assert parts["median"] == whole["median"]
    assert parts["mean"][0].low == pytest.approx(whole["mean"][0].low, rel=1e-12)
    assert bootstrap(statistics, 60, resamples=200, seed=8)["mean"] != whole["mean"]


def test_of_few_frames_there_is_a_value_and_no_interval():
    values = np.arange(LEAST_FRAMES - 1.0)
    found = interval(mean_of(values), len(values))
    assert (found.value, found.low, found.high, found.known) == (values.mean(), None, None, False)
    assert interval(mean_of(np.arange(float(LEAST_FRAMES))), LEAST_FRAMES).known


def test_a_figure_that_most_draws_cannot_know_has_no_interval():
    part, whole = np.zeros(50), np.zeros(50)
    part[0], whole[0] = 1.0, 2.0  # one frame of fifty has it: 63 % of the draws have that frame
    assert interval(share_of_sums(part, whole), 50).known
    statistic = share_of_sums(part, whole)
    rare = interval(lambda counts: np.where(counts[:, 0] > 1, statistic(counts), np.nan), 50)
    assert not rare.known
