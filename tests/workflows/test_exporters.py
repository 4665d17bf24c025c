"""Whichever exporter of torch wrote it: the same facts beside the same numbers, for every family."""

from __future__ import annotations

import json

import attrs
import numpy as np
import onnx
import pytest

import cogkp
from cogkp.artifacts.manifest import read_manifest
from cogkp.config.centerpose.spec import ExportSection
from cogkp.errors import ExportError
from cogkp.inference.onnxruntime_runner import OnnxRuntimeRunner
from cogkp.tasks.registry import build_task
from cogkp.training.seeding import seed_everything
from tests.builders.tiny_boxes import FOUND
from tests.builders.tiny_keypoints import tiny_config
from tests.workflows.test_centerpose_export import HEIGHT, WIDTH, narrow_experiment, saved

BOTH = ("legacy", "dynamo")
OWN = ("created", "onnx_sha256", "parity", "opset", "origin")


def keypoint(folder, segmentation, batch_size):
    config = tiny_config(folder / "data", segmentation=segmentation)

    def export(exporter):
        options = cogkp.ExportOptions(path=str(folder / f"{exporter}.onnx"), engine=False, batch_size=batch_size)
        return cogkp.export(config, options, untrained=True, exporter=exporter)

    return export


def centerpose(folder, backbone, batch_size):
    seed_everything(0)
    config = narrow_experiment(folder)
    if backbone != "DLA34":
        model = attrs.evolve(config.model, backbone=attrs.evolve(config.model.backbone, model_type=backbone, width=1.0))
        config = attrs.evolve(config, model=model)
    checkpoint = saved(build_task(config), folder / "model_epoch_000.pth")

    def export(exporter):
        section = ExportSection(
            checkpoint=str(checkpoint),
            onnx_file=str(folder / f"{exporter}.onnx"),
            batch_size=batch_size,
            input_width=WIDTH,
            input_height=HEIGHT,
            num_select=FOUND,
        )
        asked = attrs.evolve(config, export=section, results_dir=str(folder / exporter))
        return cogkp.export(asked, exporter=exporter)

    return export


CASES = {
    "keypoints, batch 1": (keypoint, False, 1, 17),
    "keypoints and mask, any batch": (keypoint, True, 0, 17),
    "boxes, any batch": (centerpose, "DLA34", -1, 18),
    "boxes, batch 2": (centerpose, "DLA34", 2, 18),
}


@pytest.fixture(scope="module", params=CASES)
def exported(request, tmp_path_factory):
    pytest.importorskip("onnxscript", reason="onnxscript (cogkp[export]) is not installed")
    family, shape, batch_size, opset = CASES[request.param]
    export = family(tmp_path_factory.mktemp("exporters"), shape, batch_size)
    return {each: export(each) for each in BOTH}, opset


def test_both_pass_the_same_comparison(exported):
    (legacy, dynamo), _ = exported[0].values(), exported[1]
    assert legacy.parity.keys() == dynamo.parity.keys()
    assert (legacy.samples, legacy.batch_size, legacy.units) == (dynamo.samples, dynamo.batch_size, dynamo.units)
    assert max(dynamo.parity.values()) < 1e-3


def test_manifest_and_metadata_say_the_same(exported):
    found, opset = exported
    plain = {each: json.loads(result.manifest.read_text()) for each, result in found.items()}
    assert read_manifest(found["dynamo"].onnx).opset == opset
    told = {each: {key: value for key, value in said.items() if key not in OWN} for each, said in plain.items()}
    assert told["legacy"] == told["dynamo"]
    models = {each: onnx.load(result.onnx) for each, result in found.items()}
    keys = {each: {pair.key for pair in model.metadata_props} for each, model in models.items()}
    assert keys["legacy"] == keys["dynamo"]
    ends = {each: str([*model.graph.input, *model.graph.output]) for each, model in models.items()}
    assert ends["legacy"] == ends["dynamo"]
    assert models["dynamo"].opset_import[0].version == opset


def test_the_files_answer_alike(exported):
    results = [result.onnx for result in exported[0].values()]
    signature = read_manifest(results[0]).signature
    first = signature.inputs[0]
    rows = first.shape[0] if isinstance(first.shape[0], int) else 3
    image = np.random.default_rng(0).uniform(*first.range, (rows, *first.shape[1:])).astype(np.float32)
    answers = []
    for path in results:
        with OnnxRuntimeRunner(path, signature) as runner:
            answers.append(runner.infer({first.name: image}))
    for entry in signature.outputs:
        np.testing.assert_allclose(answers[0][entry.name], answers[1][entry.name], atol=10 * entry.tolerance)


def test_an_exporter_that_does_not_exist_is_refused_before_anything_is_written(tmp_path):
    export = keypoint(tmp_path, False, 1)
    with pytest.raises(ExportError, match="there is no such exporter @ exporter: expected 'legacy' or 'dynamo'"):
        export("tensorflow")
    assert not list(tmp_path.glob("*.onnx"))


def test_a_stated_operator_set_that_is_new_enough_is_kept_and_an_old_one_is_raised_with_a_warning(tmp_path, caplog):
    from cogkp.workflows.families.centerpose import DYNAMO_OPSET, _opset

    assert _opset(19, "dynamo") == 19
    assert _opset(16, "legacy") == 16
    assert not caplog.records
    assert _opset(16, "dynamo") == DYNAMO_OPSET == 18
    assert "export.opset_version 16" in caplog.text
