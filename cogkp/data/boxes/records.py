"""Records of annotation files of boxes, in OpenCV axes.

Points are ``uv_source``: pixels of the image, the centre of the top-left pixel is (0, 0). Points of space are in the
frame of the camera that took it. The nine points have the order of :mod:`cogkp.geometry.cuboid`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs
import numpy as np
import numpy.typing as npt

from cogkp.config.images import AS_STORED, ImageFiles
from cogkp.data.images import read_colour
from cogkp.errors import printable
from cogkp.geometry.camera_frame import CameraFrame

FloatArray = npt.NDArray[np.float64]


@attrs.frozen(eq=False)
class Ground:
    """The plane that things stand on: a point (3,), length unit of the file, a normal (3,) of any length, upwards."""

    center: FloatArray
    normal: FloatArray


@attrs.frozen(eq=False, kw_only=True)
class BoxRecord:
    """One labelled object; None for what the file neither states nor implies.

    Args:
        name: of the object within its file.
        category: its class.
        where: file and key, for people.
        uv_source: (9, 2) pixels; may lie outside the image.
        xyz_camera: (9, 3) the points in space, length unit of the file.
        cuboid_to_camera: (4, 4) pose.
        size_xyz: (3,) full side lengths, positive, true or in any unit.
        visibility: 0 hidden to 1 in full sight.
        symmetric: whether turns of the object look alike; None where the file does not say.
        num_symmetry: how many turns do; None where the file does not say.
        given: keys of the file that say this; the others were derived from these.
        location: (3,) stated place of the middle, length unit of the file; None where the file does not state it.
    """

    name: str
    category: str
    where: str
    uv_source: FloatArray
    xyz_camera: FloatArray | None
    cuboid_to_camera: FloatArray | None
    size_xyz: FloatArray | None
    visibility: float
    symmetric: bool | None
    num_symmetry: int | None
    given: frozenset[str]
    location: FloatArray | None = None

    def turns(self, otherwise: int) -> int:
        """Return after how many equal turns it looks alike; ``otherwise`` is for files that do not say it."""
        if self.symmetric is False:
            return 1
        return otherwise if self.num_symmetry is None else self.num_symmetry


@attrs.frozen(eq=False, kw_only=True)
class ImageRecord:
    """One image and its labelled objects.

    Args:
        annotation: the file beside it; images without labels may have none.
        size_wh: width and height, pixels.
        K: (3, 3) intrinsics, pixels; None where nobody knows them.
        camera_frame: the axes of the file, which are OpenCV's no more.
        boxes: in the order of the file.
        ground: what they stand on; None where the file does not say.
        files: how the image is read; where it is turned, ``size_wh`` and boxes are of the turned one.
        object_height: true height of the objects, length unit of the file; None where the file does not say.
    """

    root: Path
    image: Path
    annotation: Path
    size_wh: tuple[int, int]
    K: FloatArray | None
    camera_frame: CameraFrame
    boxes: tuple[BoxRecord, ...]
    ground: Ground | None
    object_height: float | None = None
    files: ImageFiles = AS_STORED

    def pixels(self) -> npt.NDArray[np.float32]:
        """Read the image: (H, W, 3) float32 RGB in 0..1; raises ImageError where it cannot be used."""
        return read_colour(self.image, oriented=self.files.apply_exif_orientation, levels=self.files.levels_16bit)

    @property
    def name(self) -> str:
        """Path of the image within its root, without suffix; outputs mirror it."""
        return self.image.relative_to(self.root).with_suffix("").as_posix()


@attrs.frozen(eq=False)
class ImageIndex:
    """The records of a folder in the order of their paths; how many images, files or boxes were left out, by reason."""

    root: Path
    records: tuple[ImageRecord, ...]
    dropped: Mapping[str, int]


@attrs.frozen
class BoxDataSize:
    """How much data there is: images, views (one each), what was left out by reason, and boxes of each category."""

    records: int
    views: int
    dropped: Mapping[str, int]
    labelled: Mapping[str, int]

    @classmethod
    def of(cls, indices: Sequence[ImageIndex]) -> BoxDataSize:
        """Count what several folders offer together."""
        records = [record for index in indices for record in index.records]
        dropped: Counter[str] = Counter()
        for index in indices:
            dropped.update(index.dropped)
        boxes = Counter(box.category for record in records for box in record.boxes)
        return cls(len(records), len(records), dict(dropped), dict(boxes))

    def __str__(self) -> str:
        boxes = ", ".join(f"{name} {count}" for name, count in self.labelled.items()) or "none"
        left_out = "".join(f"; {count} left out: {reason}" for reason, count in self.dropped.items())
        return printable(f"{self.records} images; boxes: {boxes}{left_out}")
