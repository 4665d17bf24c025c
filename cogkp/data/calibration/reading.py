"""Recognise the format of a calibration file, and read it into a rig."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import attrs

from cogkp.data.calibration.anipose_toml import read_anipose
from cogkp.data.calibration.checks import rig_of, undone_share
from cogkp.data.calibration.kalibr_yaml import is_kalibr, parse_yaml, read_kalibr
from cogkp.data.calibration.opencv_storage import Storage, parse_storage, read_opencv
from cogkp.data.calibration.own_json import read_own_json
from cogkp.errors import DataError
from cogkp.geometry.camera import PinholeCamera
from cogkp.geometry.rig import CameraRig

__all__ = ["FORMATS", "Calibration", "open_calibration", "read_calibration"]

log = logging.getLogger("cogkp")

OWN, OPENCV, ANIPOSE, KALIBR = FORMATS = (
    "our JSON",
    "OpenCV FileStorage (YAML, XML or JSON)",
    "Anipose or Lightning Pose TOML",
    "Kalibr camera chain (YAML)",
)
"""What can be read, in words for people."""

STORAGE_SUFFIXES = {".yml", ".yaml", ".xml"}
COMPANIONS = {"intrinsic": "extrinsic", "extrinsic": "intrinsic"}
TABLE = re.compile(r"^\s*\[\s*(?:cam_?\w*|metadata)\s*\]\s*$", re.MULTILINE)
STORAGE = re.compile(r"\A\s*%YAML|<opencv_storage>|opencv-(?:nd-)?matrix")
MONO = re.compile(r"^camera_matrix\s*:", re.MULTILINE)
MOST_BYTES = 8_000_000

Source = str | Path | Sequence[str | Path]


@attrs.frozen(eq=False)
class Calibration:
    """What was read, and as what.

    Args:
        rig: the cameras, float64.
        format: one of ``FORMATS``.
        files: those that were read.
    """

    rig: CameraRig
    format: str
    files: tuple[Path, ...]

    def __str__(self) -> str:
        return f"calibration {_named(self.files)}: {self.format}, cameras {', '.join(self.rig.names)}"


def read_calibration(
    path: Source, *, size_wh: tuple[int, int] | None = None, names: Sequence[str] | None = None
) -> CameraRig:
    """Read the cameras of a calibration, and log which form it was taken for.

    Args:
        path: a file of any of ``FORMATS``; for OpenCV's two files, both, one of them, or their folder.
        size_wh: width and height of the images, where the file does not say it.
        names: of the cameras, in the file's order; None takes those of the file.

    Returns:
        The rig, float64, in the file's order of cameras and in the unit of its translations.

    Raises:
        DataError: the file cannot be read, or a camera is impossible; the message names file, camera and reason.
    """
    calibration = open_calibration(path, size_wh=size_wh, names=names)
    _tell(logging.INFO, str(calibration))
    for name in calibration.rig:
        if (share := undone_share(calibration.rig[name])) < 1:
            where = _named(calibration.files)
            _tell(logging.WARNING, f"{where}: the lens of {name} cannot be undone in {1 - share:.1%} of its frame")
    return calibration.rig


@cache
def _tell(level: int, line: str) -> None:
    """Log a line once: training reads its calibration for each split and each loss."""
    log.log(level, "%s", line)


def open_calibration(
    path: Source, *, size_wh: tuple[int, int] | None = None, names: Sequence[str] | None = None
) -> Calibration:
    """Read the cameras of a calibration and say which form it was taken for.

    Args:
        path: as for :func:`read_calibration`.
        size_wh: as for :func:`read_calibration`.
        names: as for :func:`read_calibration`.

    Returns:
        The rig, the form and the files.

    Raises:
        DataError: as :func:`read_calibration`.
    """
    files = _files(path)
    parsed = _parse(files, size_wh, tuple(names) if names else None)
    where = _named(parsed.files)
    cameras = _renamed(parsed.cameras, names, where)
    _check_size(cameras, size_wh, where)
    return Calibration(rig_of(cameras, where), parsed.format, parsed.files)


class _Parsed(NamedTuple):
    format: str
    cameras: dict[str, PinholeCamera]
    files: tuple[Path, ...]


def _named(files: Sequence[Path]) -> str:
    return " and ".join(map(str, files))


def _files(path: Source) -> tuple[Path, ...]:
    if not isinstance(path, str | Path):
        return tuple(Path(part) for part in path)
    folder = Path(path)
    if not folder.is_dir():
        return (folder,)
    inside = [file for file in sorted(folder.iterdir()) if file.suffix.lower() in STORAGE_SUFFIXES]
    chosen = [[file for file in inside if word in file.stem.lower()] for word in COMPANIONS]
    if any(len(files) != 1 for files in chosen):
        raise DataError(
            "a folder is not a calibration",
            where=str(folder),
            expected="OpenCV's intrinsics.yml and extrinsics.yml in it",
            got=", ".join(file.name for file in inside) or "no such files",
            hint="Give the file itself.",
        )
    return tuple(files[0] for files in chosen)


def _parse(files: tuple[Path, ...], size_wh: tuple[int, int] | None, names: tuple[str, ...] | None) -> _Parsed:
    if len(files) > 1:
        return _storage(files, [parse_storage(_text(file), str(file)) for file in files], size_wh, names)
    (file,) = files
    text, where, suffix = _text(file), str(file), file.suffix.lower()
    if STORAGE.search(text):
        return _storage(files, [parse_storage(text, where)], size_wh, names)
    if suffix == ".json" or text.lstrip().startswith("{"):
        return _Parsed(OWN, read_own_json(text, where), files)
    if suffix == ".toml" or TABLE.search(text):
        return _Parsed(ANIPOSE, read_anipose(text, where), files)
    if MONO.search(text):  # ROS leaves out the first line that OpenCV asks for
        return _storage(files, [parse_storage(f"%YAML:1.0\n---\n{text}", where)], size_wh, names)
    if suffix in STORAGE_SUFFIXES - {".xml"}:
        content = parse_yaml(text, where)
        if is_kalibr(content):
            return _Parsed(KALIBR, read_kalibr(content, where), files)
    raise _unknown(where)


def _unknown(where: str) -> DataError:
    return DataError(
        "unknown format of calibration",
        where=where,
        expected=f"one of: {'; '.join(FORMATS)}",
        got="something else",
        hint="Is this the right file?",
    )


def _storage(
    files: tuple[Path, ...], storages: list[Storage], size_wh: tuple[int, int] | None, names: tuple[str, ...] | None
) -> _Parsed:
    for file, each in zip(files, storages, strict=True):
        if not each.is_calibration:
            raise _unknown(str(file))
    if len(files) == 1 and storages[0].is_half and (other := _companion(files[0])) is not None:
        files, storages = (*files, other), [*storages, parse_storage(_text(other), str(other))]
    whole = storages[0]
    for each in storages[1:]:
        whole = whole.joined(each)
    return _Parsed(OPENCV, read_opencv(whole, size_wh, names), files)


def _companion(file: Path) -> Path | None:
    """Find extrinsics.yml beside intrinsics.yml, and the other way round."""
    for word, other in COMPANIONS.items():
        beside = file.with_name(file.name.replace(word, other))
        if beside != file and beside.is_file():
            return beside
    return None


def _text(file: Path) -> str:
    where = str(file)
    try:
        with file.open("rb") as stream:
            content = stream.read(MOST_BYTES + 1)
    except OSError as error:
        raise DataError(
            "cannot read the calibration", where=where, got=error.strerror or str(error), hint="Check the path."
        ) from error
    if len(content) > MOST_BYTES or b"\0" in content:
        raise _unknown(where)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _unknown(where) from error


def _renamed(cameras: dict[str, PinholeCamera], names: Sequence[str] | None, where: str) -> dict[str, PinholeCamera]:
    if not names:
        return cameras
    if len(names) != len(cameras) or len(set(names)) != len(names):
        raise DataError(
            "the names do not fit the cameras",
            where=where,
            expected=f"{len(cameras)} different names",
            got=", ".join(names),
            hint=f"The file's cameras are {', '.join(cameras)}.",
        )
    return dict(zip(names, cameras.values(), strict=True))


def _check_size(cameras: dict[str, PinholeCamera], size_wh: tuple[int, int] | None, where: str) -> None:
    for name, camera in cameras.items():
        if size_wh is not None and camera.size_wh != tuple(size_wh):
            raise DataError(
                "wrong resolution",
                where=f"{where}, camera {name}",
                expected="{}x{}".format(*size_wh),
                got="{}x{}".format(*camera.size_wh),
                hint="Leave the size out: the file says it.",
            )
