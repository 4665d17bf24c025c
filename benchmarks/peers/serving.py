"""The peer's side of the pipe. Runs in foreign environments: needs nothing but numpy."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from importlib import metadata

import numpy as np

__all__ = ["MARK", "inputs", "serve"]

# Begins our lines, so that what libraries print is told apart (RFC 7464's record separator).
MARK = "\x1e"


def inputs() -> Mapping[str, np.ndarray]:
    """Read the arrays that came with the command line."""
    with np.load(sys.argv[1]) as arrays:
        return {name: arrays[name] for name in arrays.files}


def serve(ways: Mapping[str, Callable[[], object]], packages: tuple[str, ...]) -> None:
    """Say what there is, then run what is asked for until the pipe closes."""
    _reply(versions={name: metadata.version(name) for name in packages}, ways=list(ways))
    for line in sys.stdin:
        asked = json.loads(line)
        found = ways[asked["way"]]()
        if asked["target"]:
            np.save(asked["target"], np.asarray(found))
        _reply(cpu_s=time.process_time())


def _reply(**words: object) -> None:
    print(MARK + json.dumps(words), flush=True)
