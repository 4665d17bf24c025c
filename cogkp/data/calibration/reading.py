"""Recognise the format of a calibration file, and read it into a rig."""

from __future__ import annotations

import gzip
import io
import logging
import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import attrs

from cogkp.data.calibration.anipose_toml import is_anipose, read_anipose
from cogkp.data.calibration.checks import Cameras, in_one_place, resolution, same_place, undone_share
from cogkp.data.calibration.kalibr_yaml import is_kalibr, read_kalibr
from cogkp.data.calibration.opencv_storage import Storage, read_opencv, read_rectified, storage_of
from cogkp.data.calibration.own_json import is_own, read_own
from cogkp.data.calibration.parsing import TOML_TABLE, parse_json, parse_toml, parse_xml, parse_yaml
from cogkp.errors import DataError, closest
from cogkp.files import WINDOWS, decoded_text, open_file
from cogkp.geometry.camera import PinholeCamera
from cogkp.geometry.rig import CameraRig

log = logging.getLogger("cogkp")

OWN, OPENCV, ANIPOSE, KALIBR = FORMATS = (
    "our JSON",
    "OpenCV FileStorage (YAML, XML or JSON) or ROS camera_info",
    "Anipose, Lightning Pose or Caliscope tables (TOML)",
    "Kalibr camera chain (YAML)",
)
"""What can be read, in words for people."""

YAML_SUFFIXES = {".yml", ".yaml"}
STORAGE_SUFFIXES = {*YAML_SUFFIXES, ".xml"}
PAIRS_OF_FILES = (("intrinsic", "extrinsic"), ("left", "right"))
"""Words in the names of two files that belong together; the first two are also found by one of them alone."""
MOST_BYTES = 8_000_000
GZIP = b"\x1f\x8b"
PAIR = 2
CHECK_TRANSLATIONS = "Check the translations."

Source = str | Path | Sequence[str | Path]


class _Form(NamedTuple):
    name: str
    language: str
    holds: Callable[[Mapping[str, Any]], bool]
    read: Callable[[Any, str], Cameras]


FORMS = (
    _Form(OWN, "JSON", is_own, read_own),
    _Form(ANIPOSE, "TOML", is_anipose, read_anipose),
    _Form(KALIBR, "", is_kalibr, read_kalibr),
)
"""Found by their content in any language; in theirs, a file of another content is refused in their words."""


@attrs.frozen(eq=False)
class Calibration:
    """What was read, and as what.

    Args:
        cameras: by name, in the order of the file, float64; in the place of one that cannot be used, the reason.
        format: one of ``FORMATS``.
        files: those that were read.
    """

    cameras: Mapping[str, PinholeCamera | DataError]
    format: str
    files: tuple[Path, ...]

    @property
    def rig(self) -> CameraRig:
        """The cameras that can be used; there is at least one."""
        good = {name: camera for name, camera in self.cameras.items() if isinstance(camera, PinholeCamera)}
        return CameraRig(tuple(good), tuple(good.values()))

    @property
    def unusable(self) -> dict[str, DataError]:
        """The cameras that cannot be used, with the reason."""
        return {name: error for name, error in self.cameras.items() if isinstance(error, DataError)}

    def select(self, names: Sequence[str] | None = None) -> CameraRig:
        """Return the rig of some cameras, in the order asked for, or of all, and log what was read.

        Raises:
            DataError: one of them is not there or cannot be used, or all of them stand in one place.
        """
        where = _named(self.files)
        chosen = list(self.cameras if names is None else names)
        for name in chosen:
            found = self.cameras.get(name) or _no_camera(name, list(self.cameras), where)
            if isinstance(found, DataError):
                raise found
        rig = self.rig.select(chosen)
        together = in_one_place(rig)
        if len(rig) > 1 and len(together) == math.comb(len(rig), PAIR):
            raise DataError(same_place(together[0]), where=where, hint=CHECK_TRANSLATIONS)
        _tell(logging.INFO, f"calibration {where}: {self.format}, cameras {', '.join(rig.names)}")
        for pair in together:
            _tell(logging.WARNING, f"{where}: {same_place(pair)}")
        for name in rig:
            if (share := undone_share(rig[name])) < 1:
                _tell(logging.WARNING, f"{where}: the lens of {name} cannot be undone in {1 - share:.1%} of its frame")
        return rig


def read_calibration(
    path: Source,
    *,
    size_wh: tuple[int, int] | None = None,
    names: Sequence[str] | None = None,
    cameras: Sequence[str] | None = None,
) -> CameraRig:
    """Read the cameras of a calibration, and log which form it was taken for.

    Args:
        path: a file of any of ``FORMATS``; for two files of one calibration, both, or their folder; of OpenCV's
            intrinsics and extrinsics one is enough.
        size_wh: width and height of the images, where the file does not say it.
        names: of the cameras, in the file's order; None takes those of the file.
        cameras: those that are wanted, in that order; None wants all. What is wrong with others does no harm.

    Returns:
        The rig, float64, in the unit of the file's translations.

    Raises:
        DataError: the file cannot be read, or a camera that is wanted is impossible; the message names file, camera
            and reason.
    """
    return open_calibration(path, size_wh=size_wh, names=names).select(cameras)


@cache
def _tell(level: int, line: str) -> None:
    """Log a line once: training reads its calibration for each split and each loss."""
    log.log(level, "%s", line)


def open_calibration(
    path: Source, *, size_wh: tuple[int, int] | None = None, names: Sequence[str] | None = None
) -> Calibration:
    """Read the cameras of a calibration, those that cannot be used with the reason, and say which form it has.

    Arguments are those of :func:`read_calibration`.

    Raises:
        DataError: the file cannot be read, or not one of its cameras can be used.
    """
    size_wh = None if size_wh is None else resolution(list(size_wh), "the size that was given")
    format, found, files = _parse(_files(path), size_wh, tuple(names) if names else None)
    where = _named(files)
    calibration = Calibration(_renamed(found, names, where), format, files)
    unusable = calibration.unusable
    if len(unusable) == len(found):
        raise next(iter(unusable.values()))
    _check_size(calibration.rig, size_wh, where)
    return calibration


class _Parsed(NamedTuple):
    format: str
    cameras: Cameras
    files: tuple[Path, ...]


def _named(files: Sequence[Path]) -> str:
    return " and ".join(map(str, files))


def _no_camera(name: str, known: list[str], where: str) -> DataError:
    return DataError(
        "the calibration has no such camera",
        where=where,
        expected=f"one of {', '.join(known)}",
        got=name,
        hint=closest(name, known),
    )


def _files(path: Source) -> tuple[Path, ...]:
    if not isinstance(path, str | Path):
        return tuple(Path(part) for part in path)
    folder = Path(path)
    if not folder.is_dir():
        return (folder,)
    inside = [file for file in sorted(folder.iterdir()) if file.suffix.lower() in STORAGE_SUFFIXES]
    for words in PAIRS_OF_FILES:
        chosen = [[file for file in inside if word in file.stem.lower()] for word in words]
        if all(len(files) == 1 for files in chosen):
            return tuple(files[0] for files in chosen)
    raise DataError(
        "a folder is not a calibration",
        where=str(folder),
        expected="OpenCV's intrinsics.yml and extrinsics.yml in it, or left.yaml and right.yaml of ROS",
        got=", ".join(file.name for file in inside) or "no such files",
        hint="Give the file itself.",
    )


def _parse(files: tuple[Path, ...], size_wh: tuple[int, int] | None, names: tuple[str, ...] | None) -> _Parsed:
    if not 0 < len(files) <= PAIR:
        raise DataError(
            "cannot join these files", expected="one file, or two that belong together", got=str(len(files))
        )
    language, content = _content(files[0])
    where = str(files[0])
    if len(files) == 1:
        storage = _storage(content, where)
        form = next((form for form in FORMS if isinstance(content, Mapping) and form.holds(content)), None)
        if form is None and (storage is None or not storage.is_calibration):
            form = next((form for form in FORMS if form.language == language), None)
            if form is None:
                raise _unknown(where)
        if form is not None:
            return _Parsed(form.name, form.read(content, where), files)
        other = _companion(files[0]) if storage is not None and storage.is_half else None
        files = files if other is None else (*files, other)
    return _Parsed(OPENCV, _read_storages(files, size_wh, names), files)


def _read_storages(files: tuple[Path, ...], size_wh: tuple[int, int] | None, names: tuple[str, ...] | None) -> Cameras:
    storages = []
    for file in files:
        content = _content(file)[1]
        storage = _storage(content, str(file))
        if storage is None or not storage.is_calibration:
            raise _unjoined(files, content) if len(files) == PAIR else _unknown(str(file))
        storages.append(storage)
    if len(files) == 1:
        return read_opencv(storages[0], size_wh, names)
    if not any(each.is_stereo for each in storages):
        return read_rectified(storages, size_wh, names)
    return read_opencv(storages[0].joined(storages[1]), size_wh, names)


def _storage(content: Any, where: str) -> Storage | None:
    return storage_of(content, where) if isinstance(content, Mapping) else None


def _content(file: Path) -> tuple[str, Any]:
    """Parse a file; also says which language it is written in, as its content tells, not its name."""
    text, where = _text(file), str(file)
    start, suffix = text.lstrip()[:1], file.suffix.lower()
    if start == "<":
        return "XML", parse_xml(text, where)
    if start == "{" or suffix == ".json":
        return "JSON", parse_json(text, where)
    is_toml = suffix == ".toml" or (start != "%" and TOML_TABLE.search(text) is not None)
    try:
        return ("TOML", parse_toml(text, where)) if is_toml else ("YAML", parse_yaml(text, where))
    except DataError as error:
        if suffix in (".toml", *YAML_SUFFIXES) or start == "%":
            raise
        raise _unknown(where, error.problem.got) from error


def _unjoined(files: Sequence[Path], content: Any) -> DataError:
    form = next((form for form in FORMS if isinstance(content, Mapping) and form.holds(content)), None)
    return DataError(
        "cannot join these files",
        where=_named(files),
        expected="OpenCV's intrinsics and extrinsics, or two cameras of ROS",
        got="another format" if form is None else form.name,
        hint="Give one file that holds all cameras.",
    )


def _unknown(where: str, got: str = "something else") -> DataError:
    return DataError(
        "unknown format of calibration",
        where=where,
        expected=f"one of: {'; '.join(FORMATS)}",
        got=got,
        hint="Is this the right file?",
    )


def _companion(file: Path) -> Path | None:
    """Find extrinsics.yml beside intrinsics.yml, and the other way round."""
    one, other = PAIRS_OF_FILES[0]
    for word, instead in ((one, other), (other, one)):
        beside = file.with_name(file.name.replace(word, instead))
        if beside != file and beside.is_file():
            return beside
    return None


def _text(file: Path) -> str:
    where = str(file)
    try:
        with open_file(file) as stream:
            content = stream.read(MOST_BYTES + 1)
        if content.startswith(GZIP):  # OpenCV writes so where a name ends in .gz
            with gzip.open(io.BytesIO(content)) as packed:
                content = packed.read(MOST_BYTES + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise _unknown(where, "a damaged .gz file") from error
    except OSError as error:
        raise DataError(
            "cannot read the calibration", where=where, got=error.strerror or str(error), hint="Check the path."
        ) from error
    try:
        text, encoding = decoded_text(content)
    except UnicodeDecodeError as error:
        raise _unknown(where) from error
    if len(content) > MOST_BYTES or "\0" in text or not text.strip():
        raise _unknown(where, "something else" if text.strip() else "an empty file")
    if encoding == WINDOWS:
        _tell(logging.WARNING, f"{where}: not UTF-8, read as Latin-1 (Windows-1252)")
    return text


def _renamed(cameras: Cameras, names: Sequence[str] | None, where: str) -> Cameras:
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


def _check_size(rig: CameraRig, size_wh: tuple[int, int] | None, where: str) -> None:
    for name in rig:
        if size_wh is not None and rig[name].size_wh != size_wh:
            raise DataError(
                "wrong resolution",
                where=f"{where}, camera {name}",
                expected="{}x{}".format(*size_wh),
                got="{}x{}".format(*rig[name].size_wh),
                hint="Leave the size out: the file says it.",
            )
