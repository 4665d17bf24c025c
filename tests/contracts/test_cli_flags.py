"""Every command and flag, against a checked-in copy, the documented list and the page docs/cli.md."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import typer
from cogkp_cli.app import app

import cogkp

ROOT = typer.main.get_command(app)

PAGE_FLAGS = {
    ("-c", "--config"): None,
    ("--preview-data",): False,
    ("--dry-run",): False,
    ("-t", "--train"): False,
    ("--deploy",): False,
    ("--deploy-untrained",): False,
    ("--restore",): None,
    ("--deploy-path",): None,
    ("--deploy-batch-size",): 1,
    ("--precision",): None,
    ("--no-tb",): False,
    ("--log-dir",): "logs/cog",
    ("--verbose-log",): False,
    ("-w", "--num-workers"): 4,
    ("--prefetch-factor",): 4,
    ("-e", "--epochs"): 100,
    ("-b", "--batch_size"): 32,
    ("-lr", "--learning_rate"): 1e-2,
    ("--log-interval",): 10,
}


def leaves(command: Any = ROOT, name: str = "s6") -> Iterator[tuple[str, Any]]:
    """Every command below a group, with its full name."""
    for word, child in getattr(command, "commands", {}).items():
        full = f"{name} {word}"
        if hasattr(child, "commands"):
            yield from leaves(child, full)
        else:
            yield full, child


COMMANDS = dict(leaves())


def default_of(parameter: Any) -> Any:
    plain = getattr(parameter.default, "value", parameter.default)
    plain = list(plain) if isinstance(plain, tuple) else plain
    return str(plain) if isinstance(plain, Path) else plain


def flags(command: Any) -> dict[str, Any]:
    return {" ".join(parameter.opts): default_of(parameter) for parameter in command.params}


def test_snapshot(snapshot: Callable[[str, dict[str, Any]], None]) -> None:
    snapshot("cli_flags", {name: flags(command) for name, command in COMMANDS.items()})


@pytest.mark.parametrize(("spelling", "default"), PAGE_FLAGS.items(), ids=lambda value: str(value))
def test_documented_flag(spelling: tuple[str, ...], default: Any) -> None:
    assert flags(COMMANDS["s6 cog keypoint"])[" ".join(spelling)] == default


@pytest.mark.parametrize("options", [cogkp.TrainOptions, cogkp.ExportOptions])
def test_flags_and_library_agree_on_defaults(options: type[Any]) -> None:
    by_name = {parameter.name: default_of(parameter) for parameter in COMMANDS["s6 cog keypoint"].params}
    renamed = {"path": "deploy_path", "builder": "engine_builder"}
    if options is cogkp.ExportOptions:
        renamed["batch_size"] = "deploy_batch_size"
    fields = {renamed.get(name, name): value for name, value in attrs.asdict(options()).items()}
    assert {name: by_name[name] for name in fields if name in by_name} == {
        name: value for name, value in fields.items() if name in by_name
    }


def test_demo_and_library_agree_on_defaults() -> None:
    by_name = {parameter.name: default_of(parameter) for parameter in COMMANDS["s6 cog demo"].params}
    signature = inspect.signature(cogkp.demo)
    for name in ("frames", "epochs", "seed"):
        assert by_name[name] == signature.parameters[name].default


def test_help_names_every_import_format() -> None:
    from cogkp.data.keypoint.importers.registry import IMPORTERS

    (described,) = [p.help for p in COMMANDS["s6 cog import"].params if p.name == "label_format"]
    assert [name for name in IMPORTERS if name not in described] == []


def table(command: Any) -> str:
    """The flags of one command as docs/cli.md shows them."""
    rows = ["| flag | default | what it does |", "| --- | --- | --- |"]
    for parameter in command.params:
        default = default_of(parameter)
        shown = "" if default is None or default is False else f"`{default}`"
        spelled = (
            ", ".join(f"`{word}`" for word in parameter.opts)
            if parameter.opts[0].startswith("-")
            else f"`{parameter.metavar}`"
        )
        rows.append(
            f"| {spelled} | {'required' if parameter.required else shown} | {parameter.help} |".replace(
                "latest|PATH", "latest\\|PATH"
            )
        )
    return "\n".join(rows)


@pytest.mark.parametrize("name", COMMANDS)
def test_page_shows_every_flag(name: str, repository: Path, updating: bool) -> None:
    page = repository / "docs" / "cli.md"
    text = page.read_text(encoding="utf-8")
    block = re.compile(rf"(<!-- flags of {name} -->\n)(.*?)(\n<!-- end -->)", re.DOTALL)
    assert block.search(text), f"docs/cli.md has no table for {name}"
    if updating:
        text = block.sub(lambda found: found[1] + table(COMMANDS[name]) + found[3], text)
        page.write_text(text, encoding="utf-8")
    found = block.search(text)
    assert found is not None
    assert found[2] == table(COMMANDS[name])


@pytest.mark.parametrize("name", COMMANDS)
def test_every_flag_has_a_sentence(name: str) -> None:
    for parameter in COMMANDS[name].params:
        assert parameter.help.endswith("."), parameter.name
