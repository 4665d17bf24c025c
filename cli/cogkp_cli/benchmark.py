"""``s6 cog benchmark``: how long models take until they answer, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

import cogkp
from cogkp_cli import options as flag
from cogkp_cli.console import Console

Models = Annotated[
    list[Path],
    typer.Argument(
        metavar="MODEL...",
        help="Checkpoints, run folders, ONNX files or engines; the first is the measure of the others.",
        show_default=False,
    ),
]
Batches = Annotated[
    list[int] | None,
    typer.Option(
        "--batch",
        min=1,
        metavar="N",
        help="Images that are asked about together; repeatable. 1 and 8, or what the file takes, if unset.",
    ),
]
Images = Annotated[
    Path | None, typer.Option("--images", metavar="PATH", help="Folder of images, or one; drawn images if unset.")
]
DrawnSize = Annotated[tuple[int, int], typer.Option("--size", metavar="W H", help="Size of drawn images, pixels.")]
Threads = Annotated[
    int, typer.Option("--threads", min=0, metavar="N", help="Of ONNX Runtime, torch and OpenCV; 0: as they choose.")
]
WarmUp = Annotated[int, typer.Option("--warmup", min=0, metavar="N", help="Batches that are not timed.")]
Runs = Annotated[
    int, typer.Option("--runs", min=1, metavar="N", help="Batches that are timed, of each model and size of batch.")
]
Starts = Annotated[
    int,
    typer.Option(
        "--starts", min=0, metavar="N", help="Fresh processes of each model, for start-up and memory; 0: none."
    ),
]
FixedBuffers = Annotated[
    bool, typer.Option("--fixed-buffers", help="Keep the memory of inputs and outputs; CUDA graphs on an NVIDIA GPU.")
]
Box = Annotated[
    tuple[float, float, float, float] | None,
    typer.Option(
        "--box", metavar="L T R B", help="Where to look, for a model that must be told; all of the image if unset."
    ),
]
Output = Annotated[Path | None, typer.Option("-o", "--output", metavar="JSON", help="Also write the figures here.")]


def benchmark(
    models: Models,
    batch: Batches = None,
    images: Images = None,
    size: DrawnSize = (640, 480),
    threads: Threads = 0,
    warmup: WarmUp = 10,
    runs: Runs = 100,
    starts: Starts = 3,
    fixed_buffers: FixedBuffers = False,
    box: Box = None,
    output: Output = None,
    as_json: flag.Json = False,
) -> None:
    """Measure how long models take from an image file to the answer, step by step, and until their first answer."""
    from cogkp_cli.progress import shown_progress

    report = Console(as_json)
    if min(size) < 1:
        raise typer.BadParameter(f"{size[0]} x {size[1]} is no size of an image.", param_hint="'--size'")
    ask: dict[str, Any] = {} if box is None else {"box": list(box)}
    with shown_progress() as progress:
        found = cogkp.benchmark(
            *models,
            batches=batch or None,
            images=images,
            size_wh=size,
            threads=threads,
            fixed_buffers=fixed_buffers,
            warmup=warmup,
            runs=runs,
            starts=starts,
            progress=progress,
            **ask,
        )
    report.tell(found.summary())
    if output is not None:
        found.write(output)
        report.wrote(output)
    report.finish(**found.report)
