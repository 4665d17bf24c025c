"""The data set of box images: read, sample a warp, crop, change colours, and encode targets."""

from collections.abc import Callable, Collection, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from cogkp.config.images import AS_STORED, ImageFiles
from cogkp.data.boxes.augment import BoxAugment, change_colours, point_order, sample_warp
from cogkp.data.boxes.fingerprint import fingerprint
from cogkp.data.boxes.labels import ObjectLabels, labels_of
from cogkp.data.boxes.reader import Need, read_objectron
from cogkp.data.boxes.records import BoxDataSize, ImageIndex, ImageRecord
from cogkp.data.boxes.view import BoxInput
from cogkp.data.dataset import ItemKey, SingleViewDataset, Split
from cogkp.data.images.survey import SOME_IMAGES, spread
from cogkp.data.sample import Encoded, Sample
from cogkp.errors import DataError, Problem
from cogkp.geometry.camera_frame import CameraFrame
from cogkp.geometry.warp import ImageWarp

NEEDED: tuple[Need, ...] = ("scale",)


class ObjectDataset(SingleViewDataset):
    """Images with labelled boxes, as the network takes them.

    Args:
        roots: folders in the form of Objectron; relative ones start at the working directory.
        split: 'train' and 'preview' augment, 'validation' and 'evaluation' show whole images.
        encode: makes the targets of a sample.
        camera_frame: the axes of the files; None takes what each file says, else those of Objectron.
        num_symmetry: equal turns about their y axis of objects whose file does not say how many they have.
        intrinsics: (3, 3) for images whose file has none, pixels.
        need: what every image or box must have.
        category: the class of the objects wanted; others are left out, counted and logged. None takes all.

    Raises:
        DataError: there is no usable data, or some of it is faulty; all faults of a root are listed.
    """

    def __init__(
        self,
        roots: Sequence[Path | str],
        split: Split,
        encode: Callable[[Sample[ObjectLabels]], Any],
        *,
        view: BoxInput | None = None,
        augment: BoxAugment | None = None,
        camera_frame: CameraFrame | None = None,
        num_symmetry: int = 1,
        intrinsics: npt.NDArray[np.float64] | None = None,
        files: ImageFiles = AS_STORED,
        need: Collection[Need] = NEEDED,
        category: str | None = None,
    ) -> None:
        if not roots:
            raise DataError("no data set is configured", expected=f"a folder of {split} images")
        self.split = split
        self.view = view or BoxInput()
        self.augment = augment or BoxAugment()
        self.num_symmetry = num_symmetry
        self._encode = encode
        read = partial(
            read_objectron, camera_frame=camera_frame, intrinsics=intrinsics, files=files, need=need, category=category
        )
        self._indices: tuple[ImageIndex, ...] = tuple(map(read, roots))
        self._records = [record for index in self._indices for record in index.records]
        _check_turns(self._records, num_symmetry)
        self._rows = max((box.turns(num_symmetry) for record in self._records for box in record.boxes), default=1)
        self._room = max((len(record.boxes) for record in self._records), default=0)

    @property
    def symmetries(self) -> int:
        """S of all labels: the largest number of equal turns."""
        return self._rows

    @property
    def some_images(self) -> list[Path]:
        """Files of images, spread over each root."""
        paths = ([record.image for record in index.records] for index in self._indices)
        return [path for each in paths for path in spread(each, SOME_IMAGES)]

    @cached_property
    def size_report(self) -> BoxDataSize:
        """Images and boxes, counted."""
        return BoxDataSize.of(self._indices)

    @cached_property
    def fingerprint(self) -> list[dict[str, Any]]:
        """What the data is, root by root, to be compared with another day's; see :mod:`cogkp.data.dataset`."""
        return fingerprint(self._indices)

    @property
    def records(self) -> Sequence[ImageRecord]:
        """The records, in the order of the items."""
        return tuple(self._records)

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, key: ItemKey | tuple[int, int, int] | int) -> tuple[Encoded, ...]:
        """Make one item; the same key gives the same item in any process."""
        wanted = ItemKey(*key) if isinstance(key, tuple) else ItemKey(0, key, key)
        generator = np.random.default_rng([wanted.seed, wanted.epoch, wanted.position])
        sample = self._sample(self._records[wanted.item], generator)
        return (Encoded(sample, self._encode(sample)),)

    def _sample(self, record: ImageRecord, generator: np.random.Generator) -> Sample[ObjectLabels]:
        rgb, size_wh = record.pixels(), record.size_wh
        if self.split in ("train", "preview"):
            warp = sample_warp(size_wh, self.view.side, self.augment, generator)
            crop = self.view.cut(rgb, warp.matrix.numpy())
            image = self.view.scaled(change_colours(crop, self.augment, generator))
        else:
            image, source_to_crop = self.view.of(rgb)
            warp = ImageWarp(torch.from_numpy(source_to_crop))
        labels = labels_of(record, self.num_symmetry, self._rows, self._room)
        labels = labels.numbered(point_order(warp, self.augment))
        return Sample(image, labels, warp, size_wh, f"{record.root.name}:{record.name}")


def _check_turns(records: Sequence[ImageRecord], num_symmetry: int) -> None:
    """Refuse symmetric objects that cannot be turned, since nobody knows where they are."""
    problems = [
        Problem(
            "a symmetric object cannot be turned",
            box.where,
            "intrinsics, and keypoints_3d or location, quaternion_xyzw and scale",
            hint="Complete the annotation, or train without symmetry (num_symmetry 1).",
        )
        for record in records
        for box in record.boxes
        if box.turns(num_symmetry) > 1 and (record.K is None or box.xyz_camera is None or box.cuboid_to_camera is None)
    ]
    if problems:
        raise DataError.listing(problems)
