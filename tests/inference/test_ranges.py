"""Ranges of values inside a network: the least squared error, and the same whatever the order of the images."""

import numpy as np
import onnx
import pytest
import torch

from cogkp.errors import ArtifactError
from cogkp.exporter.int8_onnx import read_by_convolutions
from cogkp.exporter.onnx_export import export_onnx
from cogkp.inference.ranges import LEVELS, Magnitudes, largest_values
from tests.builders.tiny_export import tiny_images, tiny_net, tiny_spec

DRAW = np.random.default_rng(0)


def magnitudes(*parts):
    found = Magnitudes()
    for part in parts:
        found.add(part)
    return found


def squared_error(values, top):
    step = top / LEVELS
    return float(np.square(values - np.clip(np.rint(values / step), -LEVELS, LEVELS) * step).mean())


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [
        (DRAW.uniform(-1, 1, 200_000), 0.98, 1.0),
        # 8 bits of a normal distribution: about four standard deviations (Banner et al. give 3.92).
        (DRAW.normal(0, 1, 1_000_000), 3.6, 4.4),
        # Cutting 60 off at c costs (60 - c)^2, and the steps of n others n (c / 127)^2 / 12: least at 29.5.
        (np.concatenate([DRAW.normal(0, 1, 200_000), [60.0]]), 28.0, 31.0),
    ],
)
def test_the_error_is_least(values, low, high):
    top = magnitudes(values).best()
    assert low <= top <= high
    tried = [squared_error(values, np.abs(values).max() * share) for share in np.linspace(0.02, 1, 50)]
    assert squared_error(values, top) <= 1.05 * min(tried)


def test_pictures_may_come_in_any_order():
    parts = [DRAW.normal(0, spread, 50_000) for spread in (0.1, 1.0, 3.0)]
    tops = [magnitudes(*order).best() for order in (parts, parts[::-1])]
    assert tops[0] == pytest.approx(tops[1], rel=0.05)
    assert magnitudes(*parts).counts.sum() == sum(map(len, parts))


def test_nothing_and_what_is_not_finite():
    assert magnitudes(np.zeros(10)).best() == 0.0
    assert magnitudes().best() == 0.0
    assert magnitudes(np.zeros(3), np.array([np.nan, np.inf, 2.0])).best() == pytest.approx(2.0, rel=0.02)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return export_onnx(tiny_net(), tiny_spec(), tmp_path_factory.mktemp("ranges") / "m.onnx")


def test_values_inside_are_those_of_torch(path):
    net, images = tiny_net(), np.stack(list(tiny_images(3).values()))
    names = read_by_convolutions(onnx.load(path))
    assert names[0] == "input"
    found = largest_values(path, names, [image[None] for image in images])
    with torch.no_grad():
        first = net.down1(torch.from_numpy(images))
        inside = {names[0]: torch.from_numpy(images), names[1]: first, names[2]: net.down2(first)}
    for name, values in inside.items():
        expected = magnitudes(values.numpy()).best()
        assert found[name] == pytest.approx(expected, rel=0.05)
    assert set(found) == set(names)


def test_a_file_that_cannot_be_used_is_told(tmp_path):
    (tmp_path / "odd.onnx").write_bytes(b"no model")
    with pytest.raises(ArtifactError, match=r"ONNX file cannot be used @ .*odd\.onnx"):
        largest_values(tmp_path / "odd.onnx", ["input"], [])
