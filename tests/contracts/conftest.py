"""Checked-in copies of what the outside world relies on; a change of one is a change of the other, in one commit."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SNAPSHOTS = Path(__file__).parent / "snapshots"


@pytest.fixture(scope="session")
def repository() -> Path:
    return Path(__file__).parents[2]


@pytest.fixture(scope="session")
def updating() -> bool:
    """Whether the checked-in copies are to follow the code: COGKP_UPDATE_SNAPSHOTS=1 pytest tests/contracts."""
    return bool(os.environ.get("COGKP_UPDATE_SNAPSHOTS"))


@pytest.fixture
def snapshot(updating: bool) -> Callable[[str, dict[str, Any]], None]:
    def compare(name: str, found: dict[str, Any]) -> None:
        path = SNAPSHOTS / f"{name}.json"
        if updating:
            path.write_text(json.dumps(found, indent=2) + "\n")
        assert found == json.loads(path.read_text()), "intended? COGKP_UPDATE_SNAPSHOTS=1 pytest tests/contracts"

    return compare
