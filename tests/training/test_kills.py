"""Pulling the plug, fifty times."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
KILLS = 50


@pytest.mark.slow
@pytest.mark.timeout(900)  # a minute of work, but it may get a small share of a busy machine
@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes cannot be forked here")
def test_a_training_killed_fifty_times_is_the_one_that_would_have_been(tmp_path):
    """SIGKILL at random moments: weights, moments, random streams, best checkpoint and history come out the same."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.builders.killing", str(tmp_path), str(KILLS), "0"],
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["unreadable"], found["rolled_back"], found["differences"]) == ([], [], [])
    assert found["kills"] >= KILLS
    assert found["trainings"] >= 1
    assert found["looks"] > KILLS
