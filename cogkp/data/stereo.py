"""The two calibrated cameras behind a configuration's stereo pairs, and whether recorded frames fit them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from cogkp.config.keypoint import KeypointConfig
from cogkp.data.calibration import read_calibration
from cogkp.data.images import image_size
from cogkp.data.records import Record
from cogkp.errors import DataError, Problem
from cogkp.geometry.rig import CameraRig

__all__ = ["check_frames", "paired_rig", "rig_of_views"]


def paired_rig(config: KeypointConfig) -> CameraRig | None:
    """Read the cameras of a configuration's stereo pairs.

    Returns:
        The cameras of ``data_mappings.x`` in that order, float64; None where pairs or calibration are not configured.

    Raises:
        DataError: the calibration cannot be used, or lacks a camera that the mappings name.
    """
    if not config.stereo_pairing.enabled or config.calibration_file is None:
        return None
    rig = read_calibration(config.calibration_file)
    return rig_of_views(rig, config.data_mappings.x, config.calibration_file)


def rig_of_views(rig: CameraRig, datakeys: Sequence[str], file: str) -> CameraRig:
    """Choose the cameras that datakeys of pictures name, in their order; ``file`` stands in the error if one lacks."""
    return rig.select([_camera_of(key, rig, file) for key in datakeys])


def _camera_of(datakey: str, rig: CameraRig, file: str) -> str:
    """Find the part of a datakey that names a camera: 'LL' of 'LL.image'."""
    named = [part for part in datakey.split(".") if part in rig.names]
    if not named:
        raise DataError(
            "the calibration lacks a camera",
            where=file,
            expected=f"one that the datakey {datakey!r} names",
            got=", ".join(rig.names),
        )
    return named[0]


def check_frames(records: Iterable[Record], rig: CameraRig) -> None:
    """Refuse frames whose size is not that of their camera, or an exact uniform scale of it.

    Args:
        records: stereo lines; only the headers of their pictures are read.
        rig: the cameras of their views, in order.

    Raises:
        DataError: lists every frame that does not fit.
    """
    problems = [problem for record in records for problem in _misfits(record, rig)]
    if problems:
        raise DataError.listing(problems)


def _misfits(record: Record, rig: CameraRig) -> Iterator[Problem]:
    for view, name in zip(record.views, rig.names, strict=True):
        (width, height), (full_width, full_height) = image_size(view.image), rig[name].size_wh
        if width * full_height != height * full_width:
            yield Problem(
                "the frame does not fit its camera",
                str(view.image),
                expected=f"{full_width}x{full_height}, the resolution of camera {name}, or a uniform scale of it",
                got=f"{width}x{height}",
                hint="Calibrate at this size, or correct the resolution in the calibration.",
            )
