from __future__ import annotations

import pytest

from cogkp.config.train import SaveInterval, TrainOptions
from cogkp.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "steps", "seconds"),
    [
        ("200", 200, None),
        ("200steps", 200, None),
        ("1 step", 1, None),
        ("90s", None, 90),
        ("10min", None, 600),
        ("2 h", None, 7200),
        ("007", 7, None),
    ],
)
def test_intervals_are_steps_or_a_time(text, steps, seconds):
    assert SaveInterval.parse(text) == (steps, seconds)
    assert TrainOptions(checkpoint_interval=text).checkpoint_interval == text


@pytest.mark.parametrize("text", ["", "0", "0min", "-3", "1.5min", "min", "10 minutes", "3d", "10min 5s", " 3"])
def test_anything_else_is_refused(text):
    with pytest.raises(ConfigError):
        SaveInterval.parse(text)
    with pytest.raises(ConfigError, match="checkpoint_interval: expected a number of steps or a time"):
        TrainOptions(checkpoint_interval=text)


def test_at_least_one_checkpoint_is_kept():
    with pytest.raises(ConfigError, match="keep_last"):
        TrainOptions(keep_last=0)
