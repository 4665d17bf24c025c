"""Check a calibration: summarise it, draw it, and compare it with labelled pairs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import attrs
import numpy as np
import numpy.typing as npt
import torch

from cogkp.config.keypoint.spec import KeypointConfig
from cogkp.data.calibration import (
    Calibration,
    CalibrationReport,
    PairConsistency,
    lens_shift,
    open_calibration,
    summarize,
    write_calibration,
)
from cogkp.data.images import write_png
from cogkp.data.keypoint.dataset import open_roots
from cogkp.data.keypoint.records import Records
from cogkp.data.keypoint.stereo import check_frames, pair_consistency, rig_of_views
from cogkp.errors import DataError
from cogkp.geometry.camera import PinholeCamera
from cogkp.geometry.rig import CameraRig
from cogkp.visual.lens import DrawnLens
from cogkp.visual.rig import DrawnCamera, calibration_sheet

FloatArray = npt.NDArray[np.float64]

DRAWING_SUFFIX = ".check.png"
REACH_IN_BASELINES = 3.0
FAR_IN_BASELINES = 8.0
PAST_CONVERGENCE = 1.25
NUM_VIEWS = 2
FIELD_GRID = (91, 121)


@attrs.frozen
class CalibrationCheck:
    """The result of a check of a calibration.

    Args:
        report: all numbers and notes; ``report.text()`` is for people.
        drawing_path: the drawing.
        converted_path: our JSON file, where one was asked for.
    """

    report: CalibrationReport
    drawing_path: Path
    converted_path: Path | None


def check_calibration(
    path: str | Path | Sequence[str | Path],
    *,
    size_wh: tuple[int, int] | None = None,
    names: Sequence[str] | None = None,
    config: KeypointConfig | None = None,
    data: Sequence[str] | None = None,
    output: Path | None = None,
    convert: Path | None = None,
) -> CalibrationCheck:
    """Read a calibration of any known format, summarise it, draw it, and compare it with labelled pairs.

    Args:
        path: a file; for OpenCV's two files both, one of them, or their folder.
        size_wh: width and height of the images, where the file does not say it.
        names: of the cameras, in the file's order; None takes those of the file.
        config: names the points and images of labelled pairs; None compares with no labels.
        data: data set roots with these labels; None takes those of the configuration.
        output: the drawing, PNG; None puts it beside the file.
        convert: where our JSON file is written; None writes none.

    Returns:
        The report and the files.

    Raises:
        DataError: the calibration or the data cannot be used.
        OutputError: a file cannot be written.
    """
    calibration = open_calibration(path, size_wh=size_wh, names=names)
    rig = calibration.rig
    files = tuple(map(str, calibration.files))
    found = None if config is None else _compare(calibration, config, data)
    unusable = [str(error) for error in calibration.unusable.values()]
    report = summarize(rig, format=calibration.format, files=files, consistency=found, unusable=unusable)
    drawing = output or calibration.files[0].with_suffix(DRAWING_SUFFIX)
    write_png(drawing, _draw(rig, report, " and ".join(file.name for file in calibration.files)))
    if convert is not None:
        write_calibration(rig, convert)
    return CalibrationCheck(report, drawing, convert)


def _compare(calibration: Calibration, config: KeypointConfig, data: Sequence[str] | None) -> PairConsistency:
    mappings = config.data_mappings
    if len(mappings.x) != NUM_VIEWS:
        raise DataError(
            "labels of two cameras are needed",
            where="data_mappings.x",
            expected="two images",
            got=", ".join(mappings.x),
            hint="Leave the configuration out to look at the calibration alone.",
        )
    pair = rig_of_views(calibration, config)
    oriented = config.images.apply_exif_orientation
    records = Records(open_roots(data or config.base_dir, attrs.evolve(mappings, mask=None), oriented=oriented))
    check_frames(records, pair, oriented=oriented)
    return pair_consistency(records, pair, oriented=oriented)


def _draw(rig: CameraRig, report: CalibrationReport, title: str) -> npt.NDArray[np.uint8]:
    cameras = [_drawn_camera(name, rig[name]) for name in rig]
    lenses = [_drawn_lens(name, rig[name]) for name in rig]
    return calibration_sheet(cameras, lenses, _reach(report), title=f"{title}: {report.format}")


def _reach(report: CalibrationReport) -> float:
    """Choose how far sight is drawn: past the place where axes meet, if that is not far away."""
    spread = max((pair.baseline for pair in report.pairs), default=1.0)
    meet = [pair.convergence for pair in report.pairs if pair.convergence is not None]
    far = PAST_CONVERGENCE * max(meet, default=0.0)
    return far if 0 < far < FAR_IN_BASELINES * spread else REACH_IN_BASELINES * spread


def _drawn_camera(name: str, camera: PinholeCamera) -> DrawnCamera:
    pose, (width, height) = camera.world_to_camera.double(), camera.size_wh
    corners = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]], dtype=torch.float64)
    uv = corners * torch.tensor([width, height], dtype=torch.float64) - 0.5
    pinhole = attrs.evolve(camera, distortion=torch.zeros(0))
    rays = camera.unproject_rays(uv)
    seen = torch.where(rays.valid[:, None], rays.xyz_camera, pinhole.unproject_rays(uv).xyz_camera)
    return DrawnCamera(
        name,
        center=camera.center.double().numpy(),
        axes=pose[:3, :3].numpy(),
        corners=(seen @ pose[:3, :3]).numpy(),
    )


def _drawn_lens(name: str, camera: PinholeCamera) -> DrawnLens:
    shift = lens_shift(camera, FIELD_GRID)
    return DrawnLens(name, camera.size_wh, shift.uv.numpy(), shift.straight.numpy(), shift.valid.numpy())
