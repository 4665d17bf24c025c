"""One writer per folder, also when processes die or are forked."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
from contextlib import suppress
from pathlib import Path

import pytest

from cogkp.artifacts.runs import LOCK_NAME, abandoned, locked
from cogkp.errors import OutputError

REPOSITORY = Path(__file__).parents[2]

HOLDER = """
    import os, sys, time
    from pathlib import Path
    from cogkp.artifacts.runs import locked
    with locked(Path(sys.argv[1])):
        if len(sys.argv) > 2 and os.fork() == 0:  # as a loader process, which outlives its parent for a while
            time.sleep(20)
            os._exit(0)
        print("held", flush=True)
        time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    started = []

    def start(*words: str) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(HOLDER), str(tmp_path), *words],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(child)
        assert child.stdout.readline() == "held\n"
        return child

    yield start
    for child in started:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.communicate()


def test_a_lock_says_who_holds_it_and_is_gone_afterwards(tmp_path):
    with locked(tmp_path):
        owner = json.loads((tmp_path / LOCK_NAME).read_text())
        assert (owner["pid"], owner["host"]) == (os.getpid(), socket.gethostname())
    assert list(tmp_path.iterdir()) == []
    with locked(tmp_path):
        pass


def test_a_second_writer_is_refused_by_name(tmp_path, holder):
    child = holder()
    wanted = rf"another training.*{LOCK_NAME}: got process {child.pid} on {re.escape(socket.gethostname())}"
    for _ in range(2):
        with pytest.raises(OutputError, match=wanted), locked(tmp_path):
            pass
    assert (tmp_path / LOCK_NAME).exists()


@pytest.mark.parametrize("words", [(), ("with a loader",)])
def test_the_lock_of_a_killed_process_is_no_obstacle(tmp_path, holder, words, caplog):
    child = holder(*words)
    child.kill()
    child.wait()
    assert (tmp_path / LOCK_NAME).exists()
    with caplog.at_level("INFO", "cogkp"), locked(tmp_path):
        assert json.loads((tmp_path / LOCK_NAME).read_text())["pid"] == os.getpid()
    assert f"process {child.pid} on" in caplog.text


def test_the_same_process_cannot_hold_a_folder_twice(tmp_path):
    with locked(tmp_path):
        with pytest.raises(OutputError, match=f"got process {os.getpid()} on"), locked(tmp_path / "." / ""):
            pass
        with pytest.raises(OutputError), locked(tmp_path):
            pass


@pytest.mark.parametrize("words", ["", "{", "{}", '{"pid": "x"}', '{"pid": 1, "host": "another"}'])
def test_any_words_left_behind_are_no_obstacle(tmp_path, words):
    (tmp_path / LOCK_NAME).write_text(words)
    with locked(tmp_path):
        pass


@pytest.mark.parametrize("way", ["file", "link", "folder"])
def test_what_somebody_else_put_there_stays(tmp_path, way):
    precious, lock = tmp_path / "precious", tmp_path / LOCK_NAME
    precious.write_text("mine")
    if way == "file":
        lock.write_text("of another tool")
    elif way == "link":
        lock.symlink_to(precious)
    else:
        lock.mkdir()
    with pytest.raises(OutputError, match=LOCK_NAME), locked(tmp_path):
        pass
    assert precious.read_text() == "mine"
    assert lock.is_symlink() or lock.is_dir() or lock.read_text() == "of another tool"


def test_only_a_process_of_this_host_can_be_known_to_be_gone():
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    here = socket.gethostname()
    assert abandoned({"host": here, "pid": child.pid})
    assert not abandoned({"host": here, "pid": os.getpid()})
    assert not abandoned({"host": "another", "pid": child.pid})
    assert not abandoned({"host": here})
