"""Import TensorRT or TensorRT-RTX, and collect their log messages."""

import importlib
import importlib.util
import logging
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from cogkp.errors import EngineError

_LOG = logging.getLogger("cogkp.tensorrt")
_COMPLAINTS: deque[str] = deque(maxlen=1)
_LISTENERS: list[Callable[[str], None]] = []


def is_installed(package: str) -> bool:
    """Say whether 'tensorrt' or 'tensorrt_rtx' could be imported, without importing it."""
    return importlib.util.find_spec(package) is not None


def tensorrt_package(package: str) -> Any:
    """Import 'tensorrt' or 'tensorrt_rtx'; EngineError where it is not installed or one of its libraries is missing."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        extra = package.replace("_", "-")
        raise EngineError(
            f"Python package {package} cannot be used", got=str(error), hint=f"Run pip install 'cogkp[{extra}]'."
        ) from error


@cache
def tensorrt_logger(package: str) -> Any:
    """Return the one logger of this process for a package; TensorRT would ignore a second one, with a warning.

    Everything goes to Python's logger ``cogkp.tensorrt`` at debug level, so that the terminal stays quiet; all but the
    most talkative also to whom :func:`forward_messages` names.
    """
    trt = tensorrt_package(package)
    serious = (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR)

    class Log(trt.ILogger):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            _LOG.debug(message)
            if severity in serious:
                _COMPLAINTS.append(message)
            if severity != trt.ILogger.Severity.VERBOSE:
                for listener in _LISTENERS:
                    listener(message)

    return Log()


@contextmanager
def forward_messages(listener: Callable[[str], None] | None) -> Iterator[None]:
    """Forward TensorRT's log messages while the block runs; None forwards nothing."""
    if listener is None:
        yield
        return
    _LISTENERS.append(listener)
    try:
        yield
    finally:
        _LISTENERS.remove(listener)


def last_error() -> str:
    """Return the last error that TensorRT logged, or nothing."""
    return _COMPLAINTS[-1] if _COMPLAINTS else ""
