"""The calibration cache of an INT8 engine: ranges of values, so that the images are read only once.

It belongs to one graph: weights and layers, not the ONNX file's metadata.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from cogkp.errors import ArtifactError
from cogkp.files import is_json_with, read_whole, write_json

KIND = "cogkp calibration"
FORMAT_VERSION = 1


@attrs.frozen
class CalibrationCache:
    """Ranges of the values inside one graph.

    Args:
        graph_sha256: which graph; see :func:`graph_sha256`.
        pictures: how many images were looked at.
        largest: by name of the value, the magnitude that becomes the largest whole number.
    """

    graph_sha256: str
    pictures: int
    largest: Mapping[str, float]


def graph_sha256(model: Any) -> str:
    """Return the SHA-256 of an ``onnx.ModelProto``'s graph alone, as hexadecimal digits."""
    return hashlib.sha256(model.graph.SerializeToString(deterministic=True)).hexdigest()


def write_calibration(path: Path, cache: CalibrationCache) -> None:
    """Write the file, whole or not at all."""
    content = {"kind": KIND, "format": FORMAT_VERSION, **attrs.asdict(cache, recurse=False)}
    write_json(path, content, lambda path: is_json_with(path, *content))


def read_calibration(path: Path) -> CalibrationCache | None:
    """Read the file, None where there is none; ArtifactError where it is something else, which stays as it is."""
    try:
        content = json.loads(read_whole(path))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ArtifactError("calibration cannot be read", where=str(path), got=error.strerror or "") from error
    except (ValueError, RecursionError) as error:
        raise _foreign(path) from error
    ours = KIND, FORMAT_VERSION
    if not isinstance(content, dict) or (content.pop("kind", None), content.pop("format", None)) != ours:
        raise _foreign(path)
    try:
        cache = CalibrationCache(**content)
        return attrs.evolve(cache, largest={str(name): float(value) for name, value in cache.largest.items()})
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise _foreign(path) from error


def _foreign(path: Path) -> ArtifactError:
    return ArtifactError(
        "not a calibration of this library",
        where=str(path),
        hint="Name another cal_cache_file; files of other programs hold other layers' ranges.",
    )
