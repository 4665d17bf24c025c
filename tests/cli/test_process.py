"""The installed console script, as a shell sees it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import cogkp

S6 = Path(sys.executable).with_name("s6")


def s6(*words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(S6), *words], capture_output=True, text=True, cwd=cwd, check=False)


def test_version() -> None:
    done = s6("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"cogkp {cogkp.__version__}\n", "")


@pytest.mark.parametrize("words", [[], ["cog"]], ids=["s6", "s6 cog"])
def test_no_command_shows_help(words: list[str]) -> None:
    done = s6(*words)
    assert done.returncode in (0, 2)
    assert "Usage" in done.stdout + done.stderr


def test_misspelt_flag_is_wrong_use() -> None:
    done = s6("cog", "keypoint", "--conifg", "x.json")
    assert done.returncode == 2
    assert "--config" in done.stderr
    assert done.stdout == ""


def test_schema_is_one_json_object(tmp_path: Path) -> None:
    printed = s6("cog", "schema")
    written = s6("cog", "schema", "--output", "a/b.json", cwd=tmp_path)
    assert (printed.returncode, written.returncode) == (0, 0)
    assert json.loads(printed.stdout) == json.loads((tmp_path / "a" / "b.json").read_text())
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b.json"]


def test_unwritable_place_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    done = s6("cog", "schema", "--output", "file/b.json", cwd=tmp_path)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1


def test_reader_that_leaves_early_hears_no_complaint() -> None:
    with subprocess.Popen([str(S6), "cog", "schema"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""


def test_evaluation_of_a_missing_config(tmp_path: Path) -> None:
    done = s6("cog", "evaluate", "--config", "none.json", cwd=tmp_path)
    assert done.returncode == 2
    assert "none.json" in done.stderr
