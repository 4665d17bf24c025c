"""What ``s6 cog keypoint --deploy`` makes of its flags, down to the file."""

from __future__ import annotations

import json
import sys

import attrs
import onnx
import pytest

from cogkp.config.centerpose.io import write_experiment
from cogkp.config.centerpose.spec import ExportSection
from cogkp.config.keypoint.io import dump
from cogkp.tasks.registry import build_task
from tests.builders.command import run_s6
from tests.builders.tiny_boxes import FOUND
from tests.builders.tiny_keypoints import tiny_config
from tests.workflows.test_centerpose_export import narrow_experiment, saved


@pytest.fixture
def s6(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    return lambda *words: run_s6(monkeypatch, capfd, "cog", *words)


@pytest.fixture
def keypoint(s6, tmp_path):
    (tmp_path / "c.json").write_text(json.dumps(dump(tiny_config(tmp_path / "data"))))
    return lambda *words: s6("keypoint", "-c", "c.json", "--no-engine", "--json", *words)


@pytest.fixture
def deployed(keypoint, tmp_path):
    def deploy(*words):
        code, out, err = keypoint("--deploy", "--deploy-untrained", *words)
        assert code == 0, err
        told = json.loads(out)["deploy"]
        return onnx.load(tmp_path / told["onnx"]), told

    return deploy


def first_axis(model):
    axis = model.graph.input[0].type.tensor_type.shape.dim[0]
    return axis.dim_param or axis.dim_value


@pytest.mark.parametrize(
    ("words", "axis", "mark"), [((), 1, "_b1_"), (("0",), "batch_size", "_b0_"), (("3",), 3, "_b3_")]
)
def test_the_batch_is_fixed_to_1_to_a_number_or_not_at_all(deployed, words, axis, mark):
    model, told = deployed(*(("--deploy-batch-size", *words) if words else ()))
    assert first_axis(model) == axis
    assert mark in told["onnx"]


def is_of_dynamo(model):
    """Whether the exporter over torch.export wrote it, which shows in the names of its nodes."""
    return any(node.name.startswith("node_") for node in model.graph.node)


@pytest.mark.parametrize(("words", "dynamo"), [((), False), (("legacy",), False), (("dynamo",), True)])
def test_the_exporter_is_the_one_that_was_named(deployed, words, dynamo):
    if dynamo:
        pytest.importorskip("onnxscript", reason="onnxscript (cogkp[export]) is not installed")
    model, told = deployed(*(("--onnx-exporter", *words) if words else ()))
    assert is_of_dynamo(model) == dynamo
    assert max(told["parity"].values()) < 1e-3


@pytest.mark.parametrize("exporter", ["legacy", "dynamo"])
def test_an_experiment_is_exported_over_the_named_one(s6, tmp_path, exporter):
    pytest.importorskip("onnxscript", reason="onnxscript (cogkp[export]) is not installed")
    config = narrow_experiment(tmp_path)
    saved(build_task(config), tmp_path / "m.pth")
    section = ExportSection(checkpoint="m.pth", input_width=96, input_height=64, num_select=FOUND)
    write_experiment(tmp_path / "e.yaml", attrs.evolve(config, export=section, results_dir="out"))
    code, out, err = s6("centerpose", "export", "-e", "e.yaml", "--json", "--onnx-exporter", exporter)
    assert code == 0, err
    model = onnx.load(tmp_path / json.loads(out)["onnx"])
    assert is_of_dynamo(model) == (exporter == "dynamo")
    assert ("export.opset_version 16" in err) == (exporter == "dynamo")


def test_without_onnxscript_one_line_ends_the_command_before_any_training(keypoint, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    code, _, err = keypoint("--train", "--deploy", "--onnx-exporter", "dynamo")
    assert code == 1
    (line,) = err.splitlines()
    assert "cogkp[export]" in line
    assert not (tmp_path / "checkpoints").exists()


def test_an_unknown_exporter_is_named(keypoint):
    code, _, err = keypoint("--deploy", "--onnx-exporter", "fast")
    assert code == 2
    assert "--onnx-exporter" in err
