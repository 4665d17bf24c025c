"""From a checkpoint to an ONNX file that was compared with its source."""

from __future__ import annotations

import json
from pathlib import Path

import attrs
import numpy as np
import onnx
import pytest
import torch

from cogkp.artifacts.checkpoint import Provenance
from cogkp.artifacts.manifest import read_manifest
from cogkp.config.centerpose.io import dump_experiment, load_experiment
from cogkp.config.centerpose.spec import BackboneSpec, CenterPoseConfig, ExportSection, InferenceSpec
from cogkp.data.images import read_colour
from cogkp.data.images.survey import evenly
from cogkp.errors import CheckpointError, ConfigError, ExportError
from cogkp.inference.onnxruntime_runner import OnnxRuntimeRunner
from cogkp.tasks.centerpose.processor import processor_of
from cogkp.tasks.registry import build_task
from cogkp.training.seeding import seed_everything
from cogkp.workflows.export import export
from cogkp.workflows.families.centerpose.engine import available_images
from cogkp.workflows.families.centerpose.model import open_experiment_checkpoint
from cogkp.workflows.families.centerpose.training import CORNER_NAMES
from cogkp.workflows.predict import infer
from cogkp.workflows.setup import restored_task
from tests.builders.model_files import write_checkpoint
from tests.builders.tiny_boxes import FOUND, tiny_experiment
from tests.builders.warps import letterbox

WIDTH, HEIGHT = 96, 64


def narrow_experiment(folder: Path) -> CenterPoseConfig:
    """An experiment whose network is quickly exported."""
    config = tiny_experiment(folder)
    return attrs.evolve(config, model=attrs.evolve(config.model, backbone=BackboneSpec(width=0.25)))


def saved(task, path: Path, points=CORNER_NAMES) -> Path:
    """Write a checkpoint as a training leaves it."""
    config = dump_experiment(task.config) if points == CORNER_NAMES else {}
    provenance = Provenance(config=config, options={}, points=points, num_classes=None, data=())
    return write_checkpoint(path, task.model.state_dict(), provenance)


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    seed_everything(0)
    config = narrow_experiment(folder)
    checkpoint = saved(build_task(config), folder / "model_epoch_000.pth")
    export = ExportSection(checkpoint=str(checkpoint), input_width=WIDTH, input_height=HEIGHT, num_select=FOUND)
    return attrs.evolve(config, results_dir=str(folder / "results"), export=export)


def with_export(config, **changes):
    return attrs.evolve(config, export=attrs.evolve(config.export, **changes))


def status_of(folder):
    return [json.loads(line) for line in (folder / "status.json").read_text().splitlines()]


@pytest.fixture(scope="module")
def result(experiment):
    return export(experiment)


def test_the_file_lies_beside_the_checkpoint_and_was_compared_on_real_pictures(experiment, result):
    assert result.onnx == Path(experiment.export.checkpoint).with_suffix(".onnx")
    assert (result.batch_size, result.samples) == (None, 4)
    manifest = read_manifest(result.onnx)
    assert manifest.opset == onnx.load(result.onnx).opset_import[0].version == 16
    assert manifest.inputs[0].shape == ("batch_size", 3, HEIGHT, WIDTH)
    assert manifest.origin.checkpoint == experiment.export.checkpoint
    assert set(result.parity) == {each.output for each in manifest.parity} > {"hm", "kps"}
    assert all(off <= 1e-4 for off in result.parity.values())
    assert result.units["kps"] == "cell"


def test_the_folder_explains_itself(experiment, result):
    assert result.folder == Path(experiment.results_dir) / "export"
    assert load_experiment(result.folder / "experiment.yaml") == experiment
    lines = status_of(result.folder)
    assert [line["status"] for line in lines[:2]] == ["STARTED", "SUCCESS"]
    assert lines[1]["kpi"]["parity_kps"] == result.parity["kps"]


def test_another_size_than_that_of_the_training_finds_objects_in_its_own_grid(experiment, result):
    view = processor_of(read_manifest(result.onnx).facts, "").view
    paths = available_images(experiment)
    image = np.stack([view.of(read_colour(paths[row]))[0] for row in evenly(len(paths), 3)])
    assert image.shape == (3, 3, HEIGHT, WIDTH)
    with OnnxRuntimeRunner(result.onnx, threads=1) as runner:
        found = runner.infer({"input": image})
    middle = found["bboxes"].reshape(3, FOUND, 2, 2).mean(2)
    assert (middle[..., 0] < WIDTH / 4 + 1).all()
    assert (middle[..., 1] < HEIGHT / 4 + 1).all()


def test_an_oblong_file_sees_pictures_whole_and_says_what_its_network_says(experiment, result, tmp_path):
    """The file alone says its size; the network is asked on its own maps, and both answer in pixels of the image."""
    section = InferenceSpec(
        trt_engine=str(result.onnx), results_dir=str(tmp_path), use_pnp=False, visualization_threshold=1e-6
    )
    data = attrs.evolve(experiment.dataset, inference_data=experiment.dataset.test_data)
    found = infer(attrs.evolve(experiment, inference=section, dataset=data))
    assert (found.images, found.problems) == (4, ())
    asked = attrs.evolve(experiment, inference=attrs.evolve(section, num_select=FOUND))
    task = restored_task(asked, open_experiment_checkpoint(Path(experiment.export.checkpoint), asked))
    codec = task.codec.for_input_size((WIDTH, HEIGHT))
    view = processor_of(read_manifest(result.onnx).facts, "").view
    for path in available_images(experiment):
        with torch.inference_mode():
            maps = task.model.eval()(torch.from_numpy(view.of(read_colour(path))[0])[None])
        wanted = codec.decode(maps, letterbox((96, 72), (WIDTH, HEIGHT)).matrix[None])
        said = json.loads((tmp_path / f"{path.stem}.json").read_text())["objects"]
        assert len(said) > 0
        np.testing.assert_allclose([each["bbox"] for each in said], wanted.box_uv, atol=1e-2)


def test_an_existing_file_is_kept(experiment, result):
    with pytest.raises(ExportError, match=r"there is such a file already @ .*model_epoch_000\.onnx.*export\.onnx_file"):
        export(experiment)
    assert read_manifest(result.onnx)
    assert status_of(result.folder)[-1]["status"] == "FAILURE"


@pytest.mark.parametrize(
    ("changes", "kind", "told"),
    [
        ({"checkpoint": "absent.pth"}, CheckpointError, "no such checkpoint"),
        ({"num_select": 100_000, "onnx_file": "{folder}/a.onnx"}, ConfigError, "more objects than cells"),
        ({"opset_version": 99, "onnx_file": "{folder}/b.onnx"}, ExportError, "cannot be exported"),
    ],
)
def test_what_cannot_be_exported_is_told_and_leaves_nothing(experiment, tmp_path, changes, kind, told):
    written = {key: value.format(folder=tmp_path) for key, value in changes.items() if isinstance(value, str)}
    with pytest.raises(kind, match=told):
        export(with_export(experiment, **{**changes, **written}))
    assert not list(tmp_path.glob("*.onnx"))


def test_a_checkpoint_of_the_other_family_is_refused(experiment, tmp_path):
    foreign = saved(build_task(experiment), tmp_path / "tool.pth", points=("tip", "end"))
    with pytest.raises(CheckpointError, match=r"another family @ .*tool\.pth.*tip, end"):
        export(with_export(experiment, checkpoint=str(foreign)))


def test_a_place_for_results_is_needed(experiment):
    with pytest.raises(ConfigError, match="results_dir"):
        export(attrs.evolve(experiment, results_dir=None))
