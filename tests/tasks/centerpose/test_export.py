import pytest

from cogkp.export.onnx_export import export_onnx, signature_of
from cogkp.inference.parity import verify_onnx
from cogkp.tasks.registry import build_task
from cogkp.training.seeding import seed_everything
from cogkp.workflows.opening import spread
from tests.builders.tiny_boxes import FOUND, SIDE, tiny_experiment


def test_the_export_check_of_all_families_accepts_the_decoded_network(tmp_path):
    seed_everything(0)
    task = build_task(tiny_experiment(tmp_path))
    module, spec = task.export_module(), task.export_spec(2)
    signature = signature_of(module, spec)
    assert signature.inputs[0].shape == (2, 3, SIDE, SIDE)
    assert {entry.name: entry.shape for entry in signature.outputs} == {
        "bboxes": (2, FOUND, 4),
        "scores": (2, FOUND, 1),
        "kps": (2, FOUND, 16),
        "clses": (2, FOUND, 1),
        "obj_scale": (2, FOUND, 3),
        "kps_displacement_mean": (2, FOUND, 16),
        "kps_heatmap_mean": (2, FOUND, 16),
    }
    batch = spread(task.datasets("evaluation"), 2)
    samples = {name: image.numpy() for name, image in zip(batch.ids, batch.image, strict=True)}
    found = verify_onnx(module, export_onnx(module, spec, tmp_path / "boxes.onnx"), signature, samples)
    assert {difference.output for difference in found} == set(type(module(batch.image))._fields)


def test_the_input_range_is_that_of_normalised_pixels(tmp_path):
    task = build_task(tiny_experiment(tmp_path))
    low, high = task.export_spec(1).facts["input"]["range"]
    image = spread(task.datasets("evaluation"), 4).image
    assert float(image.min()) == pytest.approx(low)  # black round the picture
    assert low < float(image.max()) <= high + 1e-6
