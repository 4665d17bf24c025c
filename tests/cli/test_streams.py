"""Standard streams that are closed, full or without a reader never end the work."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from cogkp.artifacts.checkpoint import load_checkpoint
from tests.builders.box_files import write_set
from tests.builders.devices import FULL, device_node
from tests.builders.processes import FAMILIES, PATIENCE_S, S6, start, words_of

SCHEMA = [str(S6), "cog", "schema"]


@pytest.fixture
def full(tmp_path: Path) -> Path:
    """A device of our own that is always full."""
    return device_node(tmp_path / "full", FULL)


def closed(number: int):
    return lambda: os.close(number)


def epochs_of(folder: Path) -> int:
    return load_checkpoint(next(iter(folder.rglob("*_latest.pth")))).state.epoch


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("which", ["stdout", "stderr"])
def test_a_full_disk_under_a_stream_does_not_end_a_training(tmp_path, full, family, which):
    with full.open("wb") as stream, start(words_of(family, tmp_path, epochs=2), tmp_path, **{which: stream}) as process:
        out, err = process.communicate(timeout=PATIENCE_S)
    assert epochs_of(tmp_path) == 2
    assert process.returncode == 0  # the work is done, and its results are in files
    if which == "stdout":
        assert err.splitlines()[-1] == "warning: standard output cannot be written: No space left on device"
        assert "Traceback" not in err
    else:
        assert "checkpoint" in out


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("numbers", [(2,), (0, 1, 2)])
def test_closed_streams_do_not_end_a_training_and_nothing_takes_their_place(tmp_path, family, numbers):
    def close() -> None:
        for number in numbers:
            os.close(number)

    with start(words_of(family, tmp_path, epochs=2), tmp_path, preexec_fn=close) as process:
        process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    assert epochs_of(tmp_path) == 2


@pytest.mark.slow
@pytest.mark.parametrize("which", ["stdout", "stderr"])
def test_a_reader_that_goes_away_does_not_end_a_training(tmp_path, which):
    with start(words_of("keypoint", tmp_path, epochs=2), tmp_path) as process:
        getattr(process, which).close()
        (process.stderr if which == "stdout" else process.stdout).read()
        process.wait(timeout=PATIENCE_S)
    assert process.returncode == 0
    assert epochs_of(tmp_path) == 2


def test_results_that_are_lost_are_told(full):
    with full.open("wb") as stream:
        done = subprocess.run(SCHEMA, stdout=stream, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        1,
        "error: standard output cannot be written: No space left on device\n",
    )


@pytest.mark.parametrize("words", [SCHEMA, [str(S6), "--help"], [str(S6), "cog", "nonsense"]])
def test_commands_without_streams_keep_their_exit_codes(words, full):
    with full.open("wb") as stream:
        for streams in ({"preexec_fn": closed(1)}, {"preexec_fn": closed(2)}, {"stderr": stream}):
            done = subprocess.run(words, check=False, **{"stdout": subprocess.DEVNULL, **streams})
            assert done.returncode == (2 if "nonsense" in words else 0)


def test_a_pipe_that_does_not_block_is_waited_for():
    """Some parents hand out pipes that refuse to wait; a schema is longer than such a pipe holds."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    os.set_blocking(reading, True)
    with subprocess.Popen([*SCHEMA, "--help"], stdout=writing) as process:
        os.close(writing)
        with os.fdopen(reading, "rb") as stream:
            assert stream.read().startswith(b"Usage")
    assert process.returncode == 0


def test_a_lost_json_object_is_an_error_and_lost_lines_are_a_warning(tmp_path, full):
    write_set(tmp_path / "set", 2)
    words = [str(S6), "cog", "centerpose", "validate", str(tmp_path / "set"), "--output", str(tmp_path / "drawing.png")]
    for further, code, word in (([], 0, "warning"), (["--json"], 1, "error")):
        with full.open("wb") as stream:
            done = subprocess.run(words + further, stdout=stream, stderr=subprocess.PIPE, text=True, check=False)
        assert done.returncode == code
        assert done.stderr.splitlines()[-1] == f"{word}: standard output cannot be written: No space left on device"


def test_a_name_that_this_locale_cannot_hold_is_told_in_one_line(tmp_path):
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"base_dir": [f"{tmp_path}/é"], "data_mappings": {"x": ["B.image"], "y": [["B.a"]]}}))
    env = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    words = [str(S6), "cog", "keypoint", "-c", str(config), "--dry-run"]
    done = subprocess.run(words, env=env, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, "cannot be a name in this locale" in done.stderr, "fault" in done.stderr) == (
        1,
        True,
        False,
    )
