"""Whatever has a name may be named as an input."""

from __future__ import annotations

import os
import stat
import subprocess
import sys

import pytest

from cogkp.artifacts.checkpoint import load_checkpoint
from cogkp.artifacts.evaluations import read_evaluation
from cogkp.artifacts.manifest import Signature
from cogkp.artifacts.newest import newest_of
from cogkp.artifacts.run_record import read_sessions, training_seconds
from cogkp.artifacts.runs import CHECKPOINT_NAME, METRICS_NAME, RECORD_NAME, RunFolder
from cogkp.config.centerpose.io import load_experiment
from cogkp.config.centerpose.spec import CenterPoseConfig
from cogkp.config.keypoint.io import load
from cogkp.data.calibration import read_calibration
from cogkp.data.images import read_grey
from cogkp.data.keypoint.importers import import_dataset
from cogkp.data.keypoint.structured import LINES_FILE, read_lines
from cogkp.errors import CogkpError
from cogkp.files import read_whole, text_lines
from cogkp.inference.onnxruntime_runner import OnnxRuntimeRunner
from cogkp.training.history import lines_before
from cogkp.workflows.report_parts import read_epochs
from tests.artifacts.test_restore import at
from tests.builders.devices import ENDLESS, device_node

WITHOUT_DATA = {
    "label table": lambda folder: import_dataset(folder, folder / "out", format="deeplabcut"),
    "stereo pairs": lambda folder: import_dataset(folder, folder / "out", format="stereo-pairs"),
    "calibration": lambda folder: read_calibration(folder / "calibration.config.json"),
    "ONNX file": lambda folder: OnnxRuntimeRunner(folder / "model.onnx", Signature((), ())).open(),
}
NAMES = ("CollectedData_a.csv", "pairs.jsonl", "calibration.config.json", "model.onnx")
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


@pytest.mark.parametrize("name", WITHOUT_DATA)
def test_no_file_with_a_fixed_name_is_waited_for(no_file, name, tmp_path):
    for fixed in NAMES:
        (tmp_path / fixed).symlink_to(no_file)
    with pytest.raises(CogkpError) as caught:
        WITHOUT_DATA[name](tmp_path)
    assert len(str(caught.value).splitlines()) == 1


def test_a_data_set_behind_a_pipe_is_empty_and_a_device_is_none(no_file, tmp_path):
    (tmp_path / LINES_FILE).symlink_to(no_file)
    if stat.S_ISFIFO(no_file.stat().st_mode):
        assert read_lines(tmp_path) == []
        return
    with pytest.raises(CogkpError, match="the data set cannot be read"):
        read_lines(tmp_path)


def test_records_and_histories_that_are_no_files_are_none(no_file, tmp_path):
    for fixed in (METRICS_NAME, RECORD_NAME):
        (tmp_path / fixed).symlink_to(no_file)
    assert lines_before(tmp_path / METRICS_NAME, (1, 0)) == read_epochs(tmp_path / METRICS_NAME) == []
    assert read_sessions(tmp_path) == []
    assert training_seconds(tmp_path) is None
    at(1, "run").save(RunFolder(tmp_path, tmp_path))
    assert newest_of(tmp_path) == tmp_path / CHECKPOINT_NAME


def test_lines_are_read_from_the_end_of_a_long_file(tmp_path):
    path = tmp_path / "lines"
    path.write_text("".join(f"{number}\n" for number in range(1000)))
    assert text_lines(path) == [str(number) for number in range(1000)]
    assert text_lines(path, last_bytes=7)[1:] == ["999"]
    assert text_lines(path, last_bytes=10**6) == text_lines(path)
    assert text_lines(tmp_path / "none") == []


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
