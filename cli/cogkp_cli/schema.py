"""``s6 cog schema``: the JSON schema of a config file, for editors and checkers."""

from __future__ import annotations

import json

import typer

import cogkp
from cogkp_cli import options as flag
from cogkp_cli.files import write_whole

__all__ = ["schema"]


def schema(output: flag.SchemaFile = None) -> None:
    """Print the JSON schema of the config file."""
    text = json.dumps(cogkp.json_schema(), indent=2)
    if output is None:
        typer.echo(text)
        return
    write_whole(output, f"{text}\n".encode())
    typer.echo(f"wrote {output}")
