"""Write one line of a StructuredDataset: its images into one folder per datakey, everything else as JSON."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from cogkp.data.images import encode_image
from cogkp.data.keypoint.structured.reader import LINES_FILE
from cogkp.errors import DataError
from cogkp.files import json_text, writing_to

MOST_NUMBERS = 10_000
"""Larger arrays are images of the wrong type more likely than numbers that belong into a line."""


@attrs.frozen
class LineWriter:
    """Stores the leaves of one line.

    Args:
        folder: of the data set.
        number: of the images.
        suffix: file format of colour images of 8 bits.
        files: that were written so far.
    """

    folder: Path
    number: int
    suffix: str
    files: list[Path] = attrs.field(factory=list)

    def text(self, line: Mapping[str, Any]) -> bytes:
        """Write the images of a line, and return the line; DataError where a value cannot be stored."""
        if not isinstance(line, Mapping):
            raise DataError("a line is a dictionary", expected="names and values", got=type(line).__name__)
        return json_text(self.stored(line, "")).encode() + b"\n"

    def stored(self, value: Any, datakey: str) -> Any:
        """Return what ``data.jsonl`` says about a value."""
        if isinstance(value, Mapping):
            return {self._name(key): self.stored(item, _joined(datakey, key)) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.stored(item, _joined(datakey, str(place))) for place, item in enumerate(value)]
        if isinstance(value, np.ndarray) and value.ndim > 1 and value.dtype.kind in "bui":
            return self._image(value, datakey)
        if isinstance(value, np.ndarray | np.generic):
            if value.size > MOST_NUMBERS:
                raise _no_image("the array is too large for a line", value, datakey)
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
        right = pixels.shape[2:] == (3,) if colour else pixels.ndim == 2  # noqa: PLR2004
        if pixels.dtype not in (np.uint8, np.uint16) or not pixels.size or not right:
            raise _no_image("the array is no image", pixels, datakey)
        suffix = self.suffix if colour and pixels.dtype == np.uint8 else ".png"
        return self._file(datakey, suffix, encode_image(pixels, suffix))

    def _copy(self, source: Path, datakey: str) -> str:
        try:
            data = source.read_bytes()
        except OSError as error:
            raise DataError("the file cannot be copied", where=str(source), got=error.strerror or str(error)) from error
        if not data:
            raise DataError("the file is empty", where=str(source), expected="an image")
        return self._file(datakey, source.suffix, data)

    def _file(self, datakey: str, suffix: str, data: bytes) -> str:
        if datakey.strip(".") == "" or set(datakey) & set('/\\\0:*?"<>|') or datakey == LINES_FILE:
            raise DataError("the name cannot be a folder's name", got=repr(datakey))
        path = self.folder / datakey / f"{self.number:06d}{suffix}"
        with writing_to(path):
            path.parent.mkdir(exist_ok=True)
            with path.open("xb") as file:
                self.files.append(path)
                file.write(data)
        return path.relative_to(self.folder).as_posix()

    def _plain(self, value: Any, datakey: str) -> Any:
        if isinstance(value, float) and not math.isfinite(value):
            return None
        if value is None or isinstance(value, bool | int | float | str):
            return value
        raise DataError("the value cannot be stored", where=datakey, expected="JSON, array or path", got=repr(value))


def _no_image(what: str, value: Any, datakey: str) -> DataError:
    expected = f"an image as uint8 or uint16, (H, W) or (H, W, 3), or at most {MOST_NUMBERS} other numbers"
    return DataError(what, where=datakey, expected=expected, got=f"{value.dtype}, {value.shape}")


def _joined(datakey: str, part: str) -> str:
    return f"{datakey}.{part}" if datakey else part
