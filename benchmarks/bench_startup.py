"""How long it takes until something happens: the bare interpreter, the import, the help pages."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.harness import command, compare, show

__all__ = ["main"]


def main() -> None:
    """Measure the start of the library and of the command line as whole processes."""
    s6 = str(Path(sys.executable).with_name("s6"))
    ways = {
        "python -c pass": command(sys.executable, "-c", "pass"),
        "import cogkp": command(sys.executable, "-c", "import cogkp"),
        "import typer": command(sys.executable, "-c", "import typer"),
        "s6 --help": command(s6, "--help"),
        "s6 cog keypoint --help": command(s6, "cog", "keypoint", "--help"),
    }
    show("start of a process", compare(ways))


if __name__ == "__main__":
    main()
