"""Whatever has a name may be named as an input."""

from __future__ import annotations

import os
import stat
import subprocess
import sys

import pytest

from cogkp.artifacts.checkpoint import load_checkpoint
from cogkp.artifacts.evaluations import read_evaluation
from cogkp.config.centerpose.io import load_experiment
from cogkp.config.centerpose.spec import CenterPoseConfig
from cogkp.config.keypoint.io import load
from cogkp.data.images import read_grey
from cogkp.errors import CogkpError
from cogkp.files import read_whole
from tests.builders.devices import ENDLESS, device_node

READERS = {
    "config": lambda path: load(str(path)),
    "experiment": lambda path: load_experiment(str(path)),
    "checkpoint": load_checkpoint,
    "evaluation": read_evaluation,
    "image": read_grey,
}


@pytest.fixture(params=["endless device", "pipe without a writer", "folder"])
def no_file(request, tmp_path):
    path = tmp_path / "input.json"
    if request.param == "folder":
        path.mkdir()
    elif request.param == "pipe without a writer":
        os.mkfifo(path)
    else:
        device_node(path, ENDLESS)
    return path


@pytest.mark.parametrize("name", READERS)
def test_no_reader_waits_or_reads_for_ever(no_file, name):
    if name == "experiment" and stat.S_ISFIFO(no_file.stat().st_mode):
        assert load_experiment(str(no_file)) == CenterPoseConfig()  # an empty spec is one of defaults
        return
    with pytest.raises(CogkpError) as caught:
        READERS[name](no_file)
    assert len(str(caught.value).splitlines()) == 1
    assert "input.json" in str(caught.value)


def test_a_pipe_is_read_to_its_end(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    write = "import sys, time; f = open(sys.argv[1], 'wb'); time.sleep(0.2); f.write(bytes(200_000)); f.close()"
    with subprocess.Popen([sys.executable, "-c", write, str(tmp_path / "pipe")]):
        handle = os.open(tmp_path / "pipe", os.O_RDONLY)  # once this returns, the writer is there
        try:
            assert read_whole(tmp_path / "pipe") == bytes(200_000)
        finally:
            os.close(handle)


def test_a_document_beyond_all_measure_is_refused(tmp_path):
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(5000)
    assert len(read_whole(path, 5000)) == 5000
    with pytest.raises(OSError, match="more than 0 MiB"):
        read_whole(path, 4999)
