"""Records of a run folder: the resolved configuration, and every session that trained in it.

``run_config.json`` can be given to ``--config`` again. ``run.json`` lists the sessions: when each began, by which
command, with which versions, on which machine and data, and what it was to do.
"""

import json
import os
import platform
import shlex
import socket
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from itertools import zip_longest
from pathlib import Path
from typing import Any

import attrs
import torch

from cogkp.artifacts.newest import notes_for
from cogkp.artifacts.runs import METRICS_NAME, RECORD_NAME
from cogkp.files import in_own_folder, read_whole, text_lines, write_json

FORMAT_VERSION = 1
LIBRARIES = ("cogkp", "torch", "numpy", "opencv-python-headless", "opencv-python", "tensorboardX")
CPU_FACTS = Path("/proc/cpuinfo")


@attrs.frozen(kw_only=True)
class Session:
    """One call that trained in a run folder.

    Args:
        plan: what was to be done, in one line.
        options: the training's options, ready for JSON.
        config_sha256: hash of the configuration.
        data: the data's fingerprint by split.
        restored: the checkpoint it went on from, None for a new run.
        changes: what had changed since that checkpoint: configuration and data, one line each.
    """

    plan: str
    options: Mapping[str, Any]
    config_sha256: str
    data: Mapping[str, Any]
    restored: str | None = None
    changes: Sequence[str] = ()


def record_session(folder: Path, session: Session) -> None:
    """Add a session, about to train, to those a run folder knows; raises OutputError where it cannot be written."""
    now = {
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": shlex.join(sys.argv),
        "folder": str(Path.cwd()),
        **attrs.asdict(session),
        **notes_for(folder, folder.parent),
        "versions": library_versions(),
        "machine": describe_machine(),
    }
    sessions = [*read_sessions(folder), now]
    record = {"format_version": FORMAT_VERSION, "sessions": sessions}
    write_json(folder / RECORD_NAME, record, in_own_folder)


def read_sessions(folder: Path) -> list[dict[str, Any]]:
    """Read the sessions a folder knows, oldest first; none where there is no readable record."""
    try:
        record = json.loads(read_whole(folder / RECORD_NAME))
    except (OSError, ValueError, RecursionError):
        return []
    sessions = record.get("sessions") if isinstance(record, dict) else None
    return [each for each in sessions if isinstance(each, dict)] if isinstance(sessions, list) else []


def training_seconds(folder: Path) -> float | None:
    """Return how long the sessions of a run worked, from their starts to their last lines of the history.

    The time between sessions does not count; None where the folder does not say.
    """
    starts = [moment for session in read_sessions(folder) if (moment := _moment(session.get("started")))]
    lines = text_lines(folder / METRICS_NAME)
    moments = [moment for line in lines if (moment := _moment(_time_of(line)))]
    total, known = 0.0, False
    for start, end in zip_longest(starts, starts[1:]):
        own = [moment for moment in moments if moment >= start and (end is None or moment < end)]
        total, known = total + (max(own) - start).total_seconds() if own else total, known or bool(own)
    return total if known else None


def library_versions() -> dict[str, str]:
    """Return the versions of Python and of those libraries that are installed."""
    return {
        "python": platform.python_version(),
        **{name: found for name in LIBRARIES if (found := installed_version(name))},
    }


def describe_machine() -> dict[str, Any]:
    """Return what may explain a difference between two runs: host, system, processors, threads and GPUs."""
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "host": socket.gethostname(),
        "system": platform.platform(),
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpus": gpus,
    }


def installed_version(library: str) -> str:
    """Return the version of a library, empty where it is not installed."""
    try:
        return version(library)
    except PackageNotFoundError:
        return ""


def _cpu_name() -> str:
    try:
        lines = CPU_FACTS.read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _time_of(line: str) -> Any:
    try:
        facts = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return facts.get("time") if isinstance(facts, dict) else None


def _moment(text: Any) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return moment if moment.tzinfo is not None else None
