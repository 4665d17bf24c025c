"""A disk of a few megabytes, which fills up in truth."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


def on_a_small_disk(script: str, tmp_path: Path) -> str:
    """Run a script in namespaces of its own, where it may mount a disk, and return what it printed."""
    (tmp_path / "disk").mkdir()
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "-m", "true"], capture_output=True, check=False).returncode:
        pytest.skip("a small disk cannot be mounted here")
    done = subprocess.run(
        [unshare, "-m", sys.executable, "-c", textwrap.dedent(script), tmp_path / "disk", tmp_path],
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    if "permission denied" in done.stderr.lower():
        pytest.skip("a small disk cannot be mounted here")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout
