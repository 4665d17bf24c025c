"""Check annotation files of boxes, and draw some of them."""

from collections.abc import Sequence
from pathlib import Path

import attrs
import numpy as np
import numpy.typing as npt

from cogkp.config.images import ImageFiles
from cogkp.data.boxes.check import TOLERANCE_PX, check_root
from cogkp.data.boxes.frames import project
from cogkp.data.boxes.records import ImageRecord
from cogkp.data.boxes.report import LabelReport
from cogkp.data.images import write_png
from cogkp.data.images.survey import evenly
from cogkp.errors import DataError, ImageError, closest, counted
from cogkp.files import require_replaceable
from cogkp.geometry.camera_frame import CameraFrame
from cogkp.geometry.cuboid import POINTS
from cogkp.progress import SILENT, Progress
from cogkp.tasks.centerpose.overlays import box_outline
from cogkp.visual.canvas import fit_width, image_grid
from cogkp.visual.overlay import draw_outlines, draw_points
from cogkp.visual.palette import WHITE

DRAWING_SUFFIX = ".check.png"
MAX_IMAGES = 16
COLUMNS = 4
TILE_PX = 480
CROSS_PX = 3.0


@attrs.frozen
class BoxLabelCheck:
    """The result of a check of annotation files.

    Args:
        report: all numbers and problems; ``report.text()`` is for people.
        drawing_path: images with their boxes; None where none could be read.
    """

    report: LabelReport
    drawing_path: Path | None


def check_box_labels(
    root: Path | str,
    *,
    camera_frame: str | None = None,
    apply_exif_orientation: bool = False,
    tolerance_px: float = TOLERANCE_PX,
    output: Path | None = None,
    progress: Progress = SILENT,
) -> BoxLabelCheck:
    """Check a folder in the form of Objectron, and draw some of its images with their boxes.

    Args:
        root: the folder; all folders below it are looked into.
        camera_frame: axes of the files, 'opencv', 'opengl' or 'objectron'; None takes what each file says, else
            'objectron'.
        apply_exif_orientation: whether images are turned as their files note.
        tolerance_px: largest distance between two statements about one point that is no problem, pixels.
        output: the drawing, PNG; None puts it into the working directory, under the folder's name.
        progress: advanced once per image.

    Raises:
        DataError: there is no such folder, or no such camera axes.
        OutputError: the drawing cannot be written.
    """
    root = Path(root)
    path = output or Path(f"{root.resolve().name}{DRAWING_SUFFIX}")
    require_replaceable([path])  # before the work, which would be lost
    files = ImageFiles(apply_exif_orientation=apply_exif_orientation)
    report = check_root(
        root, camera_frame=_frame(camera_frame), files=files, tolerance_px=tolerance_px, progress=progress
    )
    tiles = [tile for record in _chosen(report) if (tile := _tile(record)) is not None]
    if not tiles:
        return BoxLabelCheck(report, None)
    images, captions = zip(*tiles, strict=True)
    write_png(path, image_grid(images, captions=captions, columns=min(COLUMNS, len(images))))
    return BoxLabelCheck(report, path)


def _frame(word: str | None) -> CameraFrame | None:
    known = {frame.value: frame for frame in CameraFrame}
    if word is not None and word not in known:
        raise DataError(
            "unknown camera axes", expected=f"one of {', '.join(known)}", got=repr(word), hint=closest(word, known)
        )
    return None if word is None else known[word]


def _chosen(report: LabelReport) -> Sequence[ImageRecord]:
    """Take half of the images from the worst, and spread the others evenly over the folder."""
    worst = sorted(report.checked, key=lambda file: (-len(file.problems), -file.worst_px))
    wanted = {file.name for file in worst[: MAX_IMAGES // 2] if file.problems}
    rest = [record for record in report.records if record.name not in wanted]
    even = {rest[index].name for index in evenly(len(rest), MAX_IMAGES - len(wanted))}
    return [record for record in report.records if record.name in wanted | even]


def _tile(record: ImageRecord) -> tuple[npt.NDArray[np.uint8], str] | None:
    try:
        pixels = record.pixels()
    except ImageError:
        return None  # the report has said so
    uv = np.array([box.uv_source for box in record.boxes]).reshape(-1, POINTS, 2)
    seen = np.full_like(uv, np.nan)
    for index, box in enumerate(record.boxes):
        if box.xyz_camera is not None and record.K is not None:
            seen[index] = project(record.K, box.xyz_camera)
    tile, (marked, crossed) = fit_width(pixels, np.stack([uv, seen]), TILE_PX)
    tile = draw_outlines(tile, list(map(box_outline, marked)))
    crosses = crossed.reshape(-1, 2)
    tile = draw_points(tile, crosses, shape="cross", colours=[WHITE] * len(crosses), radius=CROSS_PX)
    return tile, f"{record.name}  {counted(len(record.boxes), 'box', 'es')}"
