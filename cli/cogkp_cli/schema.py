"""``s6 cog schema``: print the JSON schema of a configuration file."""

import json

import typer

from cogkp import cli_api
from cogkp.files import write_text
from cogkp_cli import options as flag


def schema(output: flag.SchemaFile = None) -> None:
    """Print the JSON schema of the config file."""
    text = json.dumps(cli_api.json_schema(), indent=2)
    if output is None:
        typer.echo(text)
        return
    write_text(output, f"{text}\n")
    typer.echo(f"wrote {output}")
