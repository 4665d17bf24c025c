"""Exported models of any origin as predictors: whatever number of images comes, each meets the model once."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from cogkp.artifacts.manifest import InputFacts, OutputFacts, Signature, write_manifest
from cogkp.artifacts.names import manifest_path
from cogkp.errors import ArtifactError, EngineError, ModelError
from cogkp.inference.exported import open_exported, runner_predictor
from cogkp.inference.runner import Runner
from tests.builders.tiny_export import manifest_of

SIDE = 4


class Sums(NamedTuple):
    total: torch.Tensor


class Adding(Runner):
    """Puts out the sum of each image, and remembers how many it was given."""

    name = "adding"

    def __init__(self, batch, limits=None):
        shape = (batch, 1, SIDE, SIDE)
        super().__init__(Signature((InputFacts("input", shape),), (OutputFacts("total", (batch, 1), "", 0.0),)))
        self.limits = limits
        self.seen = []

    @property
    def rows(self):
        return self.limits or super().rows

    def _load(self):
        pass

    def _unload(self):
        pass

    def infer(self, feed):
        return self._run(feed)

    def _run(self, feed):
        self.seen.append(len(feed["input"]))
        return {"total": feed["input"].sum((1, 2, 3))[:, None].astype(np.float16)}


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9), st.integers(1, 5), st.integers(0, 4))
def test_every_picture_meets_the_model_once_in_groups_it_takes(pictures, fewest, more):
    images = torch.arange(pictures).float()[:, None, None, None].expand(-1, 1, SIDE, SIDE)
    fixed, ranged = Adding(fewest), Adding("any", (fewest, fewest + more))
    for runner in (fixed, ranged, Adding("any")):
        found = runner_predictor(runner, Sums)(images)
        assert found.total.dtype is torch.float32
        assert found.total[:, 0].tolist() == [SIDE * SIDE * index for index in range(pictures)]
    assert set(fixed.seen) == {fewest}
    assert all(fewest <= count <= fewest + more for count in ranged.seen)


def test_a_model_that_takes_or_gives_something_else_is_refused():
    class Others(NamedTuple):
        boxes: torch.Tensor

    with pytest.raises(ModelError, match="has no output boxes"):
        runner_predictor(Adding(1), Others)
    runner = Adding(1)
    runner.signature = Signature((InputFacts("input", (1, 3)),), runner.signature.outputs)
    with pytest.raises(ModelError, match="takes no image"):
        runner_predictor(runner, Sums)


def test_a_file_of_another_program_is_known_by_its_own_names(tmp_path):
    path = tmp_path / "sum.onnx"
    graph = helper.make_graph(
        [
            helper.make_node("ReduceSum", ["input"], ["all"], keepdims=0),
            helper.make_node("Mul", ["input", "all"], ["out"]),
        ],
        "sum",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [2, 1, SIDE, SIDE])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [2, 1, SIDE, SIDE])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)], ir_version=8), path)
    found = open_exported(path)
    assert (found.facts, found.checkpoint, found.runner.rows) == ({}, "", (2, 2))
    with found.runner as runner:
        ones = np.ones((2, 1, SIDE, SIDE), np.float32)
        assert (runner.infer({"input": ones})["out"] == 2 * SIDE * SIDE).all()
    with pytest.raises(ArtifactError, match="no such model"):
        open_exported(tmp_path / "none.onnx")


def test_an_engine_built_elsewhere_is_known_by_the_manifest_of_its_onnx_file(tmp_path):
    engine, manifest = tmp_path / "box.engine", manifest_of(Adding("batch_size").signature)
    engine.write_bytes(b"plan")
    copied = write_manifest(manifest, tmp_path / "model.onnx").rename(tmp_path / "box.manifest.json")
    found = open_exported(engine)
    assert copied == manifest_path(tmp_path / "box.onnx")
    assert (found.facts, found.checkpoint) == (manifest.facts, manifest.origin.checkpoint)
    assert (found.runner.signature, found.runner.rows) == (manifest.signature, (1, None))
    copied.unlink()
    with pytest.raises(ArtifactError, match=r"no manifest @ .*box\.engine: expected box\.engine\.manifest\.json"):
        open_exported(engine)


@pytest.mark.skipif(torch.cuda.is_available(), reason="shows what happens without a GPU")
def test_it_is_opened_on_a_gpu_only(tmp_path):
    engine = tmp_path / "box.engine"
    engine.write_bytes(b"plan")
    write_manifest(manifest_of(Adding("batch_size").signature), tmp_path / "box.onnx")
    with pytest.raises(EngineError, match="NVIDIA GPU only"):
        open_exported(engine).runner.open()
