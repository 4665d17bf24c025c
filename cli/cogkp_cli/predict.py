"""``s6 cog predict``: a model over images, videos, cameras and recordings."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

import cogkp
from cogkp import cli_api
from cogkp_cli import options as flag
from cogkp_cli.console import Console
from cogkp_cli.failures import FAILED, stop_code

if TYPE_CHECKING:
    from cogkp import PredictionSummary

STDOUT, STDOUT_NUMBER = "-", 1
NAMED = re.compile(r"([\w.-]+)=(.+)", re.DOTALL)
SHARD = re.compile(r"(\d+)/(\d+)")

Model = Annotated[
    Path, typer.Argument(metavar="MODEL", help="Checkpoint, run folder, ONNX file or engine.", show_default=False)
]
Sources = Annotated[
    list[str],
    typer.Argument(
        metavar="SOURCE...",
        help="Images, folders, patterns, videos, cameras, URLs, recordings; NAME=SOURCE for several cameras.",
        show_default=False,
    ),
]
Output = Annotated[
    str | None,
    typer.Option(
        "-o",
        "--output",
        metavar="FILE|FOLDER|-",
        help="Results: .jsonl or .csv, a folder, or - for lines on stdout; default predictions-<time>.jsonl.",
    ),
]
Format = Annotated[
    str | None, typer.Option("--format", metavar="jsonl|csv|deeplabcut|coco", help="Form of the results.")
]
AsLabels = Annotated[
    float | None,
    typer.Option(
        "--as-labels",
        metavar="CONFIDENCE",
        min=0.0,
        max=1.0,
        help="Write a StructuredDataset with points from this confidence on as labels, to correct and to train on.",
    ),
]
Draw = Annotated[bool, typer.Option("--draw", help="Also draw what was found: images for images, videos for videos.")]
Calibration = Annotated[
    Path | None, typer.Option("--calibration", metavar="FILE", help="Calibration of the cameras, for points in space.")
]
Pair = Annotated[
    str | None,
    typer.Option(
        "--pair",
        metavar="number|name|time",
        help="How frames of several cameras belong together; default: chosen, and told.",
    ),
]
Boxes = Annotated[
    str | None,
    typer.Option(
        "--boxes",
        metavar="BOX|FILE",
        help="Where to look: left,top,right,bottom in pixels, or a CSV or JSONL file with a box for each frame.",
    ),
]
Locator = Annotated[
    Path | None, typer.Option("--locator", metavar="MODEL", help="Another model that says where to look.")
]
Track = Annotated[bool, typer.Option("--track", help="Look where points were found in the frame before.")]
Datakeys = Annotated[
    list[str] | None,
    typer.Option("--datakey", metavar="KEY", help="Datakey of images in a recording; default: those ending in image."),
]
Every = Annotated[int, typer.Option("--every", min=1, metavar="N", help="Look at one of N frames.")]
Start = Annotated[int, typer.Option("--start", min=0, metavar="N", help="First frame of each source, from 0.")]
End = Annotated[int | None, typer.Option("--end", min=1, metavar="N", help="Frame of each source to stop before.")]
Limit = Annotated[int | None, typer.Option("--limit", min=1, metavar="N", help="Most frames in all.")]
Shard = Annotated[
    str | None,
    typer.Option(
        "--shard",
        metavar="K/N",
        help="Look at the K-th of N parts; default: the rank of torchrun or srun. OUTPUT gets -KofN in its name.",
    ),
]
BatchSize = Annotated[int, typer.Option("--batch-size", min=1, help="Frames that pass through the network together.")]
Workers = Annotated[
    int | None, typer.Option("--workers", min=1, help="Threads that read and prepare; default: one a core, at most 4.")
]
Threads = Annotated[int, typer.Option("--threads", min=0, help="Threads of ONNX Runtime; 0 leaves it the choice.")]
Least = Annotated[
    float,
    typer.Option("--min-confidence", min=0.0, max=1.0, help="Confidence from which a point counts, also in space."),
]
MostApart = Annotated[
    float | None,
    typer.Option(
        "--max-reprojection",
        metavar="PX",
        help="Reprojection error from which a view disagrees; default: 1 % of the image's width, at least 5 px.",
    ),
]


def predict(
    model: Model,
    source: Sources,
    output: Output = None,
    output_format: Format = None,
    as_labels: AsLabels = None,
    draw: Draw = False,
    calibration: Calibration = None,
    pair: Pair = None,
    boxes: Boxes = None,
    locator: Locator = None,
    track: Track = False,
    datakey: Datakeys = None,
    every: Every = 1,
    start: Start = 0,
    end: End = None,
    limit: Limit = None,
    shard: Shard = None,
    batch_size: BatchSize = 8,
    workers: Workers = None,
    threads: Threads = 0,
    min_confidence: Least = 0.3,
    max_reprojection: MostApart = None,
    unit_mm: flag.UnitMm = None,
    as_json: flag.Json = False,
) -> None:
    """Find points or objects in images, videos, cameras and recordings, with one camera or several."""
    from cogkp_cli.progress import shown_progress

    report = Console(as_json or output == STDOUT)
    part = _shard(shard)
    predictions = cogkp.predict(
        model,
        _sources(source),
        calibration=calibration,
        pair=_one_of(pair, "--pair", ("number", "name", "time")),
        boxes=boxes,
        locator=locator,
        track=track,
        datakeys=datakey or (),
        every=every,
        start=start,
        end=end,
        limit=limit,
        shard=part,
        batch_size=batch_size,
        workers=workers,
        threads=threads,
        min_confidence=min_confidence,
        max_reprojection_px=max_reprojection,
        unit_mm=unit_mm,
    )
    with predictions, _destination(output) as place, shown_progress() as progress:
        result = cogkp.write_predictions(
            predictions,
            place,
            format=_one_of(output_format, "--format", tuple(cli_api.FORMATS)),
            as_labels=as_labels,
            draw=draw,
            least=min_confidence,
            progress=progress,
        )
    _tell(report, result, as_json and output != STDOUT)


@contextmanager
def _destination(output: str | None) -> Iterator[TextIO | str | None]:
    """Open standard output for lines of JSON: when nobody reads them any more, the work ends."""
    if output != STDOUT:
        yield output
        return
    sys.stdout.flush()
    with os.fdopen(os.dup(STDOUT_NUMBER), "w", buffering=1, encoding="utf-8", newline="\n") as lines:
        yield lines


def _tell(report: Console, result: PredictionSummary, as_json: bool) -> None:
    report.tell(result.summary())
    report.wrote(*result.files)
    if as_json:
        report.finish(
            **result.counts,
            dropped=result.dropped,
            problems=result.problems,
            explanation=result.explanation,
            files=result.files,
            seconds=result.seconds,
            interrupted=result.signal is not None,
        )
    if result.signal is not None:
        report.say("interrupted: what was found so far is written.")
        raise typer.Exit(stop_code(result.signal))
    if result.problems:
        raise typer.Exit(FAILED)


def _sources(given: Sequence[str]) -> list[str] | Mapping[str, str]:
    """Read NAME=SOURCE where all are given so; a file that is really called so is a file."""
    named = [None if Path(each).exists() else NAMED.fullmatch(each) for each in given]
    if not any(named):
        return [*given]
    if not all(named):
        plain = next(each for each, match in zip(given, named, strict=True) if match is None)
        raise typer.BadParameter(f"{plain}: name all of them, NAME=SOURCE, or none.", param_hint="SOURCE")
    pairs = [(match[1], match[2]) for match in named if match is not None]
    if len(dict(pairs)) != len(pairs):
        raise typer.BadParameter("each camera can have one source.", param_hint="SOURCE")
    return dict(pairs)


def _shard(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    match = SHARD.fullmatch(text)
    if match is None:
        raise typer.BadParameter(f"{text}: give K/N, as 2/8.", param_hint="--shard")
    return int(match[1]), int(match[2])


def _one_of(word: str | None, name: str, words: Sequence[str]) -> Any:
    if word is not None and word not in words:
        raise typer.BadParameter(f"{word}: give one of {', '.join(words)}.", param_hint=name)
    return word
