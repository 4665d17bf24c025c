"""What a scheduler, a closing terminal and a lack of memory do to a training: real processes of both families."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from cogkp.artifacts.checkpoint import load_checkpoint
from tests.builders.processes import FAMILIES, PATIENCE_S, children_of, start, steps_in, until, words_of

MANY = 100_000

pytestmark = pytest.mark.slow


def newest(folder: Path) -> Path:
    return next(path for path in folder.rglob("*_latest.pth"))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("name", "code", "workers"), [("SIGTERM", 143, 2), ("SIGHUP", 129, 0)])
def test_signals_save_the_exact_step_also_when_they_come_twice_and_to_all_processes(
    tmp_path, family, name, code, workers
):
    with start(words_of(family, tmp_path, epochs=MANY, workers=workers), tmp_path) as process:
        until(lambda: steps_in(tmp_path) >= 1, process)
        for _ in range(2):
            os.killpg(process.pid, getattr(signal, name))
        out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == code, err
    assert "interrupted: the checkpoint is complete" in out
    assert "Traceback" not in err
    assert load_checkpoint(newest(tmp_path)).state.steps_taken >= steps_in(tmp_path) > 0


def test_under_nohup_a_closing_terminal_is_not_heard(tmp_path):
    words = ["nohup", *words_of("keypoint", tmp_path, epochs=3)]
    with start(words, tmp_path, stdin=subprocess.DEVNULL) as process:
        until(lambda: steps_in(tmp_path) >= 1, process)
        os.killpg(process.pid, signal.SIGHUP)
        _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, err
    assert load_checkpoint(newest(tmp_path)).state.epoch == 3


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", ["SIGKILL", "SIGSEGV"])
def test_a_loader_process_that_dies_ends_the_training_with_a_line_that_says_what_to_do(tmp_path, family, name):
    with start(words_of(family, tmp_path, epochs=MANY, workers=2), tmp_path) as process:
        until(lambda: steps_in(tmp_path) >= 1, process)
        os.kill(children_of(process)[0], getattr(signal, name))
        _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1, err
    last = err.splitlines()[-1].lstrip("\0")  # which torch adds to its own line
    assert re.match(r"error: a loader process failed", last)
    assert all(word in last for word in ("memory", "shared memory", "--num-workers"))
    assert "Traceback" not in err
    assert "fault of the program" not in err
    assert not children_alive(process.pid)


def children_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize(("files", "code"), [(40, 1), (64, 1), (400, 0)])
def test_too_few_open_files_are_told_before_anything_hangs(tmp_path, files, code):
    import resource

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))

    words = words_of("keypoint", tmp_path, epochs=1, workers=2)
    with start(words, tmp_path, preexec_fn=limited) as process:
        _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == code, err
    assert "Traceback" not in err
    assert ("too few open files are allowed for 2 loader processes" in err) == bool(code)


def test_more_loader_processes_than_a_machine_has_use_for_are_not_started(tmp_path):
    with start(words_of("keypoint", tmp_path, epochs=1, workers=100_000), tmp_path) as process:
        _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, err
    assert "warning: 100000 loader processes are more than this machine has use for" in err
