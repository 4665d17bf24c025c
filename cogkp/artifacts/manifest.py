"""The manifest of a deployed model: inputs, outputs, pre- and postprocessing, and where the model came from.

The manifest is a JSON file beside the model. The same facts travel inside the ONNX file as metadata, one JSON value per
key under the prefix ``cogkp.``, so that a file that lost its neighbour still explains itself.
"""

import json
import logging
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import attrs
import cattrs

from cogkp.artifacts.names import ONNX_ENDINGS, file_sha256, manifest_path
from cogkp.errors import ArtifactError
from cogkp.files import is_json_with, json_text, read_whole, write_json

FORMAT_VERSION = 2
READABLE = (1, FORMAT_VERSION)
"""The first version had no batch of any size and no rounding; what it has means the same."""
_PREFIX = "cogkp."
_METADATA_BYTES = 1 << 20

ANY_BATCH = "batch_size"
"""The first axis of a model that takes any number of rows; the same word as in its ONNX file."""

UNKNOWN = "unknown"

log = logging.getLogger("cogkp")

Shape = tuple[int | str, ...]
"""Lengths of axes, batch first; the first may be :data:`ANY_BATCH`."""


@attrs.frozen
class InputFacts:
    """One input of a deployed model.

    Args:
        dtype: numpy's word, 'float32'.
        range: smallest and largest meaningful value, None where unknown.
    """

    name: str
    shape: Shape
    dtype: str = "float32"
    range: tuple[float, float] | None = None


@attrs.frozen
class OutputFacts:
    """One output of a deployed model.

    Args:
        unit: 'px', 'probability', 'logit', ...
        tolerance: largest allowed difference to the source model, in that unit.
        dtype: numpy's word, 'float32'.
    """

    name: str
    shape: Shape
    unit: str
    tolerance: float
    dtype: str = "float32"

    @property
    def holds_points(self) -> bool:
        """Whether the last axis is a point in pixels, so that differences are distances."""
        return self.unit == "px" and self.shape[-1:] == (2,)


@attrs.frozen
class Signature:
    """Names, types and shapes of a model's inputs and outputs; every runner is checked against it.

    Args:
        inputs: in order.
        outputs: in order.
        inner: of a model in two steps, the values between them; they are no outputs of the file.
    """

    inputs: tuple[InputFacts, ...]
    outputs: tuple[OutputFacts, ...]
    inner: tuple[OutputFacts, ...] = ()


@attrs.frozen
class OutputDifference:
    """How far one output of an exported model lies from its source, over all inputs compared.

    Args:
        unit: of all numbers here.
        tolerance: allowed ``maximum``.
        maximum: largest difference; for points the Euclidean distance.
        worst_input: the input that gave ``maximum``.
    """

    output: str
    unit: str
    tolerance: float
    maximum: float
    p99: float
    mean: float
    worst_input: str


@attrs.frozen
class Origin:
    """Where the weights came from.

    Args:
        config_sha256: hash of the configuration.
        checkpoint: path as given, or 'untrained'.
        checkpoint_sha256: of that file; None where untrained.
        images: what the training images were like; empty where nobody wrote it down.
    """

    config_sha256: str
    checkpoint: str = "untrained"
    checkpoint_sha256: str | None = None
    images: Mapping[str, Any] = attrs.field(factory=dict)


@attrs.frozen
class EngineInfo:
    """How an engine was built.

    Args:
        builder: 'trtexec', 'tensorrt' or 'tensorrt_rtx'.
        version: of the builder.
        precision: of the layers before the last learnt ones.
        gpu: name of the GPU it was built on; None where it was built without one.
        batch_sizes: fewest, usual and most rows; None for the fixed batch of its ONNX file.
        rounding: what its numbers of few bits cost, as measured before it was built; empty where nothing was measured.
    """

    builder: str
    version: str
    precision: str
    gpu: str | None
    batch_sizes: tuple[int, int, int] | None = None
    rounding: dict[str, float] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class Manifest:
    """All facts about one deployed model.

    Args:
        format_version: of this record.
        created: UTC, ISO 8601.
        versions: of the libraries that took part.
        origin: where the weights came from.
        precision: the tag in the name; the ONNX file itself always holds float32.
        batch_size: fixed; None for a model that takes any.
        opset: of the ONNX file.
        facts: what the model family adds: crop rule, point names, classes.
        parity: comparison of the ONNX file with the source model, one entry per output and per value between steps.
        onnx_sha256: of the ONNX file; None inside that file's own metadata.
        engine: None for an ONNX file.
        engine_sha256: of the engine file; None for an ONNX file.
    """

    created: str
    versions: dict[str, str]
    origin: Origin
    precision: str
    batch_size: int | None
    opset: int
    inputs: tuple[InputFacts, ...]
    outputs: tuple[OutputFacts, ...]
    facts: dict[str, Any]
    parity: tuple[OutputDifference, ...]
    onnx_sha256: str | None = None
    engine: EngineInfo | None = None
    engine_sha256: str | None = None
    format_version: int = FORMAT_VERSION

    @property
    def signature(self) -> Signature:
        """The inputs and outputs alone."""
        return Signature(self.inputs, self.outputs)


def utc_now() -> str:
    """Return the time in the form ``created`` has."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def write_manifest(manifest: Manifest, model_path: Path) -> Path:
    """Write the manifest beside its model, atomically; returns where it lies."""
    path = manifest_path(model_path)
    write_json(path, _CONVERTER.unstructure(manifest), is_manifest)
    return path


def is_described(model_path: Path) -> bool:
    """Say whether a model is one of ours: its manifest lies beside it and was written for this very file."""
    try:
        read_manifest(model_path)
    except ArtifactError:
        return False
    return True


def is_release(onnx_path: Path) -> bool:
    """Say whether an ONNX file bears our metadata, which lie at its end."""
    with onnx_path.open("rb") as stream:
        stream.seek(max(0, onnx_path.stat().st_size - _METADATA_BYTES))
        return f"{_PREFIX}versions".encode() in stream.read()


def is_manifest(path: Path) -> bool:
    """Say whether a file is a manifest."""
    return is_json_with(path, "format_version", "inputs", "outputs")


def read_manifest(model_path: Path) -> Manifest:
    """Read the manifest of an ONNX file or engine and make sure that it belongs to this very file.

    Raises:
        ArtifactError: no manifest, not readable, of another version, or written for other content.
    """
    manifest = _read(manifest_path(model_path))
    recorded = manifest.onnx_sha256 if manifest.engine is None else manifest.engine_sha256
    if recorded != file_sha256(model_path):
        raise ArtifactError(
            "manifest belongs to another file",
            where=str(model_path),
            expected=f"SHA-256 {recorded}",
            got="other content",
            hint="Deploy again, so that model and manifest are written together.",
        )
    return manifest


def read_engine_manifest(engine_path: Path) -> Manifest:
    """Read the manifest of an engine; where it has none of its own, take that of the ONNX file of the same stem.

    So an engine that was built elsewhere can be used: ``box.engine`` with ``box.manifest.json`` of ``box.onnx``. What
    runs it compares names, shapes and types with the engine; that the weights are the same nobody can see.

    Returns:
        An engine's manifest; builder and precision of one that was built elsewhere are guesses.

    Raises:
        ArtifactError: there is neither, or the one that is there cannot be used.
    """
    if manifest_path(engine_path).is_file():
        return read_manifest(engine_path)
    onnx = [engine_path.with_name(engine_path.stem + ending) for ending in ONNX_ENDINGS]
    source = next((path for path in onnx if manifest_path(path).is_file()), None)
    if source is None:
        wanted = manifest_path(onnx[-1])
        raise ArtifactError(
            "the engine has no manifest",
            where=str(engine_path),
            expected=f"{manifest_path(engine_path).name} beside it, or {wanted.name} of its ONNX file",
            got="neither",
            hint=f"If it was built from MODEL.onnx by other means than s6, copy MODEL.manifest.json to {wanted}.",
        )
    manifest = read_manifest(source) if source.is_file() else _read(manifest_path(source))
    if manifest.engine is not None:
        raise ArtifactError(
            "manifest belongs to another engine", where=str(manifest_path(source)), expected="that of an ONNX file"
        )
    message = "%s has no manifest of its own: that of %s is taken; whether both have the same weights cannot be seen"
    log.warning(message, engine_path, source.name)
    return attrs.evolve(manifest, engine=EngineInfo("trtexec", UNKNOWN, UNKNOWN, None))


def to_metadata(manifest: Manifest) -> dict[str, str]:
    """Flatten a manifest into the text pairs an ONNX file can carry."""
    record: dict[str, Any] = _CONVERTER.unstructure(manifest)
    return {_PREFIX + key: json_text(value) for key, value in record.items()}


def from_metadata(pairs: Mapping[str, str], *, where: str) -> Manifest:
    """Rebuild a manifest from the metadata of an ONNX file; ArtifactError where no or another version wrote it."""
    own = {key.removeprefix(_PREFIX): value for key, value in pairs.items() if key.startswith(_PREFIX)}
    try:
        record = {key: json.loads(value) for key, value in own.items()}
    except (ValueError, RecursionError) as error:
        raise ArtifactError("metadata is not JSON", where=where, got=str(error)) from error
    return _structure(record, where)


_CONVERTER = cattrs.Converter(forbid_extra_keys=True)


def _axis(value: Any, _: Any) -> int | str:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise TypeError(f"expected a length or a word, got {value!r}")
    return value


_CONVERTER.register_structure_hook(int | str, _axis)


def _read(path: Path) -> Manifest:
    return _structure(_read_json(path), str(path))


def _read_json(path: Path) -> Any:
    try:
        return json.loads(read_whole(path))
    except FileNotFoundError as error:
        raise ArtifactError("manifest is missing", where=str(path), hint="It is written beside the model.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise ArtifactError("manifest cannot be read", where=str(path), got=str(error)) from error


def _structure(record: Any, where: str) -> Manifest:
    version = record.get("format_version") if isinstance(record, dict) else None
    if version not in READABLE:
        wanted = " or ".join(map(str, READABLE))
        raise ArtifactError("manifest is of an unknown version", where=where, expected=wanted, got=repr(version))
    try:
        return _CONVERTER.structure(record, Manifest)
    except cattrs.BaseValidationError as error:
        raise ArtifactError(
            "manifest is damaged", where=where, got="; ".join(cattrs.transform_error(error, path="manifest"))
        ) from error
