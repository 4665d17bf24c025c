"""What ``s6 cog keypoint --deploy`` makes of its flags, down to the file."""

from __future__ import annotations

import json

import onnx
import pytest

from cogkp.config.keypoint.io import dump
from tests.builders.command import run_s6
from tests.builders.tiny_keypoints import tiny_config


@pytest.fixture
def deployed(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.json").write_text(json.dumps(dump(tiny_config(tmp_path / "data"))))

    def deploy(*words):
        fixed = ("--deploy", "--deploy-untrained", "--no-engine", "--json")
        code, out, err = run_s6(monkeypatch, capfd, "cog", "keypoint", "-c", "c.json", *fixed, *words)
        assert code == 0, err
        return onnx.load(tmp_path / json.loads(out)["deploy"]["onnx"]), json.loads(out)["deploy"]

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
