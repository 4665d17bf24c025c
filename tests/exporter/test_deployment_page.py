"""The code of the deployment page runs as it stands, on files that were just deployed."""

import re
from functools import partial
from pathlib import Path

import attrs
import cv2
import numpy as np
import pytest

import cogkp
from cogkp.artifacts.manifest import Origin
from cogkp.config.images import ImageFiles
from cogkp.exporter.deploy import deploy
from cogkp.inference.parity import verify_onnx
from tests.builders.keypoint_model import keypoint_config, keypoint_task, scene
from tests.builders.model_files import write_onnx
from tests.builders.tiny_export import TinyTask

PAGE = Path(__file__).parents[2] / "docs" / "deployment.md"
SNIPPETS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
READER_LINES = 40


def test_the_snippets_of_the_page_run(tmp_path, monkeypatch, capsys):
    deploy(
        TinyTask(),
        onnx_path=tmp_path / "tool.release.onnx",
        engine_path=None,
        precision="fp32",
        batch_size=1,
        builder="auto",
        origin=Origin(config_sha256="00" * 32),
        verify=partial(verify_onnx, samples={}),
        log=lambda line: None,
    )
    monkeypatch.chdir(tmp_path)
    scope: dict[str, object] = {}
    first, _, second, *_ = SNIPPETS
    exec(first, scope)
    assert capsys.readouterr().out.splitlines() == [
        "keypoints (1, 2, 2) px",
        "heatmaps (1, 2, 16, 16) logit",
        "mask_logits (1, 3, 64, 64) logit",
    ]
    exec(second, scope)
    assert set(scope["outputs"]) == {"keypoints", "heatmaps", "mask_logits"}


REGIONS = {
    "frame": ({"region": "frame"}, False),
    "fixed box": ({"region": "box", "box": (10.0, 7.0, 80.0, 61.0)}, False),
    "points": ({"region": "points", "margin": 0.2, "min_size_px": 20.0}, True),
}
SIZES = (
    (120, 90),
    (121, 91),
    (90, 150),
    (97, 61),
    (13, 9),
    (1, 1),
    (320, 242),
    (640, 480),
    (1283, 961),
    (64, 64),
    (2600, 1951),
)
BOXES = {"whole": (0.0, 0.0, 1.0, 1.0), "part": (0.21, 0.3, 0.5, 0.47), "beyond": (-0.4, 0.2, 0.3, 1.3)}
"""Left, top, right, bottom as fractions of the image."""


def boxes_of(size_wh):
    width, height = size_wh
    real = [(left * width, top * height, right * width, bottom * height) for left, top, right, bottom in BOXES.values()]
    edges = 20, 20, 20 + 80 / 1.4, 40  # half a source pixel from where a pixel of the seen part begins
    return [*real, (width // 2, height // 2, width // 2, height // 2), *([edges] if min(size_wh) > 40 else [])]


@pytest.fixture(params=REGIONS)
def reader(request, tmp_path, monkeypatch):
    """The page's function on an exported model, the library on the same, and whether both take a box."""
    crop, needs_box = REGIONS[request.param]
    path = write_onnx(tmp_path / "keypoint.release.onnx", keypoint_task(keypoint_config(**crop)))
    monkeypatch.chdir(tmp_path)
    scope = {}
    exec(SNIPPETS[1], scope)
    with cogkp.load(path, threads=1) as model:
        yield scope["points"], model, needs_box


def test_the_reader_is_short_and_needs_no_more_than_it_says():
    assert len([line for line in SNIPPETS[1].splitlines() if line.strip()]) <= READER_LINES
    imported = set(re.findall(r"^(?:import|from) (\w+)", SNIPPETS[1], re.MULTILINE))
    assert imported == {"json", "pathlib", "cv2", "numpy", "onnxruntime"}


def test_the_reader_finds_the_points_of_the_library_in_images_of_every_size(reader):
    points, model, needs_box = reader
    for seed, size in enumerate(SIZES):
        image = scene(seed, size)  # BGR
        for box in boxes_of(size) if needs_box else [None]:
            wanted = model(image, bgr=True, **({} if box is None else {"box": box})).points
            np.testing.assert_allclose(points(image, box), wanted, rtol=0, atol=1e-4, err_msg=f"{size} {box}")


def test_the_reader_takes_grey_transparent_and_16_bit_files(reader, tmp_path):
    points, model, needs_box = reader
    asked = {"box": (20, 15, 90, 70)} if needs_box else {}
    colour = scene(1)
    grey = scene(2, channels=1)[..., 0]
    kinds = {
        "grey": grey,
        "deep": grey.astype(np.uint16) * 257,
        "transparent": np.dstack([colour, np.full(colour.shape[:2], 9, np.uint8)]),
    }
    for name, pixels in kinds.items():
        file = tmp_path / f"{name}.png"
        cv2.imwrite(str(file), pixels)
        found = points(cv2.imread(str(file), cv2.IMREAD_UNCHANGED), *asked.values())
        np.testing.assert_allclose(found, model(file, **asked).points, rtol=0, atol=1e-4, err_msg=name)


def test_the_reader_spreads_16_bits_by_the_levels_of_the_manifest(tmp_path, monkeypatch):
    config = attrs.evolve(keypoint_config(), images=ImageFiles(levels_16bit=(100, 4000)))
    path = write_onnx(tmp_path / "keypoint.release.onnx", keypoint_task(config))
    monkeypatch.chdir(tmp_path)
    scope = {}
    exec(SNIPPETS[1], scope)
    deep = scene(3, channels=1)[..., 0].astype(np.uint16) * 17
    with cogkp.load(path, threads=1) as model:
        found = scope["points"](deep)
        np.testing.assert_allclose(found, model(deep).points, rtol=0, atol=1e-4)
    assert np.abs(found - scope["points"]((deep // 17).astype(np.uint8))).max() > 0.01


def test_the_reader_spreads_each_colour_before_it_averages(tmp_path, monkeypatch):
    config = attrs.evolve(keypoint_config(), images=ImageFiles(levels_16bit=(100, 3000)))
    path = write_onnx(tmp_path / "keypoint.release.onnx", keypoint_task(config))
    monkeypatch.chdir(tmp_path)
    scope = {}
    exec(SNIPPETS[1], scope)
    deep = scene(3).astype(np.uint16) * 17
    outside = ((deep < 100) | (deep > 3000)).mean(axis=2)
    assert ((outside > 0) & (outside < 1)).mean() > 0.05, (
        "some colours of a pixel lie outside the levels, and some inside"
    )
    with cogkp.load(path, threads=1) as model:
        np.testing.assert_allclose(scope["points"](deep), model(deep, bgr=True).points, rtol=0, atol=1e-4)


def test_a_manifest_says_who_brings_the_box(reader):
    _, model, needs_box = reader
    crop = model.facts["crop"]
    assert crop["needs_box"] is needs_box
    assert ("gives left, top, right, bottom" in crop["box_rule"]) is needs_box
    assert {"placement", "outside", "shrinking", "interpolation", "pixel_rule"} <= crop.keys()
