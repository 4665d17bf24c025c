"""When a save is due: by steps of the run, or by a clock."""

from __future__ import annotations

import pytest

from cogkp.config.train import SaveInterval
from cogkp.training.interrupt import SaveClock


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90.0), ("10min", 600.0), ("1h", 3600.0)])
def test_seconds_count_from_the_beginning_and_then_from_the_last_save(text, seconds):
    now = [1000.0]
    clock = SaveClock(SaveInterval.parse(text), lambda: now[0])
    for begun in (1000.0, 1000.0 + seconds + 7.0):  # the second save comes late, and the third counts from it
        now[0] = begun
        assert not clock.due(1)
        now[0] = begun + seconds - 0.1
        assert not any(clock.due(step) for step in (1, 90, 600, 3600))
        now[0] = begun + seconds
        assert clock.due(1)
        now[0] = begun + seconds + 7.0
        assert clock.due(2)
        clock.saved()
        assert not clock.due(3)


def test_steps_know_no_clock():
    now = [0.0]
    clock = SaveClock(SaveInterval.parse("3steps"), lambda: now[0])
    for step in range(1, 10):
        now[0] += 1e6
        assert clock.due(step) == (step % 3 == 0)
        clock.saved()
