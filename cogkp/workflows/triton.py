"""Lay an exported model out as a model repository of NVIDIA's Triton Inference Server."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from pathlib import Path

import attrs

from cogkp.artifacts.manifest import (
    InputFacts,
    Manifest,
    OutputFacts,
    Shape,
    read_engine_manifest,
    write_manifest,
)
from cogkp.artifacts.names import ONNX_ENDINGS, file_sha256, manifest_path
from cogkp.errors import ArtifactError, ModelError, printable
from cogkp.files import MARK, atomic_path, in_own_folder, is_plain_name, require_replaceable, write_text
from cogkp.inference.exported import ENGINE_SUFFIXES, ONNX_SUFFIX, described_onnx
from cogkp.workflows.printing import Printable

ONNX_PLATFORM, ENGINE_PLATFORM = "onnxruntime_onnx", "tensorrt_plan"
MODEL_FILES = {ONNX_PLATFORM: "model.onnx", ENGINE_PLATFORM: "model.plan"}
VERSION = "1"
DATA_TYPES = {
    "bool": "TYPE_BOOL",
    "uint8": "TYPE_UINT8",
    "int32": "TYPE_INT32",
    "int64": "TYPE_INT64",
    "float16": "TYPE_FP16",
    "float32": "TYPE_FP32",
    "float64": "TYPE_FP64",
}
PLAIN = re.compile(r"[ !#-\[\]-~]")
"""Characters that stand for themselves within quotes."""
MAX_BATCH_SIZE = 8
"""Images that Triton may pass together to a model of any batch, unless its engine or the caller says otherwise."""


@attrs.frozen(repr=False)
class TritonResult(Printable):
    """What was written.

    Args:
        folder: of the model, within the repository.
        config: the file that describes it to Triton.
        model: the copied model.
        manifest: beside it.
        max_batch_size: most images of one request; 0 where each has exactly the fixed batch of the model.
        least_batch_size: fewest that the engine was built for; 1 for all other models.
    """

    folder: Path
    config: Path
    model: Path
    manifest: Path
    max_batch_size: int
    least_batch_size: int

    def summary(self) -> str:
        """Say how the model is started, and what it takes."""
        takes = f"up to {self.max_batch_size} images a request" if self.max_batch_size else "its fixed batch"
        lines = [
            f"Triton model '{self.folder.name}', takes {takes}",
            f"tritonserver --model-repository={self.folder.parent}",
        ]
        if self.least_batch_size > 1:
            lines.append(f"the engine was built for {self.least_batch_size} images or more: it fails with fewer")
        return "\n".join(map(printable, lines))


def write_triton_repository(
    model: Path | str, folder: Path | str, *, name: str | None = None, max_batch_size: int | None = None
) -> TritonResult:
    """Write a model into a Triton model repository: ``config.pbtxt``, the model as version 1, its manifest beside it.

    Args:
        model: an exported ONNX file or engine with a manifest, beside it or within.
        folder: the repository; other models in it stay.
        name: of the model in the repository; None takes that of its file.
        max_batch_size: most images that pass together, for a model of any batch; None takes 8, or what the engine was
            built for. Not allowed for a fixed batch, which Triton is told with ``max_batch_size: 0`` and full shapes.

    Returns:
        Where everything lies.

    Raises:
        ArtifactError: the model cannot be used, has no manifest, or Triton cannot run it.
        ModelError: ``name`` or ``max_batch_size`` does not fit.
        OutputError: something cannot be written, or is there and was not written by this program.
    """
    source = Path(model)
    platform, manifest = _described_model(source)
    name = _own_name(source) if name is None else name
    if not is_plain_name(name) or name.startswith("."):
        raise ModelError("not a name for a model", where="name", expected="a plain word", got=repr(name))
    rows = _most_rows(manifest, max_batch_size, str(source))
    home = Path(folder) / name
    result = TritonResult(
        folder=home,
        config=home / "config.pbtxt",
        model=home / VERSION / MODEL_FILES[platform],
        manifest=manifest_path(home / VERSION / MODEL_FILES[platform]),
        max_batch_size=rows,
        least_batch_size=_batch_sizes(manifest)[0],
    )
    _write(result, _config(name, platform, manifest, rows), source, manifest)
    return result


def _write(result: TritonResult, config: str, source: Path, manifest: Manifest) -> None:
    """Write the config first: its mark says that the folder is ours, also where the process dies here."""
    require_replaceable([result.model, result.manifest], lambda _: result.config.is_file())
    write_text(result.config, config)
    with atomic_path(result.model, in_own_folder) as copy:
        shutil.copyfile(source, copy)
    write_manifest(manifest, result.model)


def _described_model(path: Path) -> tuple[str, Manifest]:
    """Say what runs a model, and what is known of it; its manifest is that of the very file."""
    if not path.is_file():
        raise ArtifactError("there is no such model", where=str(path), expected="an ONNX file or an engine")
    suffix = path.suffix.lower()
    if suffix == ONNX_SUFFIX:
        _, known = described_onnx(path)
        if known is None:
            raise ArtifactError(
                "the model has no manifest",
                where=str(path),
                expected=f"{manifest_path(path).name} beside it, or the facts within it",
                got="an ONNX file of another program",
                hint="Export the model with s6.",
            )
        return ONNX_PLATFORM, attrs.evolve(known, onnx_sha256=file_sha256(path))
    if suffix not in ENGINE_SUFFIXES:
        expected = f"a name that ends in {', '.join((ONNX_SUFFIX, *ENGINE_SUFFIXES))}"
        hint = "A checkpoint is exported first." if suffix in (".pth", ".pt") else ""
        raise ArtifactError("not an exported model", where=str(path), expected=expected, got=path.name, hint=hint)
    return ENGINE_PLATFORM, _engine_manifest(path)


def _engine_manifest(path: Path) -> Manifest:
    manifest = read_engine_manifest(path)
    if manifest.engine is not None and manifest.engine.builder == "tensorrt_rtx":
        raise ArtifactError(
            "Triton cannot run this engine",
            where=str(path),
            expected="an engine of trtexec or of the package tensorrt",
            got="one of tensorrt_rtx",
            hint="Give the ONNX file, or build with --builder tensorrt.",
        )
    return attrs.evolve(manifest, engine_sha256=file_sha256(path))


def _own_name(path: Path) -> str:
    ending = next((each for each in ONNX_ENDINGS if path.name.endswith(each)), path.suffix)
    return re.sub(r"[^A-Za-z0-9_.-]", "_", path.name.removesuffix(ending))


def _batch_sizes(manifest: Manifest) -> tuple[int, int | None]:
    """Return the fewest and the most images of a model that has no fixed batch; None for any number."""
    built = manifest.engine
    if built is not None and built.batch_sizes is not None:
        return built.batch_sizes[0], built.batch_sizes[2]
    return 1, None


def _most_rows(manifest: Manifest, asked: int | None, where: str) -> int:
    """Choose ``max_batch_size``: 0 stands for a fixed batch."""
    if manifest.batch_size is not None:
        if asked:
            raise ModelError(
                "the model has a fixed batch",
                where=where,
                expected=f"no max_batch_size: it takes {manifest.batch_size} at a time",
                got=str(asked),
                hint="Export it for any batch.",
            )
        return 0
    most = _batch_sizes(manifest)[1]
    if asked is None:
        return most or MAX_BATCH_SIZE
    if asked < 1 or asked > (most or asked):
        bound = "1 or more" if most is None else f"1 to {most}, which the engine was built for"
        raise ModelError("max_batch_size does not fit the model", where=where, expected=bound, got=str(asked))
    return asked


def _config(name: str, platform: str, manifest: Manifest, rows: int) -> str:
    """Write the model's configuration in the text format of protocol buffers."""
    blocks = [
        f"# {MARK}; without this line the file is never replaced",
        f"name: {_quoted(name)}",
        f"platform: {_quoted(platform)}",
        f"max_batch_size: {rows}",
        _tensors("input", manifest.inputs, rows),
        _tensors("output", manifest.outputs, rows),
    ]
    if rows:
        blocks.append("dynamic_batching { }")
    return "\n".join(blocks) + "\n"


def _tensors(kind: str, entries: Iterable[InputFacts | OutputFacts], rows: int) -> str:
    """List names, types and shapes; Triton adds the first axis itself where requests are put together."""
    lines = [
        f"  {{\n    name: {_quoted(entry.name)}\n    data_type: {_data_type(entry)}\n"
        f"    dims: [ {_dims(entry.shape[1:] if rows else entry.shape)} ]\n  }}"
        for entry in entries
    ]
    return f"{kind} [\n" + ",\n".join(lines) + "\n]"


def _dims(shape: Shape) -> str:
    return ", ".join(str(length) if isinstance(length, int) else "-1" for length in shape)


def _data_type(entry: InputFacts | OutputFacts) -> str:
    if entry.dtype not in DATA_TYPES:
        raise ArtifactError(
            "Triton has no such type", where=entry.name, expected=", ".join(DATA_TYPES), got=entry.dtype
        )
    return DATA_TYPES[entry.dtype]


def _quoted(text: str) -> str:
    r"""Quote a name; what is not plain ASCII is written as its bytes.

    Example:
        >>> print(_quoted('a"b\\c\n'))
        "a\042b\134c\012"
    """
    return '"' + "".join(chr(byte) if PLAIN.fullmatch(chr(byte)) else f"\\{byte:03o}" for byte in text.encode()) + '"'
