"""How long a fresh process takes until a model's first answer, and how much memory it holds: a process of its own.

Run with one JSON object of arguments; it prints one JSON object. :mod:`cogkp.workflows.benchmark` starts it.
"""

import json
import sys
import time
from pathlib import Path

STATUS = Path("/proc/self/status")
KB = 1024


def main() -> None:
    """Load a model, ask it, and print seconds and bytes."""
    asked = json.loads(sys.argv[1])
    start = time.perf_counter()
    from cogkp.inference.model import load

    imported, memory = time.perf_counter(), [resident_bytes()]
    with load(asked["model"], threads=asked["threads"], fixed_buffers=asked["fixed_buffers"]) as model:
        loaded = time.perf_counter()
        images, ask = asked["images"], asked["ask"]
        model(images[0], **ask).to_dict()
        answered = time.perf_counter()
        memory.append(resident_bytes())
        for image in images[1:]:
            model(image, **ask).to_dict()
        memory.append(resident_bytes())
    seconds = {"import_s": imported - start, "load_s": loaded - imported, "first_answer_s": answered - loaded}
    names = ("imported_bytes", "first_answer_bytes", "last_answer_bytes")
    # The system's own record of the peak lags a little behind what a process holds.
    peak = max(filter(None, (*memory, peak_bytes())), default=None)
    print(json.dumps({**seconds, **dict(zip(names, memory, strict=True)), "peak_bytes": peak}))  # noqa: T201


def resident_bytes() -> int | None:
    """Return the memory that this process holds; None where the system does not say."""
    return _status("VmRSS")


def peak_bytes() -> int | None:
    """Return the most memory that this process has held; None where the system does not say."""
    return _status("VmHWM")


def _status(key: str) -> int | None:
    try:
        lines = STATUS.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * KB for line in lines if line.startswith(f"{key}:")), None)


if __name__ == "__main__":
    main()
