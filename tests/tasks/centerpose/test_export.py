import attrs
import pytest

from cogkp.config.centerpose.spec import BackboneSpec
from cogkp.exporter.onnx_export import Tracing, export_onnx, signature_of
from cogkp.inference.parity import verify_onnx
from cogkp.models.centerpose import CenterPoseOutputs
from cogkp.tasks.centerpose.detections import DecodedObjects
from cogkp.tasks.registry import build_task
from cogkp.training.seeding import seed_everything
from cogkp.workflows.setup import spread
from tests.builders.tiny_boxes import FOUND, SIDE, tiny_experiment


@pytest.mark.parametrize("backbone", ["DLA34", pytest.param("fan_small", marks=pytest.mark.slow)])
def test_the_export_check_of_all_families_accepts_the_decoded_network(tmp_path, backbone):
    """Within 1e-4 cells, one and two images at a time, flat images included."""
    seed_everything(0)
    config = tiny_experiment(tmp_path)
    task = build_task(
        attrs.evolve(config, model=attrs.evolve(config.model, backbone=BackboneSpec(model_type=backbone)))
    )
    module, spec = task.export_module(), task.export_spec(2)
    signature = signature_of(module, spec, any_batch=True)
    rows, cells = "batch_size", SIDE // 4
    assert signature.inputs[0].shape == (rows, 3, SIDE, SIDE)
    assert {entry.name: entry.shape for entry in signature.outputs} == {
        "bboxes": (rows, FOUND, 4),
        "scores": (rows, FOUND, 1),
        "kps": (rows, FOUND, 16),
        "clses": (rows, FOUND, 1),
        "obj_scale": (rows, FOUND, 3),
        "kps_displacement_mean": (rows, FOUND, 16),
        "kps_heatmap_mean": (rows, FOUND, 16),
    }
    assert [entry.shape for entry in signature.inner[:2]] == [(rows, 1, cells, cells), (rows, 2, cells, cells)]
    batch = spread(task.datasets("evaluation"), 2)
    samples = {name: image.numpy() for name, image in zip(batch.ids, batch.image, strict=True)}
    path = export_onnx(module, spec, tmp_path / "boxes.onnx", how=Tracing(16, any_batch=True))
    found = {difference.output: difference for difference in verify_onnx(module, path, signature, samples)}
    assert set(found) == {*CenterPoseOutputs._fields, *DecodedObjects._fields}
    assert all(found[name].maximum <= 1e-4 for name in found)


def test_the_input_range_is_that_of_normalised_pixels(tmp_path):
    task = build_task(tiny_experiment(tmp_path))
    low, high = task.export_spec(1).facts["input"]["range"]
    image = spread(task.datasets("evaluation"), 4).image
    assert float(image.min()) == pytest.approx(low)  # black round the image
    assert low < float(image.max()) <= high + 1e-6
