"""Other people's libraries, each in an environment of its own, timed in turn with ours.

A peer is a process that waits on a pipe while others have their turn. Arrays travel as files, words as lines of JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.serving import MARK

__all__ = ["Peer", "cpu_clock", "environment", "one_thread", "start"]

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".benchmarks" / "peers"

# Every pool of threads that one of the peers may own.
ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS", "NPROC"), "1"
)


def one_thread() -> None:
    """Keep this process, and those it starts, on one core: JAX has no other way to ask for one thread."""
    os.environ.update(ONE_THREAD)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def environment(name: str, requirements: Sequence[str], *, bare: Sequence[str] = ()) -> Path:
    """Make an environment with pinned packages, once, and return its interpreter.

    Args:
        name: of its folder.
        requirements: packages, installed with what they need.
        bare: packages that are installed without what they name as needed.
    """
    home = CACHE / name
    python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    made, wanted = home / "requirements.txt", "\n".join([*requirements, *bare])
    if not (made.exists() and made.read_text(encoding="utf-8") == wanted):
        print(f"installing {' '.join([*requirements, *bare])} into {home}", file=sys.stderr)
        venv.create(home, clear=True, with_pip=True)
        words = [str(python), "-m", "pip", "install", "--quiet", "-c", str(ROOT / "constraints.txt")]
        subprocess.run([*words, *requirements], check=True)
        if bare:
            subprocess.run([*words, "--no-deps", *bare], check=True)
        made.write_text(wanted, encoding="utf-8")
    return python


def cpu_clock(*peers: Peer) -> Callable[[], float]:
    """Return a clock of the processor time of this process and its peers, which waits for nobody.

    On one thread it tells what a clock on the wall tells on an idle machine, and it stands still while other programs
    have the core.
    """
    return lambda: time.process_time() + sum(peer.cpu_s for peer in peers)


@contextmanager
def start(command: Sequence[str], inputs: Mapping[str, np.ndarray]) -> Iterator[Peer]:
    """Start a script that calls :func:`benchmarks.peers.serving.serve`, hand it arrays, and end it afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        arrays = Path(folder) / "inputs.npz"
        np.savez(arrays, **dict(inputs))
        with subprocess.Popen(
            [*command, str(arrays)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        ) as process:
            yield Peer(process, Path(folder))


class Peer:
    """A process that runs its ways when told to; see :func:`start`.

    Args:
        versions: of the packages it runs.
        names: of its ways.
        cpu_s: processor time it has used until its last answer, seconds.
    """

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self._process, self._folder = process, folder
        self.cpu_s = 0.0
        hello = self._read()
        self.versions: dict[str, str] = hello["versions"]
        self.names: list[str] = hello["ways"]

    def ways(self) -> dict[str, Callable[[], object]]:
        """Return one function per way, that comes back when the peer is done."""
        return {name: partial(self._ask, name, "") for name in self.names}

    def result(self, name: str) -> np.ndarray:
        """Run a way once and return what it found."""
        target = self._folder / "result.npy"
        self._ask(name, str(target))
        return np.asarray(np.load(target))

    def _ask(self, name: str, target: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"way": name, "target": target}) + "\n")
        self._process.stdin.flush()
        self.cpu_s = self._read()["cpu_s"]

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(MARK):
                return dict(json.loads(line[len(MARK) :]))
            print(line, end="", file=sys.stderr)
        raise ChildProcessError(f"the peer ended with code {self._process.wait()}; what it said is above")
