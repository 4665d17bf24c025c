"""What the page on serving shows and claims: a ROS 2 node, and what Isaac ROS makes of the outputs of our networks."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import attrs
import cv2
import numpy as np
import pytest

import cogkp
from cogkp.artifacts.manifest import read_manifest
from cogkp.config.centerpose.spec import BackboneSpec
from cogkp.geometry.cuboid import UNIT_POINTS
from cogkp.geometry.letterbox import letterbox
from cogkp.tasks.centerpose.detections import DecodedObjects, FilterRules, find_objects
from cogkp.tasks.centerpose.task import CenterPoseTask
from tests.builders.keypoint_model import keypoint_config, keypoint_task, scene
from tests.builders.model_files import write_onnx
from tests.builders.tiny_boxes import tiny_experiment
from tests.builders.triton_config import parse_config

PAGE = (Path(__file__).parents[2] / "docs" / "serving.md").read_text(encoding="utf-8")
(NODE,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
NODE_LINES = 60


def node_parts():
    scope = {"__name__": "points_node"}
    exec(compile(NODE, "points_node.py", "exec"), scope)
    return scope


def message(image, encoding, padding=0, big=False):
    """A sensor_msgs/Image as ROS 2 delivers it: bytes, row length, byte order."""
    raw = image.astype(image.dtype.newbyteorder(">" if big else "<")).reshape(len(image), -1).view(np.uint8)
    rows = np.pad(raw, ((0, 0), (0, padding)), constant_values=77)
    return SimpleNamespace(
        height=image.shape[0],
        width=image.shape[1],
        encoding=encoding,
        is_bigendian=int(big),
        step=rows.shape[1],
        data=memoryview(rows.tobytes()),
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    with cogkp.load(
        write_onnx(tmp_path_factory.mktemp("ros") / "tool.onnx", keypoint_task(keypoint_config()))
    ) as model:
        yield model


def test_the_node_is_short_and_loads_without_ros():
    assert len(NODE.splitlines()) <= NODE_LINES
    assert callable(node_parts()["main"])


@pytest.mark.parametrize("padding", [0, 5])
def test_the_node_finds_what_the_library_finds_in_every_encoding(model, padding):
    rgb = scene(4, (97, 61))
    grey = rgb[..., 1].copy()
    alpha = np.full((61, 97, 1), 200, np.uint8)
    deep = grey.astype(np.uint16) * 200 + 7  # whose bytes differ, so that their order matters
    cases = {
        "rgb8": (rgb, rgb),
        "bgr8": (rgb[..., ::-1], rgb),
        "rgba8": (np.concatenate([rgb, alpha], -1), rgb),
        "bgra8": (np.concatenate([rgb[..., ::-1], alpha], -1), rgb),
        "mono8": (grey, grey[..., None]),
        "mono16": (deep, deep[..., None]),
    }
    node = node_parts()
    assert set(cases) == set(node["KINDS"])
    for encoding, (stored, shown) in cases.items():
        for big in (False, True):
            asked = message(np.ascontiguousarray(stored), encoding, padding, big)
            np.testing.assert_array_equal(node["image_of"](asked)[..., : shown.shape[2]], shown, encoding)
            found, wanted = node["look"](model, asked), model(shown)
            np.testing.assert_allclose(found[:, :2], wanted.points, atol=1e-3, err_msg=encoding)
            np.testing.assert_allclose(found[:, 2], wanted.confidence, atol=1e-4, err_msg=encoding)


def test_the_node_names_an_encoding_that_it_does_not_know(model):
    with pytest.raises(ValueError, match="encoding bayer_rggb8: expected one of mono8"):
        node_parts()["look"](model, message(scene()[..., 0], "bayer_rggb8"))


def isaac_points(cells, size_wh, field):
    """Map cells as the decoder does: the affine map of three points, as its sources state it."""
    width, height = size_wh
    scale, middle = max(size_wh), np.array([width / 2, height / 2])
    grid = np.array([field / 2, field / 2])
    there = [middle, middle - np.array([0, scale / 2])]
    here = [grid, grid - np.array([0, field / 2])]
    for points in (there, here):
        apart = points[0] - points[1]
        points.append(points[1] + (-apart[1], apart[0]))
    affine = cv2.getAffineTransform(np.float32(here), np.float32(there))
    return cells @ affine[:, :2].T + affine[:, 2]


@pytest.mark.parametrize("size", [(640, 480), (480, 640), (512, 512), (1920, 1080)])
def test_isaac_ros_puts_corners_where_the_page_says(size):
    cells = np.random.default_rng(0).uniform(0, 128, (8, 2))
    one = np.ones((1, 1, 1), np.float32)
    corners = cells.reshape(1, 1, 16).astype(np.float32)
    decoded = DecodedObjects(
        bboxes=corners[..., :4],
        scores=one,
        kps=corners,
        clses=one,
        obj_scale=np.ones((1, 1, 3), np.float32),
        kps_displacement_mean=corners,
        kps_heatmap_mean=corners,
    )
    found = find_objects(decoded, letterbox(size, 512)[None], 4, FilterRules())
    np.testing.assert_allclose(isaac_points(cells, size, 128), found.uv_direct[0], atol=2e-3)


def test_isaac_ros_orders_corners_as_the_library_does():
    left, bottom, rear, right, top, front = -0.5, -0.5, -0.5, 0.5, 0.5, 0.5
    assert UNIT_POINTS[1:] == tuple((x, y, z) for x in (left, right) for y in (bottom, top) for z in (rear, front))


def test_an_export_has_the_names_and_shapes_that_isaac_ros_reads(tmp_path):
    config = tiny_experiment(tmp_path)
    config = attrs.evolve(
        config,
        model=attrs.evolve(config.model, backbone=BackboneSpec(width=0.25)),
        export=attrs.evolve(config.export, num_select=100),
    )
    path = write_onnx(tmp_path / "bike.onnx", CenterPoseTask(config), 1)
    rows = dict(re.findall(r"^\| `(\w+)` \| \((1, 100, \d+)\) \|", PAGE, re.MULTILINE))
    shapes = {name: tuple(map(int, shape.split(", "))) for name, shape in rows.items()}
    manifest = read_manifest(path)
    assert {each.name: each.shape for each in manifest.outputs} == shapes
    found = parse_config(cogkp.write_triton_repository(path, tmp_path / "repository").config.read_text())
    assert found.max_batch_size == 0
    assert {each.name: tuple(each.dims) for each in found.output} == shapes
    facts = manifest.facts
    assert {"mean", "std"} <= facts["input"].keys()
    assert {"scale", "category"} <= facts.keys()
