"""The data set of keypoint recordings: read, sample a warp, crop, change pixels, and encode targets."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar

import attrs
import numpy as np
import numpy.typing as npt
from torch.utils.data import Dataset

from cogkp.config.keypoint.spec import DataMappings, KeypointConfig
from cogkp.data.augment import AugmentPipeline
from cogkp.data.dataset import ItemKey, Split
from cogkp.data.images import MISSING_MASK_IGNORE_INDEX, read_grey, read_mask, tell_orientations
from cogkp.data.images.survey import SOME_IMAGES, spread
from cogkp.data.keypoint.labels import KeypointLabels
from cogkp.data.keypoint.outside import inside_image, say_suspicious, without_outside
from cogkp.data.keypoint.records import Index, Record, RecordingSize, Records, View
from cogkp.data.keypoint.stereo import check_frames, check_labels, paired_rig
from cogkp.data.keypoint.structured import LINES_FILE, StructuredDataset
from cogkp.data.keypoint.structured.datakeys import PointLabels, check_datakeys
from cogkp.data.keypoint.targets import keypoint_targets
from cogkp.data.sample import Encoded, Sample
from cogkp.errors import DataError
from cogkp.geometry.rig import CameraRig
from cogkp.geometry.warp import ImageWarp

CALIBRATION_DECIMALS = 9
"""Two computers that work out one calibration may differ in a number's last bits; no lens is known that well."""

LINES_AT_ONCE = 8192

log = logging.getLogger("cogkp")


def fingerprint(indices: Sequence[Index], rig: CameraRig | None = None) -> list[dict[str, Any]]:
    """Describe several data sets, ready for JSON, one entry each; the same wherever their folders lie.

    Each has its folder's name, the count of usable lines and images, and SHA-256 in hexadecimal of the files' names
    within the folder and sizes, and of the labels; both in the order of the lines. With the rig of stereo pairs also
    that of its numbers, however the file writes them.
    """
    calibration = {} if rig is None else {"calibration_sha256": _calibration(rig)}
    return [_of(index) | calibration for index in indices]


def _of(index: Index) -> dict[str, Any]:
    return {
        "root": index.root.name,
        "lines": len(index),
        "images": len(index.images.ends),
        "files_sha256": _files(index),
        "labels_sha256": _labels(index),
    }


def _files(index: Index) -> str:
    """Hash name and size of each image, and of its mask where there is one."""
    digest = hashlib.sha256()
    kinds = [index.images] if index.masks is None else [index.images, index.masks]
    for place in range(len(index.images.ends)):
        for files in kinds:
            if name := files.encoded(place):
                letters = len(name.decode("utf-8", "surrogateescape"))
                digest.update(b"%d %b %d\n" % (letters, name, files.sizes[place]))
    return digest.hexdigest()


def _labels(index: Index) -> str:
    """Hash what each line says, view by view: camera, points, which are labelled, whether there is a mask; places."""
    digest, views, points = hashlib.sha256(), len(index.cameras), index.labelled.shape[-1]
    masked = (
        np.zeros((len(index), views), np.bool_) if index.masks is None else index.masks.sizes.reshape(-1, views) > 0
    )
    layout: list[tuple[str, str, tuple[int, ...]]] = [
        field
        for view, camera in enumerate(index.cameras)
        for field in (
            (f"camera{view}", f"S{len(camera.encode())}", ()),
            (f"uv{view}", "<f8", (points, 2)),
            (f"labelled{view}", "?", (points,)),
            (f"mask{view}", "?", ()),
        )
    ]
    layout += [("xyz", "<f8", (points, 3)), ("located", "?", (points,))]
    for start in range(0, len(index), LINES_AT_ONCE):
        part = slice(start, start + LINES_AT_ONCE)
        rows = np.empty(len(index.lines[part]), np.dtype(layout))
        for view, camera in enumerate(index.cameras):
            rows[f"camera{view}"] = camera.encode()
            rows[f"uv{view}"] = index.uv_source[part, view]
            rows[f"labelled{view}"] = index.labelled[part, view]
            rows[f"mask{view}"] = masked[part, view]
        rows["xyz"], rows["located"] = index.xyz_world[part], index.located[part]
        digest.update(rows.tobytes())
    return digest.hexdigest()


def _calibration(rig: CameraRig) -> str:
    numbers = hashlib.sha256()
    for name, camera in zip(rig.names, rig.cameras, strict=True):
        numbers.update(f"{name} {camera.size_wh}\n".encode())
        for tensor in (camera.K, camera.world_to_camera, camera.distortion):
            rounded = np.round(tensor.double().numpy(), CALIBRATION_DECIMALS) + 0.0  # no -0.0
            numbers.update(f"{rounded.shape} ".encode() + rounded.tobytes())
    return numbers.hexdigest()


class AugmentedKeypointDataset(Dataset[tuple[Encoded, ...]]):
    """Images with labelled points, and class masks where they are trained, cropped and augmented.

    An item is one view, or the (left, right) views of one line where stereo pairing is enabled.

    Args:
        config: which data and what happens to it.
        split: 'train' and 'preview' augment the main roots, 'evaluation' reads them plain, 'validation' reads the
            validation roots plain.
        encode: makes the targets of a sample; None makes those that a keypoint network is trained with.

    Raises:
        DataError: there is no usable data, or some of it is faulty; all faults of a root are listed.

    Example of use::

        (view,) = AugmentedKeypointDataset(config, "train")[0]
        view.sample.image, view.targets.uv_crop  # (1, S, S) float32 in 0..1, (N, 2) pixels of it
    """

    Config: ClassVar[type[KeypointConfig]] = KeypointConfig

    def __init__(
        self,
        config: KeypointConfig,
        split: Split = "train",
        encode: Callable[[Sample[KeypointLabels]], Any] | None = None,
    ) -> None:
        self.config = config
        self.split = split
        self.pipeline = AugmentPipeline(config.augmentations, training=split in ("train", "preview"))
        self._encode = encode or partial(keypoint_targets, segmentation=config.targets.segmentation)
        roots = config.validation.base_dir if split == "validation" else config.base_dir
        masks = config.data_mappings.mask if config.targets.segmentation else None
        self._oriented = config.images.apply_exif_orientation
        mappings = attrs.evolve(config.data_mappings, mask=masks)
        self._indices = open_roots(roots, mappings, _point_labels(config), oriented=self._oriented)
        self._records = Records(self._indices)
        if config.targets.keypoints:
            _say_unlabelled(self.size_report, split)
        if masks is not None and not any(
            index.masks is not None and index.masks.sizes.any() for index in self._indices
        ):
            log.warning("%s data: no image has a mask (%s): none is learned or judged", split, ", ".join(masks))
        rig = paired_rig(config)
        if rig is not None:
            check_frames(self._records, rig, oriented=self._oriented)
            check_labels(self._records, rig, str(config.calibration_file), oriented=self._oriented)

    @property
    def some_images(self) -> list[Path]:
        """Files of images, spread over each root."""
        return [path for index in self._indices for path in spread(index.image_paths, SOME_IMAGES)]

    @property
    def views_per_item(self) -> int:
        """How many images an item has: two for a stereo pair, else one."""
        return len(self.config.data_mappings.x) if self.config.stereo_pairing.enabled else 1

    @property
    def _items_per_record(self) -> int:
        return len(self.config.data_mappings.x) // self.views_per_item

    def _item(self, number: int) -> tuple[Record, tuple[View, ...]]:
        row, place = divmod(range(len(self))[number], self._items_per_record)
        record = self._records[row]
        return record, record.views[place * self.views_per_item :][: self.views_per_item]

    @cached_property
    def size_report(self) -> RecordingSize:
        """Lines, images and labels, counted."""
        return RecordingSize.of(self._indices, self.config.point_names)

    @cached_property
    def fingerprint(self) -> list[dict[str, Any]]:
        """What the data is, root by root, to be compared with another day's; see :mod:`cogkp.data.dataset`."""
        return fingerprint(self._indices, paired_rig(self.config))

    @property
    def item_weights(self) -> npt.NDArray[np.float64] | None:
        """How often each item is drawn, adding up to one; None where each is taken once.

        Raises:
            DataError: the configured weights do not fit the roots.
        """
        sampling = self.config.sampling
        if self.split != "train" or not sampling.enabled:
            return None
        counts = [len(index) * self._items_per_record for index in self._indices]
        return _spread(sampling.weights or (1.0,) * len(self._indices), counts)

    @property
    def items_per_epoch(self) -> int:
        """How many items an epoch draws."""
        sampling = self.config.sampling
        if self.split != "train" or not sampling.enabled or sampling.samples_per_epoch is None:
            return len(self)
        return sampling.samples_per_epoch * len(self) // self.size_report.records

    def __len__(self) -> int:
        return len(self._records) * self._items_per_record

    def __getitem__(self, key: ItemKey | tuple[int, int, int] | int) -> tuple[Encoded, ...]:
        """Make one item; the same key gives the same item in any process."""
        wanted = ItemKey(*key) if isinstance(key, tuple) else ItemKey(0, key, key)
        record, views = self._item(wanted.item)
        seeds = np.random.SeedSequence([wanted.seed, wanted.epoch, wanted.position]).spawn(len(views))
        samples = (self._sample(record, view, np.random.default_rng(s)) for view, s in zip(views, seeds, strict=True))
        return tuple(Encoded(sample, self._encode(sample)) for sample in samples)

    def _sample(self, record: Record, view: View, generator: np.random.Generator) -> Sample[KeypointLabels]:
        image = read_grey(view.image, oriented=self._oriented, levels=self.config.images.levels_16bit)
        size_wh = (image.shape[1], image.shape[0])
        if not self.config.data_mappings.keep_points_outside_image:
            view = attrs.evolve(view, labelled=view.labelled & inside_image(view.uv_source, size_wh))
        warp = self.pipeline.sample_warp(size_wh, view.uv_source, view.labelled, generator)
        crop = self.pipeline.photometric(self.pipeline.render(image, warp), generator)
        order = self.pipeline.point_order(warp, len(view.labelled))
        labels = KeypointLabels(
            uv_source=view.uv_source[order],
            labelled=view.labelled[order],
            xyz_world=record.xyz_world[order],
            located=record.located[order],
            mask_crop=self._mask_crop(view, size_wh, warp),
        )
        return Sample(crop[None], labels, warp, size_wh, f"{record.root.name}:{record.line} {view.camera}")

    def _mask_crop(self, view: View, size_wh: tuple[int, int], warp: ImageWarp) -> npt.NDArray[np.uint8] | None:
        if not self.config.targets.segmentation:
            return None
        if view.mask is None:
            side = self.pipeline.output_size
            return np.full((side, side), MISSING_MASK_IGNORE_INDEX, np.uint8)
        mask = read_mask(view.mask, size_wh, num_classes=self.config.num_classes, oriented=self._oriented)
        return self.pipeline.render_mask(mask, warp)


def open_roots(
    roots: Sequence[str], mappings: DataMappings, points: PointLabels = "needed", *, oriented: bool = False
) -> list[Index]:
    """Index several data sets, whose folders start at the working directory where they are relative.

    ``points`` says whether each must have the datakeys of points, ``oriented`` whether images are turned as they note,
    which may change their size. Labels outside their image count as not labelled, unless the mappings keep them.

    Raises:
        DataError: none is configured, one is faulty, no line of one has a mapped datakey, or no usable line is left.
    """
    if not roots:
        raise DataError("no data set is configured", expected="at least one folder in base_dir")
    indices = [_open_root(Path(root), mappings, points, oriented) for root in roots]
    if not any(map(len, indices)):
        reasons = [f"{count} lines: {why}" for index in indices for why, count in index.dropped.items()]
        raise DataError(
            "no usable line is left", where=", ".join(roots), got="; ".join(reasons) or f"no line in any {LINES_FILE}"
        )
    return indices


def _open_root(root: Path, mappings: DataMappings, points: PointLabels, oriented: bool) -> Index:
    index = StructuredDataset(root).index(mappings)
    tell_orientations(index.image_paths, str(root), oriented=oriented, switch="images.apply_exif_orientation")
    check_datakeys(index, mappings, points)
    say_suspicious(str(root), index.uv_source[index.labelled])
    return index if mappings.keep_points_outside_image else without_outside(index, mappings.y, oriented=oriented)


def _point_labels(config: KeypointConfig) -> PointLabels:
    if not config.targets.keypoints:
        return "unused"
    return "some roots" if config.stereo_pairing.use_unlabelled else "needed"


def _say_unlabelled(size: RecordingSize, split: Split) -> None:
    """Warn of points that nobody labelled, where others are labelled."""
    never = [name for name, count in size.labelled.items() if count == 0]
    if 0 < len(never) < len(size.labelled):
        log.warning("%s data: no usable label of %s", split, ", ".join(never))


def _spread(weights: Sequence[float], counts: Sequence[int]) -> npt.NDArray[np.float64]:
    """Share each root's weight evenly among its items."""
    if len(weights) != len(counts):
        raise DataError(
            "sampling.weights does not fit base_dir", expected=f"{len(counts)} weights", got=str(len(weights))
        )
    spread = np.concatenate([np.full(n, weight / max(n, 1)) for weight, n in zip(weights, counts, strict=True)])
    if not spread.sum() > 0:
        raise DataError("no data set with lines has a weight above zero", got=str(list(weights)))
    return np.asarray(spread / spread.sum())
