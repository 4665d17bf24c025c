"""Progress: a bar for people at a terminal, plain lines for files, told by a clock of our own."""

from __future__ import annotations

import io
import re

import pytest
from cogkp_cli.progress import Bars, Lines, duration, facts_text, shown_progress
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_lines_come_now_and_then() -> None:
    clock, lines = Clock(), []
    with Lines(lines.append, clock, every_s=10.0).work("training", 100) as step:
        for done in range(100):
            clock.now += 1.0
            step.advance(loss=1.0 / (done + 1))
    assert lines[0] == "training: 10/100, loss 0.1, about 1 min 30 s left"
    assert lines[-1] == "training: 100/100, loss 0.01, took 1 min 40 s"
    assert len(lines) == 11


def test_quick_work_is_one_line() -> None:
    lines: list[str] = []
    with Lines(lines.append, Clock()).work("export", 2) as step:
        step.advance(2)
    assert lines == ["export: 2/2, took 0 s"]


def test_work_that_fails_says_nothing_of_an_end() -> None:
    lines: list[str] = []
    with pytest.raises(KeyError), Lines(lines.append, Clock()).work("export", 2):
        raise KeyError
    assert lines == []


def test_a_file_gets_no_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    with shown_progress() as progress, progress.work("outer", 1) as outer, progress.work("inner", 3) as inner:
        inner.advance(3, stage="render")
        outer.advance()
    out, err = capsys.readouterr()
    assert out == ""
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", err)
    assert err.splitlines() == ["inner: 3/3, stage render, took 0 s", "outer: 1/1, took 0 s"]


def test_bars_show_label_count_and_facts() -> None:
    screen = io.StringIO()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} {task.fields[facts]}"),
    )
    console = Console(file=screen, force_terminal=True, width=100)
    with Progress(*columns, console=console) as bar, Bars(bar).work("training", 4) as step:
        step.advance(3, loss=0.25)
        step.advance()
    assert "training" in screen.getvalue()
    assert "4/4 loss 0.25" in screen.getvalue()


def test_a_bar_keeps_the_facts_it_was_told_before() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100)
    with Progress(TextColumn("{task.fields[facts]}"), console=console) as bar, Bars(bar).work("training", 4) as step:
        step.advance(0, validation="5.6 px")
        step.advance(loss=0.25)
    assert "validation 5.6 px, loss 0.25" in screen.getvalue()


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_a_bar_is_one_line_however_wide_the_terminal_is(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    with shown_progress() as progress, progress.work("train", 1200) as step:
        step.advance(600, epoch="50/100", loss=3.21, lr=3.3e-4, validation="mean 5.61 px, median 4.20 px")
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())
    lines = {line.strip() for line in re.split(r"[\r\n]", shown)} - {""}
    assert all("600/1200" in line or "0/1200" in line for line in lines)
    assert any("epoch 50/100, loss 3" in line for line in lines)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (3600, "1 h 00 min"), (90061, "25 h 01 min")],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_facts_are_short() -> None:
    assert facts_text({"loss": 1234.5678, "lr": 1e-5, "zero": 0.0}) == "loss 1235, lr 1.0e-05, zero 0"
