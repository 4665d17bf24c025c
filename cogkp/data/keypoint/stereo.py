"""The calibrated cameras of a configuration's stereo pairs, and checks of recorded frames against them."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from cogkp.config.keypoint.spec import KeypointConfig
from cogkp.data.calibration import Calibration, PairConsistency, check_pairs, open_calibration
from cogkp.data.images import image_size
from cogkp.data.keypoint.records import Record, View
from cogkp.errors import DataError, Problem
from cogkp.geometry.rig import CameraRig

FloatArray = npt.NDArray[np.float64]

ENOUGH_LINES = 1000
"""So many labelled lines, spread over a recording, tell whether it fits its cameras; training need not wait for all."""


def paired_rig(config: KeypointConfig) -> CameraRig | None:
    """Read the cameras of ``data_mappings.x``, float64; None where no pairs or no calibration are configured.

    Raises:
        DataError: the calibration cannot be used, or lacks a camera that the mappings name.
    """
    if not config.stereo_pairing.enabled or config.calibration_file is None:
        return None
    return rig_of_views(open_calibration(config.calibration_file), config)


def rig_of_views(calibration: Calibration, config: KeypointConfig) -> CameraRig:
    """Choose the cameras of ``data_mappings.x`` in that order: those that the configuration or the datakeys name.

    Raises:
        DataError: the calibration lacks one of them, or it cannot be used.
    """
    named = config.stereo_pairing.cameras
    return calibration.select(named or [_camera_of(key, calibration) for key in config.data_mappings.x])


def _camera_of(datakey: str, calibration: Calibration) -> str:
    """Find the part of a datakey that names a camera: 'LL' of 'LL.image'."""
    named = [part for part in datakey.split(".") if part in calibration.cameras]
    if not named:
        raise DataError(
            "the calibration lacks a camera",
            where=" and ".join(map(str, calibration.files)),
            expected=f"one that the datakey {datakey!r} names",
            got=", ".join(calibration.cameras),
            hint="Name both cameras in stereo_pairing.cameras.",
        )
    return named[0]


def check_frames(records: Iterable[Record], rig: CameraRig, *, oriented: bool = False) -> None:
    """Refuse frames, listed by the DataError, whose size is neither that of their camera nor an exact uniform scale."""
    problems = [problem for record in records for problem in _misfits(record, rig, oriented)]
    if problems:
        raise DataError.listing(problems)


def _misfits(record: Record, rig: CameraRig, oriented: bool) -> Iterator[Problem]:
    for view, name in zip(record.views, rig.names, strict=True):
        (width, height), (full_width, full_height) = image_size(view.image, oriented=oriented), rig[name].size_wh
        if width * full_height != height * full_width:
            yield Problem(
                "the frame does not fit its camera",
                str(view.image),
                expected=f"{full_width}x{full_height}, the resolution of camera {name}, or a uniform scale of it",
                got=f"{width}x{height}",
                hint="Calibrate at this size, or correct the resolution in the calibration.",
            )


def pair_consistency(records: Iterable[Record], rig: CameraRig, *, oriented: bool = False) -> PairConsistency:
    """Measure whether points labelled in both views fit the two cameras; the frames must."""
    points = [_labelled(record, rig, oriented) for record in records]
    left, right = (np.concatenate([np.zeros((0, 2)), *side]) for side in zip(*points, strict=True))
    return check_pairs(rig.cameras[0], rig.cameras[1], left, right)


def check_labels(records: Sequence[Record], rig: CameraRig, where: str, *, oriented: bool = False) -> None:
    """Refuse labels that do not fit these two cameras, above all exchanged ones; ``where`` names the calibration.

    Raises:
        DataError: the cameras look swapped, their poses inverted, or the labels do not meet in space.
    """
    labelled = [row for row, record in enumerate(records) if all(view.labelled.any() for view in record.views)]
    some = [records[row] for row in labelled[:: max(1, len(labelled) // ENOUGH_LINES)]]
    problem = pair_consistency(some, rig, oriented=oriented).problem() if some else None
    if problem is not None:
        raise DataError(problem, where=where, hint="Look at it with: s6 cog calibration check.")


def _labelled(record: Record, rig: CameraRig, oriented: bool) -> tuple[FloatArray, FloatArray]:
    """Return the points of a line that both views show, (N, 2) each, in pixels of the calibrated frames."""
    left, right = record.views
    both = left.labelled & right.labelled
    one, other = (
        _calibrated(view, camera.size_wh[0], oriented)[both]
        for view, camera in zip((left, right), rig.cameras, strict=True)
    )
    return one, other


def _calibrated(view: View, width: int, oriented: bool) -> FloatArray:
    """Move labels of a uniformly scaled frame to where the calibrated frame has them."""
    return np.asarray((view.uv_source + 0.5) * (width / image_size(view.image, oriented=oriented)[0]) - 0.5)
