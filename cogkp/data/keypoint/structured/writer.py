"""Write StructuredDatasets: images in one folder per datakey, then ``data.jsonl``.

Everything is written into a hidden folder first and moved into place at the end, so that neither an error nor a full
disk leaves half a data set behind.
"""

import math
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from cogkp.data.images import encode_image
from cogkp.data.keypoint.structured.reader import LINES_FILE
from cogkp.errors import DataError, OutputError
from cogkp.files import atomic_path, json_text, staging_in, writing_to


def write_structured(
    root: Path | str, lines: Iterable[Mapping[str, Any]], *, suffix: str = ".png", replace: bool = False
) -> int:
    """Write a data set.

    Args:
        root: its folder; made if it does not exist. Other files in it are left alone.
        lines: one mapping per frame record, nested as wished. Leaves that are uint8 arrays (H, W) or (H, W, 3) RGB
            become images named after their datakey and line, ``LL.image/000012.png``; leaves that are paths are
            copied byte for byte; all others become JSON, where NaN and infinity turn into null, not labelled.
        suffix: file format of colour images. Single-channel arrays may be masks, and are always PNG.
        replace: whether an existing data set may be replaced. It stays valid until the new one is complete.

    Returns:
        How many lines were written.

    Raises:
        DataError: a value cannot be stored, or there are no lines.
        OutputError: there is a data set already, a folder of somebody else, or the folder cannot be written.
    """
    root = Path(root)
    if (root / LINES_FILE).exists() and not replace:
        raise OutputError(
            "there is a data set already", where=str(root), hint="Choose another folder, or ask for replacement."
        )
    made = not root.exists()
    try:
        with staging_in(root) as staging:
            count = _write_lines(staging, lines, suffix)
            _move_into(root, staging)
    finally:
        if made and root.is_dir() and not any(root.iterdir()):
            root.rmdir()
    return count


def _write_lines(staging: Path, lines: Iterable[Mapping[str, Any]], suffix: str) -> int:
    count = 0
    with atomic_path(staging / LINES_FILE) as temporary, temporary.open("wb") as file:
        for count, line in enumerate(lines, start=1):
            stored = _LineWriter(staging, count - 1, suffix).stored(line, "")
            file.write(json_text(stored).encode() + b"\n")
    if not count:
        raise DataError("there are no lines to write", where=str(staging.parent))
    return count


def _move_into(root: Path, staging: Path) -> None:
    """Let the old lines go first and the new ones come last: no moment shows old lines over new images."""
    written = sorted(staging.iterdir(), key=lambda entry: entry.name == LINES_FILE)
    lines = root / LINES_FILE
    foreign = [] if lines.exists() else [root / entry.name for entry in written if (root / entry.name).exists()]
    if foreign:
        raise OutputError("there is a folder of no data set", where=str(foreign[0]), hint="Choose another folder.")
    with writing_to(root):
        lines.unlink(missing_ok=True)
        for entry in written:
            target = root / entry.name
            if target.is_dir():
                shutil.rmtree(target)
            entry.replace(target)


@attrs.frozen
class _LineWriter:
    """Stores the leaves of one line."""

    folder: Path
    index: int
    suffix: str

    def stored(self, value: Any, datakey: str) -> Any:
        """Return what ``data.jsonl`` says about a value."""
        if isinstance(value, Mapping):
            return {self._name(key): self.stored(item, _joined(datakey, key)) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.stored(item, _joined(datakey, str(place))) for place, item in enumerate(value)]
        if isinstance(value, np.ndarray) and value.ndim > 1 and value.dtype.kind in "bui":
            return self._image(value, datakey)
        if isinstance(value, np.ndarray | np.generic):
            return self.stored(value.tolist(), datakey)
        if isinstance(value, Path):
            return self._copy(value, datakey)
        return self._plain(value, datakey)

    def _name(self, key: Any) -> str:
        if not isinstance(key, str):
            raise DataError("a name in a record must be text", got=repr(key))
        return key

    def _image(self, pixels: npt.NDArray[Any], datakey: str) -> str:
        colour = pixels.ndim == 3  # noqa: PLR2004
        if pixels.dtype != np.uint8 or not pixels.size or (pixels.shape[2:] != (3,) if colour else pixels.ndim != 2):  # noqa: PLR2004
            raise DataError(
                "the array is no image",
                where=datakey,
                expected="uint8, (H, W) or (H, W, 3)",
                got=f"{pixels.dtype}, {pixels.shape}",
            )
        suffix = self.suffix if colour else ".png"
        return self._file(datakey, suffix, encode_image(pixels, suffix))

    def _copy(self, source: Path, datakey: str) -> str:
        try:
            data = source.read_bytes()
        except OSError as error:
            raise DataError("the file cannot be copied", where=str(source), got=error.strerror or str(error)) from error
        return self._file(datakey, source.suffix, data)

    def _file(self, datakey: str, suffix: str, data: bytes) -> str:
        if datakey.strip(".") == "" or set(datakey) & set('/\\\0:*?"<>|') or datakey == LINES_FILE:
            raise DataError("the name cannot be a folder's name", got=repr(datakey))
        path = self.folder / datakey / f"{self.index:06d}{suffix}"
        with writing_to(path):
            path.parent.mkdir(exist_ok=True)
            with path.open("xb") as file:
                file.write(data)
        return path.relative_to(self.folder).as_posix()

    def _plain(self, value: Any, datakey: str) -> Any:
        if isinstance(value, float) and not math.isfinite(value):
            return None
        if value is None or isinstance(value, bool | int | float | str):
            return value
        raise DataError("the value cannot be stored", where=datakey, expected="JSON, array or path", got=repr(value))


def _joined(datakey: str, part: str) -> str:
    return f"{datakey}.{part}" if datakey else part
