"""Results on stdout, words for people on stderr, and JSON that every reader accepts."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from types import MappingProxyType

import pytest
from cogkp_cli.console import Console


def test_people_read_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    report = Console(as_json=False)
    report.say("done")
    report.wrote(Path("a.png"), None)
    report.add(epochs=3)
    report.finish()
    assert capsys.readouterr() == ("done\nwrote a.png\n", "")


def test_programs_read_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    report = Console(as_json=True)
    report.say("done")
    report.add(path=Path("a") / "b", scores=MappingProxyType({"loss": float("inf")}), sizes=(1, 2.5))
    report.finish(engine=None)
    out, err = capsys.readouterr()
    assert json.loads(out) == {"path": str(Path("a/b")), "scores": {"loss": None}, "sizes": [1, 2.5], "engine": None}
    assert err == "done\n"


def test_log_lines_go_to_stderr_once(capsys: pytest.CaptureFixture[str]) -> None:
    Console(as_json=False)
    Console(as_json=True)
    logging.getLogger("cogkp").info("train %d epochs", 3)
    logging.getLogger("cogkp.data").warning("dropped 2 lines")
    assert capsys.readouterr() == ("", "train 3 epochs\nwarning: dropped 2 lines\n")
