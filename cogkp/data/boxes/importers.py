"""Import box labels of other formats as folders in Objectron's format, all or nothing.

A new format is one function that reads a source and one line in ``BOX_IMPORTERS``.
"""

import json
import logging
import re
import shutil
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import attrs
import numpy as np
import numpy.typing as npt

from cogkp.config.images import AS_STORED, ImageFiles
from cogkp.data.boxes.box_fields import Fields, image_problem, read_annotation
from cogkp.data.boxes.reader import MISSING_MARK, checked_size, fault_of_pixels, find_labelled, scan_objectron
from cogkp.data.boxes.records import BoxRecord
from cogkp.data.boxes.writer import annotation_of
from cogkp.data.images import read_grey, tell_orientations
from cogkp.data.importing import IMPORT_SWITCH, divide, importer_of, located
from cogkp.errors import DataError, Problem
from cogkp.files import leads_out, staged_folder
from cogkp.geometry.camera_frame import CameraFrame
from cogkp.geometry.cuboid import CORNERS, POINTS
from cogkp.progress import SILENT, Progress

log = logging.getLogger("cogkp")

FloatArray = npt.NDArray[np.float64]
Part = Literal["train", "val", "test"]

PARTS: Mapping[str, Part] = {"train": "train", "val": "val", "validation": "val", "test": "test"}

ANNOTATIONS_FILE = "annotations.json"
EDGE_TO_CENTRE = 0.5

# Of the source's eight corners, the one that stands at each of ours. Its first corner, nearest to the camera, joins
# the edges to its third (to the left), fourth (downwards) and fifth (away): the upper right corner of the front.
TAMPAR_ORDER = (5, 1, 6, 2, 7, 3, 4, 0)
DIAGONALS = ((1, 8), (2, 7), (3, 6), (4, 5))
VALUES_OF_A_CORNER = 3
PARCEL = re.compile("box|parcel", re.IGNORECASE)
UNLABELLED = "a parcel with a corner that nobody labelled"


@attrs.frozen(kw_only=True)
class ImportedImage:
    """One labelled image.

    Args:
        stem: its name without suffix in the new folder.
        content: of its annotation file.
        part: where the source itself puts it; None leaves that to the seed.
    """

    image: Path
    stem: str
    content: Mapping[str, Any]
    part: Part | None


@attrs.frozen(kw_only=True)
class BoxImportResult:
    """What an import wrote.

    Args:
        folders: of each part, ``train``, ``val`` and ``test``, as far as there are images.
        counts: images in each.
    """

    folders: Mapping[str, Path]
    counts: Mapping[str, int]


def read_cuboid_opengl(source: Path, files: ImageFiles = AS_STORED) -> list[ImportedImage]:
    """Read folders of images with CenterPose annotation files whose points of space are in OpenGL axes.

    Pixels and intrinsics stay as they are: both count from the centre of the first pixel, and files in which they did
    not would not agree with themselves. All that is added is the name of the axes. Images outside the folders
    ``train``, ``val`` and ``test`` are divided by the seed. ``files`` says how images were read for the labels.

    Raises:
        DataError: anything is wrong with the files or the images.
    """
    scan = scan_objectron(source, camera_frame=CameraFrame.OPENGL, files=files)
    damaged = filter(None, (image_problem(record.image) for record in scan.index.records))
    problems = [*scan.problems, *damaged]
    if problems:
        raise DataError.listing(problems)
    for reason, count in scan.index.dropped.items():
        log.warning("%s: to be left out %d times: %s", source, count, reason)
    items = []
    for pair in find_labelled(source).labelled:
        content = dict(read_annotation(pair.annotation).content)
        camera = {**content.get("camera_data", {}), "camera_frame": CameraFrame.OPENGL.value}
        above = pair.image.relative_to(source).parts[:-1]
        part = PARTS.get(above[0]) if above else None
        inner = above if part is None else above[1:]
        items.append(
            ImportedImage(
                image=pair.image,
                stem="/".join((*inner, pair.image.stem)),
                content={**content, "camera_data": camera},
                part=part,
            )
        )
    return items


def read_tampar(source: Path, files: ImageFiles = AS_STORED) -> list[ImportedImage]:
    """Read parcels labelled with eight corners in COCO form (``annotations.json``).

    The source knows neither camera nor sizes, so the annotation files hold pixels only. It counts pixels from the
    edge of the image, we count from the centre of the first pixel: half a pixel is taken from every corner. The
    middle of a parcel is where the diagonals between its corners meet in the image, as nearly as they do. A parcel
    with a corner that nobody labelled (a v of 0, or (-1, -1)) is left out and reported, as is an object whose category
    is named neither box nor parcel.

    Raises:
        DataError: anything is wrong with the file or the images.
    """
    fields, dropped = read_annotation(source / ANNOTATIONS_FILE), defaultdict[str, list[str]](list)
    names = {entry.content.get("id"): entry.word("name") for entry in _each(fields, "categories")}
    parcels: dict[Any, list[Fields]] = {}
    for entry in fields.each("annotations"):
        name = names.get(entry.content.get("category_id"))
        if name and not PARCEL.search(name):
            dropped[f"an object of category '{name}'"].append(entry.where)
            continue
        parcels.setdefault(entry.content.get("image_id"), []).append(entry)
    images = fields.each("images")
    outcomes = [_parcels_or_problem(source, entry, parcels, files, dropped) for entry in images]
    problems = [outcome for outcome in outcomes if isinstance(outcome, Problem)]
    known = {entry.content.get("id") for entry in images}
    problems += [
        parcel.wrong("image_id", "the id of an image of this file").problem
        for image_id in parcels.keys() - known
        for parcel in parcels[image_id]
    ]
    if problems:
        raise DataError.listing(problems)
    for reason, places in dropped.items():
        log.warning("%s: left out %d times: %s, e.g. %s", source, len(places), reason, places[0])
    imported = [outcome for outcome in outcomes if isinstance(outcome, ImportedImage)]
    tell_orientations(
        [each.image for each in imported], str(source), oriented=files.apply_exif_orientation, switch=IMPORT_SWITCH
    )
    return imported


def _each(fields: Fields, key: str) -> list[Fields]:
    return fields.each(key) if key in fields else []


BOX_IMPORTERS: Mapping[str, Callable[[Path, ImageFiles], list[ImportedImage]]] = {
    "cuboid-opengl": read_cuboid_opengl,
    "tampar": read_tampar,
}


def _parcels_or_problem(
    source: Path,
    entry: Fields,
    parcels: Mapping[Any, Sequence[Fields]],
    files: ImageFiles,
    dropped: dict[str, list[str]],
) -> ImportedImage | Problem:
    try:
        name = entry.word("file_name")
        if not name or leads_out(name):
            raise entry.wrong("file_name", "an image within the folder")
        image = source / name
        read_grey(image)
        size_wh = checked_size(entry, image, oriented=files.apply_exif_orientation)
        boxes = []
        for parcel in parcels.get(entry.content.get("id"), ()):
            corners = _corners(parcel)
            box = None if corners is None else _parcel(parcel, corners)
            reason = UNLABELLED if box is None else fault_of_pixels(box.uv_source, size_wh)
            if box is None or reason:
                dropped[reason].append(parcel.where)
            else:
                boxes.append(box)
        content = annotation_of(boxes, size_wh, None, provenance=f"{source.name}/{ANNOTATIONS_FILE}")
    except DataError as error:
        return located(error.problem, entry.where)
    return ImportedImage(image=image, stem=Path(name).with_suffix("").as_posix(), content=content, part=None)


def _corners(entry: Fields) -> FloatArray | None:
    """Read the corners (8, 2) in our order, pixels counted from the edge; None where one of them is not labelled."""
    flat = entry.array("keypoints", CORNERS * VALUES_OF_A_CORNER)
    if flat is None:
        raise entry.wrong("keypoints", "x, y and v of eight corners")
    corners = flat.reshape(CORNERS, VALUES_OF_A_CORNER)
    missing = (corners[:, 2] == 0) | (corners[:, :2] == MISSING_MARK).all(axis=1)
    return None if missing.any() else np.asarray(corners[list(TAMPAR_ORDER), :2])


def _parcel(entry: Fields, corners: FloatArray) -> BoxRecord:
    uv = np.zeros((POINTS, 2))
    uv[1:] = corners - EDGE_TO_CENTRE
    if min(np.linalg.norm(uv[a] - uv[b]) for a, b in DIAGONALS) == 0:
        raise entry.wrong("keypoints", "eight corners of a box", "Corners that face each other are one point.")
    uv[0] = _meeting(uv)
    return BoxRecord(
        name="parcel",
        category="parcel",
        where=entry.where,
        uv_source=uv,
        xyz_camera=None,
        cuboid_to_camera=None,
        size_xyz=None,
        visibility=1.0,
        symmetric=None,
        num_symmetry=None,
        given=frozenset(),
    )


def _meeting(uv: FloatArray) -> FloatArray:
    """Find the pixel nearest to the four space diagonals of a box, which meet in its middle under any camera."""
    first, second = uv[[a for a, _ in DIAGONALS]], uv[[b for _, b in DIAGONALS]]
    along = second - first
    normal = np.stack([along[:, 1], -along[:, 0]], -1) / np.linalg.norm(along, axis=-1, keepdims=True)
    return np.asarray(np.linalg.lstsq(normal, (normal * first).sum(-1), rcond=None)[0])


def import_boxes(
    source: Path | str,
    destination: Path | str,
    *,
    format: str,
    validation: float = 0.1,
    seed: int = 0,
    apply_exif_orientation: bool = False,
    progress: Progress = SILENT,
) -> BoxImportResult:
    """Convert box labels of another format to folders in Objectron's format.

    Args:
        source: folder of the foreign format; only read.
        destination: folder to create; may exist if it is empty.
        format: a key of ``BOX_IMPORTERS``.
        validation: share of the images set aside, rounded down; ignored for those whose source says where they
            belong.
        seed: of that draw.
        apply_exif_orientation: whether the labels were made on images turned as their files note; what is trained on
            them needs ``dataset.images.apply_exif_orientation``.
        progress: advanced once per image.

    Returns:
        Where everything lies, and how much of it.

    Raises:
        DataError: the format is unknown, or the source is wrong; every problem has its line.
        OutputError: the destination cannot be written or is not empty.
    """
    read = importer_of(format, BOX_IMPORTERS, validation)
    source, destination = Path(source), Path(destination)
    if not source.is_dir():
        raise DataError("the source does not exist", where=str(source), expected="a folder")
    items = read(source, ImageFiles(apply_exif_orientation=apply_exif_orientation))
    if not items:
        raise DataError("there are no labelled images", where=str(source))
    parts = divide(items, validation, seed, "val")
    with staged_folder(destination) as staging, progress.work("writing", len(items)) as step:
        for part, chosen in parts.items():
            for item in chosen:
                _write(staging / part, item)
                step.advance()
    return BoxImportResult(
        folders={part: destination / part for part in parts},
        counts={part: len(chosen) for part, chosen in parts.items()},
    )


def _write(folder: Path, item: ImportedImage) -> None:
    target = folder / f"{item.stem}{item.image.suffix}"
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(item.image, target)
    text = json.dumps(item.content, indent=1, allow_nan=False)
    target.with_suffix(".json").write_text(text + "\n", encoding="utf-8")
