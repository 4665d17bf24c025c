"""Build an engine with NVIDIA's command-line tool ``trtexec``."""

import logging
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from cogkp.artifacts.manifest import EngineInfo
from cogkp.errors import EngineError, printable
from cogkp.exporter.engine_options import AS_THE_FILE_SAYS, EngineOptions, profile_of
from cogkp.exporter.typed_onnx import HALF_PRECISIONS, float32_layers, read_onnx, typed
from cogkp.files import in_own_folder, write_bytes

_LOG = logging.getLogger("cogkp.export")
_TAIL_LINES = 3
_HELP_SECONDS = 60


def find_trtexec() -> str | None:
    """Return where ``trtexec`` lies on PATH, or None."""
    return shutil.which("trtexec")


def build_with_trtexec(
    onnx: Path,
    engine: Path,
    *,
    precision: str,
    log: Callable[[str], None],
    options: EngineOptions = AS_THE_FILE_SAYS,
) -> EngineInfo:
    """Run ``trtexec`` on an ONNX file.

    Where this release has no flag for the precision any more (TensorRT 11), the precision is written into a copy of the
    graph instead.

    Args:
        onnx: float32 model; for 'int8' one with quantised layers.
        engine: file to write, whole or not at all.
        precision: 'fp32', 'fp16', 'bf16' or 'int8'.
        log: takes one line per step.
        options: what else is wanted.

    Raises:
        EngineError: ``trtexec`` is missing or fails; its last lines are in the error.
    """
    tool = find_trtexec()
    if tool is None:
        raise EngineError("trtexec is not on PATH", hint="It comes with NVIDIA's TensorRT archive.")
    help_text = _run([tool, "--help"], timeout=_HELP_SECONDS).stdout
    with tempfile.TemporaryDirectory() as folder:
        source, draft = _source(onnx, precision, help_text, Path(folder), options), Path(folder) / engine.name
        command = [tool, *arguments(source, draft, precision, help_text, options)]
        log(printable(f"running {tool} on {onnx.name}, {precision}"))
        _LOG.debug(shlex.join(command))
        done = _run(command)
        for line in done.stdout.splitlines() if options.verbose else ():
            log(printable(line))
        _require_success(done, draft)
        write_bytes(engine, draft.read_bytes(), in_own_folder)
    gpu = torch.cuda.get_device_name(options.gpu) if torch.cuda.is_available() else None
    return EngineInfo("trtexec", _version(help_text), precision, gpu, options.batch_sizes)


def arguments(
    onnx: Path, engine: Path, precision: str, help_text: str, options: EngineOptions = AS_THE_FILE_SAYS
) -> list[str]:
    """List the arguments that one release of ``trtexec`` accepts, according to its own help."""
    words = [f"--onnx={onnx}", f"--saveEngine={engine}", *_wishes(onnx, options)]
    if precision == "int8":
        # The file says which layers are quantised; a release that still has the choice is told to follow it.
        flags = (flag for flag in ("--stronglyTyped", "--int8") if _has_flag(help_text, flag))
        return [*words, *list(flags)[:1]]
    if not _takes_precision(help_text, precision):
        return words
    return [*words, f"--{precision}", *_float32_constraints(onnx, help_text, options)]


def _wishes(onnx: Path, options: EngineOptions) -> list[str]:
    words = []
    if options.batch_sizes is not None:
        profile = profile_of(read_onnx(onnx), options)
        for word, place in (("min", 0), ("opt", 1), ("max", 2)):
            shapes = ",".join(f"{name}:{'x'.join(map(str, each[place]))}" for name, each in profile.items())
            words.append(f"--{word}Shapes={shapes}")
    if options.workspace_mib is not None:
        words.append(f"--memPoolSize=workspace:{options.workspace_mib}")
    if options.timing_cache is not None:
        words.append(f"--timingCacheFile={options.timing_cache}")
    words += [f"--device={options.gpu}"] if options.gpu else []
    return [*words, *(["--verbose"] if options.verbose else [])]


def _float32_constraints(onnx: Path, help_text: str, options: EngineOptions) -> list[str]:
    """Keep the head in float32: a position above 128 pixels has steps of a whole pixel in bfloat16."""
    if not (_has_flag(help_text, "--layerPrecisions") and _has_flag(help_text, "--precisionConstraints")):
        return []
    names = [name for name in float32_layers(read_onnx(onnx), options.layers) if name and not set(name) & set(":,*")]
    if not names:
        return []
    wanted = ",".join(f"{name}:fp32" for name in names)
    return ["--precisionConstraints=prefer", f"--layerPrecisions={wanted}"]


def _source(onnx: Path, precision: str, help_text: str, folder: Path, options: EngineOptions) -> Path:
    """Return the file to build from: the model itself, or a copy that carries the precision."""
    if precision not in HALF_PRECISIONS or _takes_precision(help_text, precision):
        return onnx
    copy = folder / f"{onnx.stem}.{precision}.onnx"
    copy.write_bytes(typed(read_onnx(onnx), precision, options.layers).SerializeToString())
    return copy


def _takes_precision(help_text: str, precision: str) -> bool:
    """Tell whether a precision flag may be given; a tool whose help says nothing gets the documented flag."""
    silent = not _has_flag(help_text, "--onnx")
    return _has_flag(help_text, f"--{precision}") or (silent and precision in HALF_PRECISIONS)


def _has_flag(help_text: str, flag: str) -> bool:
    return re.search(rf"(?<![\w-]){re.escape(flag)}(?![\w-])", help_text) is not None


def _run(command: list[str], timeout: float | None = None) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EngineError("trtexec cannot be run", where=command[0], got=str(error)) from error


def _require_success(done: subprocess.CompletedProcess[str], engine: Path) -> None:
    output = " | ".join(line.strip() for line in done.stdout.splitlines()[-_TAIL_LINES:] if line.strip())
    if done.returncode != 0:
        raise EngineError("trtexec failed", expected="exit code 0", got=f"{done.returncode}: {output}")
    if not engine.is_file() or engine.stat().st_size == 0:
        raise EngineError("trtexec wrote no engine", got=output)


def _version(help_text: str) -> str:
    """Read '10.6.0' out of '[TensorRT v100600]', the way releases since 10 write it."""
    match = re.search(r"\[TensorRT v(\d+)(\d\d)(\d\d)\]", help_text)
    return ".".join(str(int(part)) for part in match.groups()) if match else "unknown"
