import attrs
import numpy as np
import pytest

from cogkp.artifacts.manifest import InputFacts, OutputFacts, Signature
from cogkp.errors import ModelError, ParityError
from cogkp.exporter.onnx_export import export_onnx, signature_of
from cogkp.inference.parity import Case, compare, parity_inputs, verify_onnx
from cogkp.inference.runner import Runner
from tests.builders.tiny_export import tiny_images, tiny_net, tiny_spec

IMAGE = InputFacts("input", (2, 1, 4, 4), range=(0.0, 1.0))
SIGNATURE = Signature(
    (IMAGE,), (OutputFacts("keypoints", (2, 1, 2), "px", 0.5), OutputFacts("score", (2, 3), "probability", 0.1))
)


class Formula(Runner):
    """A runner that computes a formula: points at the mean and the sum, scores of a constant; plus an offset."""

    name = "formula"

    def __init__(self, point_offset=(0.0, 0.0), score_offset=0.0, only_where=lambda image: True) -> None:
        super().__init__(SIGNATURE)
        self.offsets = {"keypoints": np.asarray(point_offset), "score": np.asarray(score_offset)}
        self.only_where = only_where

    def _load(self):
        pass

    def _unload(self):
        pass

    def _run(self, feed):
        images = feed["input"]
        plain = {"keypoints": np.stack([images.mean((1, 2, 3)), images.sum((1, 2, 3))], -1)[:, None]}
        plain["score"] = np.full((len(images), 3), 0.5)
        hit = np.array([float(self.only_where(image)) for image in images])
        return {name: values + np.multiply.outer(hit, self.offsets[name])[:, None] for name, values in plain.items()}


def report_of(candidate, cases=None):
    with Formula() as reference, candidate:
        return compare(reference, candidate, cases or parity_inputs(SIGNATURE, {}))


def test_equal_runners_differ_by_nothing():
    report = report_of(Formula())
    assert [(output.maximum, output.p99, output.mean) for output in report.outputs] == [(0, 0, 0), (0, 0, 0)]
    report.check()


def test_points_are_compared_by_distance_and_others_by_difference():
    points, score = report_of(Formula((0.3, 0.4), 0.05)).outputs
    np.testing.assert_allclose((points.maximum, points.p99, points.mean), 0.5)
    np.testing.assert_allclose((score.maximum, score.p99, score.mean), 0.05)


def test_the_worst_row_is_named_even_inside_a_batch():
    candidate = Formula((3.0, 4.0), only_where=lambda image: image[0, -1, 0] == 1.0 and image.sum() == 1.0)
    report = report_of(candidate)
    assert report.outputs[0].worst_input == "dot bottom left"
    assert report.outputs[0].mean < report.outputs[0].maximum
    with pytest.raises(
        ParityError, match=r"'keypoints', input 'dot bottom left': expected at most 0\.5 px, got 5 px"
    ) as caught:
        report.check()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_never_pass(bad):
    report = report_of(Formula((bad, 0.0)))
    assert report.outputs[0].maximum == np.inf
    with pytest.raises(ParityError, match="got inf px"):
        report.check()


def test_difference_equal_to_the_tolerance_passes():
    report_of(Formula((0.0, 0.5)), [Case(("a", "b"), {"input": np.zeros(IMAGE.shape, np.float32)})]).check()


def test_nothing_to_compare_on_is_an_error():
    with Formula() as reference, Formula() as candidate, pytest.raises(ModelError, match="nothing to compare"):
        compare(reference, candidate, [])


@pytest.mark.parametrize("batch", [1, 2, 4, 16])
def test_inputs_fill_every_batch_and_hold_each_picture(batch):
    signature = attrs.evolve(SIGNATURE, inputs=(attrs.evolve(IMAGE, shape=(batch, 1, 64, 64), range=(-1.0, 1.0)),))
    samples = tiny_images(3)
    cases = parity_inputs(signature, samples)
    seen = {name: image for case in cases for name, image in zip(case.rows, case.feed["input"], strict=True)}
    assert all(case.feed["input"].shape == (batch, 1, 64, 64) for case in cases)
    assert all(case.feed["input"].dtype == np.float32 for case in cases)
    assert set(seen) > {"grey", "black", "white", "noise", "checkerboard", "dot top left", *samples}
    np.testing.assert_array_equal(seen["image 1"], samples["image 1"])
    assert (seen["grey"].min(), seen["black"].max(), seen["white"].min()) == (0.0, -1.0, 1.0)
    assert np.argwhere(seen["dot bottom right"][0] == 1.0).tolist() == [[63, 63]]


def test_a_model_without_one_image_is_refused():
    with pytest.raises(ModelError, match="one image input"):
        parity_inputs(attrs.evolve(SIGNATURE, inputs=()), {})


@pytest.mark.parametrize("batch_size", [1, 2])
def test_an_exported_file_agrees_with_its_source(tmp_path, batch_size):
    net, spec = tiny_net(), tiny_spec(batch_size)
    path = export_onnx(net, spec, tmp_path / "m.onnx")
    differences = verify_onnx(net, path, signature_of(net, spec), tiny_images())
    assert [difference.output for difference in differences] == ["keypoints", "heatmaps", "mask_logits"]
    assert all(0 < difference.maximum <= difference.tolerance for difference in differences)


def test_a_file_of_other_weights_is_caught(tmp_path):
    spec = tiny_spec()
    path = export_onnx(tiny_net(seed=1), spec, tmp_path / "m.onnx")
    with pytest.raises(ParityError, match="onnxruntime disagrees with torch @ output 'keypoints'"):
        verify_onnx(tiny_net(), path, signature_of(tiny_net(), spec), {})
