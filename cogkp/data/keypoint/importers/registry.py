"""Import a data set of another format: read, split, write both parts and a configuration, all or nothing."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import attrs
import numpy as np

from cogkp.config.keypoint.io import starting_loss_terms
from cogkp.data.images import image_size, tell_orientations
from cogkp.data.importing import IMPORT_SWITCH, Imported, ImportedLine, Importer, divide, importer_of
from cogkp.data.keypoint.importers.deeplabcut import read_deeplabcut
from cogkp.data.keypoint.importers.stereo_pairs import read_stereo_pairs
from cogkp.data.keypoint.outside import inside_image, say_outside, say_suspicious
from cogkp.data.keypoint.structured import find, write_structured
from cogkp.errors import DataError
from cogkp.files import staged_folder, write_json
from cogkp.progress import SILENT, Progress

log = logging.getLogger("cogkp")

IMPORTERS: Mapping[str, Importer] = {
    "deeplabcut": read_deeplabcut,
    "lightning-pose": read_deeplabcut,
    "stereo-pairs": read_stereo_pairs,
}

CALIBRATION_FILE = "calibration.config.json"
CONFIG_FILE = "keypoint.json"
PARTS = ("train", "validation")


class _Label(NamedTuple):
    """One label: the name of its point, what to call it, where it was read, and whether its image shows it."""

    name: str
    shown: str
    where: str
    uv: list[float]
    inside: bool


def say_labels(where: str, imported: Imported, *, oriented: bool = False) -> None:
    """Log how often each point is labelled; warn of labels that no image shows, and of points without any."""
    labels = list(_labels(imported, oriented))
    usable = Counter(label.name for label in labels if label.inside)
    names = dict.fromkeys(_short(key) for row in imported.config["data_mappings"]["y"] for key in row)
    log.info("%s: labels inside their image: %s", where, ", ".join(f"{name} {usable[name]}" for name in names))
    outside = [
        f"{label.where} {label.shown} [{label.uv[0]:g}, {label.uv[1]:g}]" for label in labels if not label.inside
    ]
    if outside:
        say_outside(where, len(outside), len(labels), outside)
    say_suspicious(where, np.array([label.uv for label in labels], np.float64).reshape(-1, 2))
    if never := [name for name in names if not usable[name]]:
        log.warning("%s: no usable label of %s", where, ", ".join(never))


def _labels(imported: Imported, oriented: bool) -> Iterator[_Label]:
    mappings = imported.config["data_mappings"]
    for line in imported.lines:
        for image, keys in zip(mappings["x"], mappings["y"], strict=True):
            size_wh = image_size(find(line.record, image), oriented=oriented)
            for key in keys:
                uv: Any = find(line.record, key)
                if uv is not None and np.isfinite(uv).all():
                    shown = key if len(mappings["x"]) > 1 else _short(key)
                    inside = bool(inside_image(np.array(uv, np.float64), size_wh))
                    yield _Label(_short(key), shown, line.where, uv, inside)


def _short(key: str) -> str:
    return key.rpartition(".")[2]


@attrs.frozen(kw_only=True)
class ImportResult:
    """What an import wrote.

    Args:
        train: root of the training lines.
        validation: root of the validation lines; None where none were set aside.
        counts: lines per part, ``train`` and ``validation``.
        config: configuration file, ready for training.
    """

    train: Path
    validation: Path | None
    counts: Mapping[str, int]
    config: Path


def _write_part(
    root: Path, lines: Sequence[ImportedLine], calibration: Mapping[str, Any] | None, progress: Progress
) -> None:
    def records() -> Iterator[Mapping[str, Any]]:
        with progress.work(f"writing {root.name}", len(lines)) as step:
            for line in lines:
                yield line.record
                step.advance()

    write_structured(root, records())
    if calibration is not None:
        write_json(root / CALIBRATION_FILE, calibration)


def _config(imported: Imported, train: Path, validation: Path | None) -> dict[str, Any]:
    extra = {} if imported.calibration is None else {"calibration_file": (train / CALIBRATION_FILE).as_posix()}
    return {
        "prefix": train.parent.name or "model",
        "base_dir": [train.as_posix()],
        **imported.config,
        "loss_terms": starting_loss_terms(
            segmentation="mask" in imported.config["data_mappings"], segments=imported.segments
        ),
        **extra,
        "validation": {"base_dir": [] if validation is None else [validation.as_posix()]},
    }


def _paths(content: Any) -> Iterator[Path]:
    if isinstance(content, Path):
        yield content
    elif isinstance(content, Mapping):
        for value in content.values():
            yield from _paths(value)


def import_dataset(
    source: Path,
    destination: Path,
    *,
    format: str,
    validation: float = 0.1,
    seed: int = 0,
    apply_exif_orientation: bool = False,
    progress: Progress = SILENT,
) -> ImportResult:
    """Convert a data set of another format to StructuredDatasets and a configuration that trains on them.

    Writes ``train/``, ``validation/`` (where lines are set aside) and ``keypoint.json``. All of it appears at once,
    when it is complete; images are copied byte for byte. Paths in the configuration begin like ``destination``.

    Args:
        source: file or folder of the foreign format; only read.
        destination: folder to create; may exist if it is empty.
        format: a key of ``IMPORTERS``.
        validation: share of the lines set aside, rounded down; ignored for lines whose source says where they belong.
        seed: of that draw.
        apply_exif_orientation: whether the labels were made on images turned as their files note; the configuration
            then says so.
        progress: advanced once per line.

    Returns:
        Where everything lies, and how much of it.

    Raises:
        DataError: the format is unknown, or the source is wrong; every problem has its line.
        OutputError: the destination cannot be written or is not empty.
    """
    imported = importer_of(format, IMPORTERS, validation)(source)
    images = [path for line in imported.lines for path in _paths(line.record)]
    oriented = apply_exif_orientation
    tell_orientations(images, str(source), oriented=oriented, switch=IMPORT_SWITCH)
    say_labels(str(source), imported, oriented=oriented)
    if oriented:
        imported = attrs.evolve(imported, config={**imported.config, "images": {"apply_exif_orientation": True}})
    parts = divide(imported.lines, validation, seed, "validation")
    if "train" not in parts:
        raise DataError("no line is left to train on", where=str(source))
    roots = {name: destination / name for name in PARTS if name in parts}
    with staged_folder(destination) as staging:
        for name in roots:
            _write_part(staging / name, parts[name], imported.calibration, progress)
        write_json(staging / CONFIG_FILE, _config(imported, roots["train"], roots.get("validation")))
    return ImportResult(
        train=roots["train"],
        validation=roots.get("validation"),
        counts={name: len(parts.get(name, ())) for name in PARTS},
        config=destination / CONFIG_FILE,
    )
