"""Find the labelled photographs that lie beside the checkout."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def shared(name: str) -> Path:
    """Return the folder of one data set, or skip the test and say why."""
    home = Path(os.environ.get("COGKP_SHARED", ROOT.parent / "shared")) / "data" / name
    if not home.is_dir():
        pytest.skip(f"{name} is not beside the checkout; COGKP_SHARED can name the folder that holds data/{name}")
    return home
