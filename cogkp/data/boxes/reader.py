"""Read folders of images and annotation files in Objectron's format, into records in OpenCV axes.

What a file leaves out is taken from what it says: pixels from points of space, points from pose and sizes, pose and
sizes from points, intrinsics from the clip matrix. Nothing is made up: where nobody gives intrinsics there are none.
All faults of a folder are reported in one error, before any pixel is read.

For training only folders without folders in them are looked into, as the published code does; names that begin with a
dot do not count. What is passed over is counted and said.
"""

import logging
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple

import attrs
import numpy as np
import numpy.typing as npt

from cogkp.config.images import AS_STORED, ImageFiles
from cogkp.data.boxes.box_fields import Fields, read_annotation, read_box
from cogkp.data.boxes.clip import intrinsics_of
from cogkp.data.boxes.frames import FrameFit, fit_camera_frame
from cogkp.data.boxes.records import BoxRecord, Ground, ImageIndex, ImageRecord
from cogkp.data.images import image_size, tell_orientations
from cogkp.data.images.survey import SUFFIXES, walk
from cogkp.errors import DataError, Problem
from cogkp.geometry.camera_frame import CameraFrame, frame_to_frame

ANNOTATION = ".json"

log = logging.getLogger("cogkp")
FloatArray = npt.NDArray[np.float64]
Need = Literal["intrinsics", "scale", "pose"]
FALLBACK_FRAME = CameraFrame.OBJECTRON
"""The axes of files that do not say theirs: those the form was made with."""

FRAMES = {frame.value: frame for frame in CameraFrame}
ORIENTED = "dataset.images.apply_exif_orientation"
"""The switch that turns images, for messages."""
OTHER_WAY = f"The image notes an orientation (EXIF): change {ORIENTED}, or --apply-exif-orientation."

TINY = float(np.nextafter(0.0, 1.0))
FIRST_EDGE = -0.5  # of the image; the centre of its first pixel is 0
FARTHEST_SIDES = 10.0
"""Corners leave their image, yet one that lies so many times its longer side beside it is no label of a corner."""

MISSING_MARK = (-1.0, -1.0)
"""What many tools write for a point that is not there."""

KEYS = ("objects", "camera_data", "AR_data", "object_height")
CAMERA_KEYS = ("width", "height", "camera_frame", "intrinsics", "camera_projection_matrix")
BOX_KEYS = (
    *("class", "name", "projected_cuboid", "keypoints_3d", "location", "quaternion_xyzw", "scale"),
    *("visibility", "symmetric", "num_symmetry"),
)
ALIASES = dict.fromkeys(("category", "category_name", "class_name", "label"), "class")
"""What other programs call a key."""

ALL_CLASSES = "Name it in dataset.category, or set dataset.all_classes to true to take every class for it."
CALIBRATE = "Calibrate the camera, or give the intrinsics of the images; no camera is assumed."


class Labelled(NamedTuple):
    """An image and its annotation."""

    image: Path
    annotation: Path


class FolderContent(NamedTuple):
    """What a folder holds.

    Args:
        labelled: images with an annotation, ordered by path.
        problems: stems that several images share.
        dropped: how many files were passed over, by reason.
    """

    labelled: tuple[Labelled, ...]
    problems: tuple[Problem, ...]
    dropped: Mapping[str, int]


def find_labelled(root: Path) -> FolderContent:
    """Look for labelled images in a folder and all folders below it; raises DataError where there is no such folder."""
    if not root.is_dir():
        raise DataError("the data set's folder does not exist", where=str(root), expected="a folder of images")
    labelled: list[Labelled] = []
    problems: list[Problem] = []
    dropped: Counter[str] = Counter()
    for folder, has_folders in walk(root):
        images, annotations = _files(folder)
        if has_folders:
            dropped["an image beside folders"] += sum(map(len, images.values()))
            continue
        dropped["an image without a JSON file"] += sum(len(images[stem]) for stem in images if stem not in annotations)
        dropped["a JSON file without an image"] += sum(stem not in images for stem in annotations)
        for stem in sorted(images.keys() & annotations.keys()):
            if len(images[stem]) > 1:
                problems.append(_shared(images[stem]))
            else:
                labelled.append(Labelled(images[stem][0], annotations[stem]))
    return FolderContent(
        tuple(labelled), tuple(problems), {reason: count for reason, count in dropped.items() if count}
    )


def _shared(images: list[Path]) -> Problem:
    names = ", ".join(path.name for path in images)
    return Problem("several images share one JSON file", str(images[0].parent), "one image per stem", names)


def _files(folder: Path) -> tuple[dict[str, list[Path]], dict[str, Path]]:
    """List images and annotations of one folder by their stems."""
    images: defaultdict[str, list[Path]] = defaultdict(list)
    annotations: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.suffix.lower() in SUFFIXES:
            images[path.stem].append(path)
        elif path.suffix == ANNOTATION:
            annotations[path.stem] = path
    return dict(images), annotations


@attrs.frozen(eq=False)
class Scan:
    """Valid records and problems of a folder.

    Args:
        problems: all that is wrong, one line each.
        files: how many annotation files were looked at.
        frame: how well points and pixels agree under the declared and other camera axes.
    """

    index: ImageIndex
    problems: tuple[Problem, ...]
    files: int
    frame: FrameFit


def scan_objectron(
    root: Path | str,
    *,
    camera_frame: CameraFrame | None = None,
    intrinsics: FloatArray | None = None,
    files: ImageFiles = AS_STORED,
    need: Collection[Need] = (),
    category: str | None = None,
) -> Scan:
    """Read as :func:`read_objectron` and collect the problems; raises DataError where there is no such folder."""
    root = Path(root)
    found = find_labelled(root)
    tell_orientations(
        [pair.image for pair in found.labelled], str(root), oriented=files.apply_exif_orientation, switch=ORIENTED
    )
    reader = _AnnotationReader(root, camera_frame, intrinsics, files, frozenset(need), category)
    outcomes = [reader.read(pair) for pair in found.labelled]
    tell_slips(root, Counter(slip for outcome in outcomes for slip in outcome.slips))
    if category:
        _tell_classless(root, outcomes, category)
    problems = [*found.problems, *(problem for outcome in outcomes for problem in outcome.problems)]
    records = [outcome.record for outcome in outcomes if outcome.record is not None]
    fits = [fit_camera_frame([each for each in records if each.camera_frame is frame]) for frame in CameraFrame]
    worst = next((fit for fit in fits if fit.better is not None), None)
    if worst is None:
        problems += [_behind(box) for record in records for box in record.boxes if _is_behind(box)]
    else:
        problems += [problem for fit in fits if (problem := fit.problem(str(root))) is not None]
    dropped = Counter(found.dropped)
    others = Counter(word for outcome in outcomes for word in outcome.others)
    dropped.update({f"an object of class '{word}', not '{category}'": count for word, count in others.items()})
    kept = tuple(_seen(record, dropped) for record in records)
    declared = worst or next((fit for fit in fits if fit.declared is not None), FrameFit(None, {}))
    if others and not problems and not any(record.boxes for record in records):
        listed = ", ".join(f"'{word}' {count} times" for word, count in others.most_common())
        problems.append(
            Problem("no object is of the category", str(root), f"class '{category}' in the files", listed, ALL_CLASSES)
        )
    return Scan(ImageIndex(root, kept, dict(dropped)), tuple(problems), len(found.labelled), declared)


def read_objectron(
    root: Path | str,
    *,
    camera_frame: CameraFrame | None = None,
    intrinsics: FloatArray | None = None,
    files: ImageFiles = AS_STORED,
    need: Collection[Need] = (),
    category: str | None = None,
) -> ImageIndex:
    """Find and check every labelled image of a folder.

    Args:
        root: the folder; see :mod:`cogkp.data.boxes.reader` for which of its files count.
        camera_frame: the axes of the files; None takes what each file says (``camera_data.camera_frame``), else
            those of Objectron. A file that says something else is refused.
        intrinsics: (3, 3) for images whose file has none, pixels.
        files: how images are read.
        need: what every image ('intrinsics') or box ('scale', 'pose') must have.
        category: the class of the objects wanted; objects whose file says no class are taken for it. None takes all.

    Returns:
        The images. Left out, counted and logged are objects of other classes, boxes wholly outside their image,
        and boxes of which a point is marked as missing or lies absurdly far away.

    Raises:
        DataError: there is no such folder or no labelled image, or files are faulty; all faults are listed.
    """
    scan = scan_objectron(
        root, camera_frame=camera_frame, intrinsics=intrinsics, files=files, need=need, category=category
    )
    if scan.problems:
        raise DataError.listing(scan.problems)
    if not scan.files:
        raise DataError(
            "there are no labelled images",
            where=str(root),
            expected="images with a JSON file of the same stem beside them",
            got="; ".join(f"{count} times {reason}" for reason, count in scan.index.dropped.items()),
        )
    for reason, count in scan.index.dropped.items():
        log.warning("%s: left out %d times: %s", root, count, reason)
    return scan.index


def read_unlabelled(
    root: Path,
    image: Path,
    *,
    camera_frame: CameraFrame | None = None,
    intrinsics: FloatArray | None = None,
    files: ImageFiles = AS_STORED,
    slips: Counter[tuple[str, str]] | None = None,
) -> ImageRecord:
    """Read size and camera of an image without labels, from its header and the file beside it, if there is one.

    Arguments are those of :func:`read_objectron`; boxes of the file are not looked at. Keys that are probably misspelt
    are added to ``slips``, for :func:`tell_slips`.

    Raises:
        DataError: image or file cannot be used.
    """
    reader = _AnnotationReader(root, camera_frame, intrinsics, files, frozenset())
    annotation = image.with_suffix(ANNOTATION)
    fields = read_annotation(annotation) if annotation.is_file() else Fields(str(annotation), {})
    if slips is not None:
        slips.update(_slips(fields, ()))
    return reader.surroundings(Labelled(image, annotation), fields)


def _depths(box: BoxRecord) -> list[float]:
    """Return the depths of the object's middle, by its points and by its pose, as far as they are known."""
    by_points = [] if box.xyz_camera is None else [float(box.xyz_camera[0, 2])]
    return by_points if box.cuboid_to_camera is None else [*by_points, float(box.cuboid_to_camera[2, 3])]


def _is_behind(box: BoxRecord) -> bool:
    return any(not depth > 0 for depth in _depths(box))


def _behind(box: BoxRecord) -> Problem:
    return Problem(
        "the object is behind the camera",
        box.where,
        "a middle in front of it",
        f"z {min(_depths(box)):.4g} along the view",
        "Correct location and keypoints_3d, or camera_frame.",
    )


def _seen(record: ImageRecord, dropped: Counter[str]) -> ImageRecord:
    """Leave out boxes of which the image cannot show anything, and those whose pixels are none."""
    reasons = [fault_of_pixels(box.uv_source, record.size_wh) for box in record.boxes]
    dropped.update(filter(None, reasons))
    return attrs.evolve(record, boxes=tuple(box for box, why in zip(record.boxes, reasons, strict=True) if not why))


def fault_of_pixels(uv: FloatArray, size_wh: tuple[int, int]) -> str:
    """Say why nine points are no box in the image; empty where they are one."""
    low, high, last_edge = uv.min(axis=0), uv.max(axis=0), np.array(size_wh) + FIRST_EDGE
    if (high < FIRST_EDGE).any() or (low > last_edge).any():
        return "a box wholly outside its image"
    if (uv == MISSING_MARK).all(axis=1).any():
        return "a box with a point at (-1, -1), a mark for missing"
    far = FARTHEST_SIDES * max(size_wh)
    if (low < -far).any() or (high > last_edge + far).any():
        return f"a box with a point more than {FARTHEST_SIDES:g} image sides outside"
    return ""


class _Outcome(NamedTuple):
    record: ImageRecord | None
    problems: list[Problem]
    others: tuple[str, ...] = ()
    slips: tuple[tuple[str, str], ...] = ()
    classless: int = 0
    objects: int = 0


def _slips(fields: Fields, objects: Sequence[Fields]) -> Iterator[tuple[str, str]]:
    """Find keys of a file that mean nothing and look like one that is missing; with it."""
    camera = fields.within("camera_data") or Fields("", {})
    for part, known in ((fields, KEYS), (camera, CAMERA_KEYS), *((entry, BOX_KEYS) for entry in objects)):
        missing = tuple(key for key in known if key not in part.content)
        for word in part.content.keys() - set(known):
            if meant := _meant(word, missing):
                yield word, meant


@lru_cache(maxsize=256)
def _meant(word: str, missing: tuple[str, ...]) -> str | None:
    """Choose the missing key that a word looks like; kept, since the files of a folder have the same words."""
    plain = {key.casefold(): key for key in missing}
    near = get_close_matches(word.casefold(), plain, n=1, cutoff=0.85)
    near += [key for key in plain if key.startswith(f"{word.casefold()}_")]
    return plain.get(near[0]) if near else ALIASES.get(word) if "class" in plain else None


def tell_slips(root: Path, slips: Counter[tuple[str, str]]) -> None:
    """Warn of keys that are probably misspelt."""
    for (word, meant), count in slips.items():
        log.warning("%s: the key %r means nothing, and is there %d times. Did you mean %r?", root, word, count, meant)


def _tell_classless(root: Path, outcomes: Sequence[_Outcome], category: str) -> None:
    if classless := sum(outcome.classless for outcome in outcomes):
        level = logging.WARNING if classless < sum(outcome.objects for outcome in outcomes) else logging.INFO
        log.log(level, "%s: %d objects state no class and are taken for '%s'", root, classless, category)


@attrs.frozen
class _AnnotationReader:
    root: Path
    camera_frame: CameraFrame | None
    intrinsics: FloatArray | None
    files: ImageFiles
    need: frozenset[Need]
    category: str | None = None

    def read(self, pair: Labelled) -> _Outcome:
        """Read one file, and go on after a fault as far as that makes sense."""
        try:
            fields = read_annotation(pair.annotation)
            bare = self.surroundings(pair, fields)
            entries = list(enumerate(fields.each("objects")))
            others = tuple(word for _, entry in entries if (word := self._other_class(entry)) is not None)
            slips = tuple(_slips(fields, [entry for _, entry in entries]))
        except DataError as error:
            return _Outcome(None, [error.problem])
        to_opencv = frame_to_frame(bare.camera_frame, CameraFrame.OPENCV)
        wanted = [(number, entry) for number, entry in entries if self._other_class(entry) is None]
        outcomes = [self._box(entry, number, bare.K, to_opencv) for number, entry in wanted]
        record = attrs.evolve(bare, boxes=tuple(box for box in outcomes if isinstance(box, BoxRecord)))
        problems = [problem for problem in outcomes if isinstance(problem, Problem)]
        classless = sum(not _class_of(entry) for _, entry in entries)
        return _Outcome(record, problems, others, slips, classless, len(entries))

    def _other_class(self, entry: Fields) -> str | None:
        """Return the class of an object that is not of the category; None for one that is wanted."""
        word = _class_of(entry)
        return word if self.category and word and _plain(word) != _plain(self.category) else None

    def surroundings(self, pair: Labelled, fields: Fields) -> ImageRecord:
        """Read all but the boxes."""
        camera = fields.within("camera_data") or Fields(fields.place("camera_data"), {})
        size_wh = checked_size(camera, pair.image, oriented=self.files.apply_exif_orientation)
        frame = self._frame(camera)
        return ImageRecord(
            root=self.root,
            image=pair.image,
            annotation=pair.annotation,
            size_wh=size_wh,
            files=self.files,
            K=self._intrinsics(camera, size_wh, frame),
            camera_frame=frame,
            boxes=(),
            ground=_ground(fields, frame_to_frame(frame, CameraFrame.OPENCV)),
            object_height=fields.number("object_height", TINY, np.inf, "a number > 0, metres"),
        )

    def _box(self, entry: Fields, number: int, K: FloatArray | None, to_opencv: FloatArray) -> BoxRecord | Problem:
        try:
            box = read_box(entry, number, K, to_opencv)
            self._check(box, entry)
        except DataError as error:
            return error.problem
        return box

    def _frame(self, camera: Fields) -> CameraFrame:
        declared = camera.word("camera_frame")
        if declared is not None and declared not in FRAMES:
            raise camera.wrong("camera_frame", f"one of {', '.join(FRAMES)}")
        if declared is None:
            return self.camera_frame or FALLBACK_FRAME
        if self.camera_frame is not None and self.camera_frame is not FRAMES[declared]:
            raise camera.wrong("camera_frame", f"{self.camera_frame.value!r}, as declared")
        return FRAMES[declared]

    def _intrinsics(self, camera: Fields, size_wh: tuple[int, int], frame: CameraFrame) -> FloatArray | None:
        given = camera.within("intrinsics")
        if given is not None:
            return _pinhole(given)
        matrix = camera.array("camera_projection_matrix", 4, 4)
        K = None if matrix is None else intrinsics_of(matrix, size_wh, frame)
        K = self.intrinsics if K is None else K
        if K is None and "intrinsics" in self.need:
            raise camera.wrong("intrinsics", "fx, fy, cx, cy in pixels, or camera_projection_matrix", CALIBRATE)
        return K

    def _check(self, box: BoxRecord, entry: Fields) -> None:
        if "scale" in self.need and box.size_xyz is None:
            raise entry.wrong("scale", "three side lengths, or keypoints_3d")
        if "pose" in self.need and box.cuboid_to_camera is None:
            raise entry.wrong("keypoints_3d", "nine points of space, or location and quaternion_xyzw")


def _class_of(entry: Fields) -> str:
    return (entry.word("class") or "").strip()


def _plain(word: str) -> str:
    """Write a class so that case, blanks, dashes, underscores and ways to write an accent make no difference."""
    return "".join(filter(str.isalnum, unicodedata.normalize("NFKC", word).casefold()))


def checked_size(camera: Fields, image: Path, *, oriented: bool) -> tuple[int, int]:
    """Compare the image with the size its annotation was made for."""
    size_wh = image_size(image, oriented=oriented)
    stated = camera.whole("width", 1), camera.whole("height", 1)
    for key, declared, length in zip(("width", "height"), stated, size_wh, strict=True):
        if declared not in (None, length):
            turned = stated == image_size(image, oriented=not oriented)
            hint = "Scale points and intrinsics with the image, or take the original."
            raise camera.wrong(key, f"{length}, as the image has", OTHER_WAY if turned else hint)
    return size_wh


def _pinhole(given: Fields) -> FloatArray:
    values = dict(_intrinsic(given))
    return np.array([[values["fx"], 0.0, values["cx"]], [0.0, values["fy"], values["cy"]], [0.0, 0.0, 1.0]])


def _intrinsic(given: Fields) -> Iterator[tuple[str, float]]:
    for key in ("fx", "fy", "cx", "cy"):
        low, expected = (TINY, "a number > 0") if key[0] == "f" else (-np.inf, "a finite number")
        value = given.number(key, low, np.inf, f"{expected}, pixels", CALIBRATE)
        if value is None:
            raise given.wrong(key, f"{expected}, pixels", CALIBRATE)
        yield key, value


def _ground(fields: Fields, to_opencv: FloatArray) -> Ground | None:
    """Read the plane; one without direction, as writers without knowledge leave it, counts as none."""
    plane = fields.within("AR_data")
    if plane is None:
        return None
    center, normal = plane.array("plane_center", 3), plane.array("plane_normal", 3)
    if center is None or normal is None or not normal.any():
        return None
    return Ground(to_opencv @ center, to_opencv @ normal)
