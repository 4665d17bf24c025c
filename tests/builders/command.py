"""The command line, called as a process would call it, in this one."""

from __future__ import annotations

import sys

import pytest
from cogkp_cli.app import main


def run_s6(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], *arguments: object
) -> tuple[int, str, str]:
    """Run ``s6`` with these words: exit code, standard output, standard error."""
    monkeypatch.setattr(sys, "argv", ["s6", *map(str, arguments)])
    try:
        code = main()
    except SystemExit as stop:
        code = stop.code
    out, err = capfd.readouterr()
    return int(code or 0), out, err
