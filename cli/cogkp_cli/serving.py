"""``s6 cog triton``: a model for an inference server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import cogkp
from cogkp_cli import options as flag
from cogkp_cli.console import Console

Model = Annotated[
    Path, typer.Argument(metavar="MODEL", help="ONNX file or engine with its manifest.", show_default=False)
]
Repository = Annotated[
    Path, typer.Argument(metavar="DIR", help="Model repository; other models in it stay.", show_default=False)
]
ModelName = Annotated[str | None, typer.Option("--name", help="Name in the repository; that of the file if unset.")]
MostRows = Annotated[
    int | None,
    typer.Option(
        "--max-batch-size",
        min=1,
        metavar="N",
        help="Most images that pass together, for a model of any batch; default: 8, or what the engine was built for.",
    ),
]


def triton(
    model: Model,
    folder: Repository,
    name: ModelName = None,
    max_batch_size: MostRows = None,
    as_json: flag.Json = False,
) -> None:
    """Write an exported model into a model repository of NVIDIA's Triton Inference Server."""
    report = Console(as_json)
    found = cogkp.write_triton_repository(model, folder, name=name, max_batch_size=max_batch_size)
    report.tell(found.summary())
    report.wrote(found.config, found.model, found.manifest)
    report.finish(
        name=found.folder.name,
        max_batch_size=found.max_batch_size,
        config=found.config,
        model=found.model,
        manifest=found.manifest,
    )
