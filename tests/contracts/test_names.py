"""One name for one thing: class names are unique, and an image is called an image."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted(path for folder in ("cogkp", "cli") for path in (ROOT / folder).rglob("*.py"))

# Keys of files and of --json that are documented; a keyword argument or a field must carry them.
DOCUMENTED = {"picture", "pictures", "space_picture"}
MAY_SAY_PICTURE = {
    "cogkp/artifacts/calibration_cache.py",
    "cogkp/workflows/families/centerpose/engine.py",
    "cli/cogkp_cli/commands.py",
    "cli/cogkp_cli/centerpose.py",
}


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def identifiers(tree: ast.AST) -> Iterator[str]:
    """Every name that a module defines, passes or reads."""
    for node in ast.walk(tree):
        for field in ("id", "attr", "arg", "name", "asname"):
            if isinstance(name := getattr(node, field, None), str):
                yield name


def test_no_class_name_stands_twice() -> None:
    classes = Counter(
        node.name
        for path in MODULES
        if path.is_relative_to(ROOT / "cogkp")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
    )
    assert [name for name, count in classes.items() if count > 1] == []


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_an_image_is_called_an_image(path: Path) -> None:
    found = {name for name in identifiers(ast.parse(path.read_text(encoding="utf-8"))) if "picture" in name.lower()}
    assert found - (DOCUMENTED if named(path) in MAY_SAY_PICTURE else set()) == set()
