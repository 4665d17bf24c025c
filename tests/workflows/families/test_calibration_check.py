"""Looking at a calibration: a report, a drawing, a conversion, and the verdict of labelled pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import cv2
import numpy as np
import pytest
import torch

import cogkp
from cogkp.data.calibration import FORMATS, read_calibration, write_calibration
from cogkp.data.keypoint.structured import write_structured
from cogkp.errors import DataError, OutputError
from tests.builders.calibrations import rectified, same, stereo_entries, toed_in, write_storage

POINTS = ("tip", "end")


def record(rig: Any, generator: np.random.Generator, shrink: int = 1) -> dict[str, Any]:
    """One labelled line of small grey images of the calibrated size, or a fraction of it."""
    xyz = generator.uniform((-1.0, -1.0, 6.0), (1.0, 1.0, 9.0), (len(POINTS), 3))
    seen = rig.project(torch.tensor(xyz)).uv.numpy()
    uv = (seen + 0.5) / shrink - 0.5
    picture = np.zeros((480 // shrink, 640 // shrink), np.uint8)
    return {
        name: {"image": picture, **dict(zip(POINTS, view.tolist(), strict=True))}
        for name, view in zip(("LL", "LR"), uv, strict=True)
    }


def recording(root: Path, rig: Any, shrink: int = 1) -> cogkp.KeypointConfig:
    generator = np.random.default_rng(0)
    write_structured(root, [record(rig, generator, shrink) for _ in range(6)])
    config = cogkp.KeypointConfig.default()
    mappings = attrs.evolve(
        config.data_mappings,
        x=("LL.image", "LR.image"),
        y=tuple(tuple(f"{name}.{point}" for point in POINTS) for name in ("LL", "LR")),
    )
    return attrs.evolve(config, base_dir=(str(root),), data_mappings=mappings)


@pytest.fixture
def opencv(tmp_path: Path) -> Path:
    return write_storage(tmp_path / "stereo.yml", {**stereo_entries(toed_in()), "imageSize": np.array([640, 480])})


def test_a_foreign_file_is_reported_drawn_and_converted(opencv: Path, tmp_path: Path) -> None:
    found = cogkp.check_calibration(opencv, names=("UL", "UR"), convert=tmp_path / "out" / "ours.json")
    assert found.report.format == FORMATS[1]
    assert [camera.name for camera in found.report.cameras] == ["UL", "UR"]
    assert found.report.problems == ()
    assert found.drawing_path == tmp_path / "stereo.check.png"
    assert cv2.imread(str(found.drawing_path)).shape[1] > 1000
    assert found.converted_path is not None
    assert same(read_calibration(found.converted_path), toed_in())


@pytest.mark.parametrize("shrink", [1, 4])
def test_labels_that_fit_are_said_to_fit_at_any_uniform_scale(opencv: Path, tmp_path: Path, shrink: int) -> None:
    config = recording(tmp_path / "data", toed_in(), shrink)
    found = cogkp.check_calibration(opencv, config=config, output=tmp_path / "a.png")
    assert found.report.consistency is not None
    assert found.report.consistency.count == 6 * len(POINTS)
    assert found.report.consistency.median_px < 1e-5
    assert found.report.problems == ()


@pytest.mark.parametrize("rig", [toed_in(), rectified()], ids=["toed in", "rectified"])
def test_exchanged_cameras_are_said_to_be_exchanged(tmp_path: Path, rig: Any) -> None:
    config = recording(tmp_path / "data", rig)
    write_calibration(rig, tmp_path / "rig.json")
    found = cogkp.check_calibration(tmp_path / "rig.json", names=("LR", "LL"), config=config)
    assert found.report.problems
    assert found.report.problems[0].startswith("the cameras look swapped")
    mappings = config.data_mappings
    crossed = attrs.evolve(config, data_mappings=attrs.evolve(mappings, y=mappings.y[::-1]))
    found = cogkp.check_calibration(tmp_path / "rig.json", config=crossed)
    assert found.report.problems
    assert found.report.problems[0].startswith("the cameras look swapped")


def test_other_data_than_the_configurations_can_be_named(opencv: Path, tmp_path: Path) -> None:
    config = attrs.evolve(recording(tmp_path / "data", toed_in()), base_dir=("nowhere",))
    found = cogkp.check_calibration(opencv, config=config, data=[str(tmp_path / "data")])
    assert found.report.consistency is not None
    assert found.report.consistency.count == 6 * len(POINTS)


def test_frames_of_another_shape_and_foreign_cameras_are_refused(opencv: Path, tmp_path: Path) -> None:
    config = recording(tmp_path / "data", toed_in())
    with pytest.raises(DataError, match=r"lacks a camera @ .*stereo\.yml: expected .*'LL\.image' names, got A, B"):
        cogkp.check_calibration(opencv, names=("A", "B"), config=config)
    one = attrs.evolve(config.data_mappings, x=("LL.image",), y=config.data_mappings.y[:1])
    with pytest.raises(DataError, match="labels of two cameras are needed"):
        cogkp.check_calibration(opencv, config=attrs.evolve(config, data_mappings=one))
    wide = write_storage(tmp_path / "w.yml", {**stereo_entries(toed_in()), "imageSize": np.array([640, 400])})
    with pytest.raises(DataError, match=r"does not fit its camera.*expected 640x400, .*got 640x480"):
        cogkp.check_calibration(wide, config=config)


def test_a_drawing_that_cannot_be_written_is_an_error(opencv: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").mkdir()
    with pytest.raises(OutputError):
        cogkp.check_calibration(opencv, output=tmp_path / "a.png")
