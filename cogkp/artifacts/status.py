"""Write ``status.json``: the progress of a command, one JSON object per line, for programs that watch.

Lines are only ever added. They hold what others read: date, time, status, verbosity, message, and figures.
"""

import json
import math
import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from cogkp.artifacts.names import Clock
from cogkp.files import make_folder, writing_to

Status = Literal["STARTED", "RUNNING", "SUCCESS", "FAILURE", "SKIPPED"]
Verbosity = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]


class StatusLog:
    """Appends lines, by the local time of the clock, to a status file; what it holds already stays."""

    def __init__(self, path: Path, clock: Clock = datetime.now) -> None:
        self.path = path
        self._clock = clock

    def write(
        self,
        status: Status,
        message: str,
        *,
        verbosity: Verbosity = "INFO",
        kpi: Mapping[str, Any] | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        """Add one line; raises OutputError where it cannot be written.

        ``kpi`` are figures of merit by name, ``facts`` other keys of the line; in training epoch, step, max_epoch,
        max_step, time_per_epoch, time_per_step and eta.
        """
        line = status_line(self._clock(), status, message, verbosity=verbosity, kpi=kpi, facts=facts)
        make_folder(self.path.parent)
        with writing_to(self.path), self.path.open("a+b") as stream:
            # A process that died within a line must not spoil the next one.
            gap = b"" if _ends_a_line(stream) else b"\n"
            stream.write(gap + line.encode("utf-8") + b"\n")


def status_line(
    moment: datetime,
    status: Status,
    message: str,
    *,
    verbosity: Verbosity = "INFO",
    kpi: Mapping[str, Any] | None = None,
    facts: Mapping[str, Any] | None = None,
) -> str:
    """Put one line of a status file together; numbers that are not finite become null.

    Example:
        >>> status_line(datetime(2026, 1, 31, 9, 5, 7), "STARTED", "training")
        '{"date": "1/31/2026", "time": "9:5:7", "status": "STARTED", "verbosity": "INFO", "message": "training"}'
    """
    line = {
        "date": f"{moment.month}/{moment.day}/{moment.year}",
        "time": f"{moment.hour}:{moment.minute}:{moment.second}",
        "status": status,
        "verbosity": verbosity,
        "message": message,
        **({} if kpi is None else {"kpi": kpi}),
    }
    return json.dumps(
        _finite({**line, **{key: part for key, part in (facts or {}).items() if key not in line}}), allow_nan=False
    )


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _ends_a_line(stream: Any) -> bool:
    if stream.seek(0, os.SEEK_END) == 0:
        return True
    stream.seek(-1, os.SEEK_END)
    return bool(stream.read(1) == b"\n")
