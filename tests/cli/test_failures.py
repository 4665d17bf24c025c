"""What a failure looks like from outside."""

from __future__ import annotations

import signal
from contextlib import suppress

import pytest
import typer
from cogkp_cli.app import app
from cogkp_cli.failures import FAULT, fault, reported, stop_code

from cogkp.errors import ConfigError, DataError, Problem
from tests.builders.command import run_s6


def outcome(error: BaseException) -> int:
    with pytest.raises(typer.Exit) as left, reported():
        raise error
    return int(left.value.exit_code)


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COGKP_DEBUG", raising=False)


def test_error_becomes_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert outcome(DataError("empty data set", where="data.jsonl", hint="Record something.")) == 1
    assert capsys.readouterr().err == "error: empty data set @ data.jsonl. Record something.\n"


def test_every_problem_of_a_config_has_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert outcome(ConfigError([Problem("one"), Problem("two")])) == 2
    assert capsys.readouterr().err == "error: one\nerror: two\n"


def test_ctrl_c(capsys: pytest.CaptureFixture[str]) -> None:
    assert outcome(KeyboardInterrupt()) == stop_code(signal.SIGINT) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_trouble_of_the_system_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert outcome(OSError(28, "No space left on device", "x.pth")) == 1
    assert capsys.readouterr().err == "error: [Errno 28] No space left on device: 'x.pth'\n"


def test_reader_that_went_away_is_no_news(capsys: pytest.CaptureFixture[str]) -> None:
    assert outcome(BrokenPipeError()) == 1
    assert capsys.readouterr().err == ""


def test_exit_codes_pass_through() -> None:
    assert outcome(typer.Exit(5)) == 5


def test_what_nobody_foresaw_passes_the_first_door() -> None:
    with pytest.raises(ZeroDivisionError), reported():
        _ = 1 / 0


def test_fault_asks_for_a_report(capsys: pytest.CaptureFixture[str]) -> None:
    assert fault(ValueError("odd")) == FAULT
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "error: ValueError: odd"
    assert "report" in lines[1]


def test_traceback_on_request(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COGKP_DEBUG", "1")
    assert outcome(DataError("empty")) == 1
    assert "Traceback" in capsys.readouterr().err


def test_an_error_after_a_signal_that_an_import_swallowed_is_no_fault(monkeypatch, capfd) -> None:
    def half_loaded() -> None:
        with suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        raise AttributeError("module has no attribute")

    app.command("half-loaded")(half_loaded)
    try:
        code, _, err = run_s6(monkeypatch, capfd, "half-loaded")
    finally:
        app.registered_commands.pop()
    assert (code, err) == (143, "stopped by SIGTERM\n")
