"""House rules: public functions have docstrings, nothing is left unfinished, and no machine leaves its traces."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CODE = ("cogkp", "cli", "benchmarks", "examples")

PYTHON = sorted(path for folder in (*CODE, "tests") for path in (ROOT / folder).rglob("*.py"))
LIBRARY = [path for path in PYTHON if path.relative_to(ROOT).parts[0] in CODE]
TEXTS = [
    *PYTHON,
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted(path for path in ROOT.iterdir() if path.suffix in {".md", ".toml", ".txt", ".yaml"}),
    ROOT / "Makefile",
]

UNFINISHED = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X)\b")
OF_ONE_MACHINE = re.compile(r"(?<![\w.~])/(?:home|root|work|tmp|opt|mnt|srv)/\w")

Function = ast.FunctionDef | ast.AsyncFunctionDef


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def functions(path: Path) -> Iterator[Function]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    yield from (node for node in ast.walk(tree) if isinstance(node, Function))


def public(body: list[ast.stmt]) -> Iterator[Function]:
    """Functions of a module and methods of its public classes that an outsider may call."""
    for node in body:
        if isinstance(node, Function) and not node.name.startswith("_"):
            yield node
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public(node.body)


# Methods of an adapter are described where its protocol is.
@pytest.mark.parametrize("path", [path for path in LIBRARY if "families" not in path.parts], ids=named)
def test_public_functions_say_what_they_do(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    silent = [node.name for node in public(tree.body) if not ast.get_docstring(node) and not overload(node)]
    assert silent == []


def overload(node: Function) -> bool:
    return any(isinstance(mark, ast.Name) and mark.id == "overload" for mark in node.decorator_list)


@pytest.mark.parametrize("path", TEXTS, ids=named)
def test_nothing_is_left_unfinished(path: Path) -> None:
    assert UNFINISHED.findall(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", TEXTS, ids=named)
def test_no_machine_leaves_its_paths(path: Path) -> None:
    assert OF_ONE_MACHINE.findall(path.read_text(encoding="utf-8")) == []
