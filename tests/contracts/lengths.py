"""Warn of long files and functions: ``python -m tests.contracts.lengths``. A hint to readers, never a failure."""

from __future__ import annotations

import ast

from tests.contracts.test_house import LIBRARY, PYTHON, functions, named

LONG_FILE = 400
LONG_FUNCTION = 60


def main() -> None:
    """Print one line for each file of more than 400 lines and each function of more than 60."""
    for path in PYTHON:
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if lines > LONG_FILE:
            print(f"warning: {named(path)}: {lines} lines")
    for path in LIBRARY:
        for node in functions(path):
            if (lines := _length(node)) > LONG_FUNCTION:
                print(f"warning: {named(path)}:{node.lineno}: {node.name} has {lines} lines")


def _length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


if __name__ == "__main__":
    main()
