"""The commands beside the training: evaluate, compare, import, calibration check, schema and demo."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import typer

import cogkp
from cogkp import cli_api
from cogkp.files import write_text
from cogkp_cli import options as flag
from cogkp_cli.console import Console, open_console
from cogkp_cli.failures import FAILED
from cogkp_cli.ranks import on_every_gpu

THRESHOLDS_PX = (2.0, 5.0, 10.0)


def compare(
    first: flag.FirstRun,
    second: flag.SecondRun,
    output: flag.ComparisonPage = None,
    checkpoints: flag.CheckpointRoot = flag.CHECKPOINTS,
    as_json: flag.Json = False,
) -> None:
    """Compare two evaluations: metrics, whether their difference is significant, and what else was not the same."""
    report = Console(as_json)
    found = cogkp.compare(first, second, output=output, checkpoint_root=checkpoints)
    report.tell(found.text)
    report.wrote(found.html_path)
    report.finish(**found.report, page=found.html_path)


def demo(
    output: flag.DemoDir = Path("demo"),
    frames: flag.DemoFrames = 160,
    epochs: flag.DemoEpochs = 56,
    seed: flag.Seed = 0,
    as_json: flag.Json = False,
) -> None:
    """Render a small stereo recording, train on it, evaluate, export and check the export."""
    from cogkp_cli.progress import shown_progress

    report = Console(as_json)
    with shown_progress() as progress:
        result = cogkp.demo(output, frames=frames, epochs=epochs, seed=seed, progress=progress)
    report.tell(result.text)
    report.finish(
        points=result.points,
        segments=result.segments,
        mask_iou=result.mask_iou,
        drift_px=result.drift_px,
        files=result.files,
        seconds=result.seconds,
    )


def import_dataset(
    label_format: flag.Format,
    source: flag.Source,
    destination: flag.Destination,
    validation: flag.ValidationShare = 0.1,
    seed: flag.Seed = 0,
    apply_exif_orientation: flag.AppliedOrientation = False,
    as_json: flag.Json = False,
) -> None:
    """Read labels of another program and write a StructuredDataset with its config."""
    from cogkp_cli.progress import shown_progress

    report = Console(as_json)
    with shown_progress() as progress:
        result = cogkp.import_dataset(
            source,
            destination,
            format=label_format,
            validation=validation,
            seed=seed,
            apply_exif_orientation=apply_exif_orientation,
            progress=progress,
        )
    report.say(", ".join(f"{name}: {count}" for name, count in result.counts.items()))
    report.say(f"config: {result.config}")
    report.say(f"next: s6 cog keypoint --config {result.config} --preview-data --train")
    report.finish(train=result.train, validation=result.validation, counts=result.counts, config=result.config)


def evaluate(
    ctx: typer.Context,
    config: flag.ExistingConfig,
    model: flag.ModelToEvaluate = "latest",
    split: flag.SplitChoice = None,
    threshold: flag.Thresholds = list(THRESHOLDS_PX),  # noqa: B006  (typer copies it)
    unit_mm: flag.UnitMm = None,
    worst: flag.Worst = 12,
    output: flag.ReportDir = None,
    batch_size: flag.BatchSize = 32,
    num_workers: flag.NumWorkers = 4,
    as_json: flag.Json = False,
) -> None:
    """Measure a model on labelled frames: error in source pixels, PCK, mask IoU; stereo pairs also in space."""
    from cogkp_cli.progress import shown_progress

    report = open_console(as_json)
    with cli_api.joined() if cli_api.launched().ranks > 1 else nullcontext():
        if not config.exists():
            raise typer.BadParameter(f"{config} does not exist.", param_hint="'--config'")
        settings = cogkp.load_config(config)
        asked: dict[str, Any] = {"model": model, "batch_size": batch_size, "num_workers": num_workers}
        if isinstance(settings, cogkp.CenterPoseConfig):
            on_every_gpu(settings, "evaluate")
            # An experiment says itself what is not spelled out here.
            given = flag.spelled_out(ctx, frozenset(asked))
            asked = {name: value for name, value in asked.items() if name in given}
        with shown_progress() as progress:
            result = cogkp.evaluate(
                settings,
                **asked,
                split=split.value if split else None,
                thresholds_px=tuple(threshold),
                world_unit_mm=unit_mm,
                worst=worst,
                output_dir=output,
                progress=progress,
            )
    report.tell(result.text)
    report.wrote(result.html_path, result.json_path, result.drawing_path, result.drawing_3d_path)
    if result.drawing_3d_path is not None:
        report.add(space_picture=result.drawing_3d_path)
    report.finish(**result.report, report=result.json_path, page=result.html_path, picture=result.drawing_path)


def check(
    files: flag.CalibrationFiles,
    size: flag.ImageSize = None,
    names: flag.CameraNames = None,
    config: flag.LabelConfig = None,
    data: flag.LabelRoots = None,
    output: flag.CalibrationDrawing = None,
    convert: flag.Converted = None,
    as_json: flag.Json = False,
) -> None:
    """Check a calibration, summarise it, draw it, and compare it with labelled pairs."""
    report = Console(as_json)
    if config is not None and not config.exists():
        raise typer.BadParameter(f"{config} does not exist.", param_hint="'--config'")
    if data and config is None:
        raise typer.BadParameter("needs --config, which names images and points.", param_hint="'--data'")
    labels = None
    if config is not None:
        labels = cogkp.load_config(config)
        flag.check_family(labels, cogkp.KeypointConfig, config, ".json")
    found = cogkp.check_calibration(
        files[0] if len(files) == 1 else files,
        size_wh=size,
        names=names,
        config=labels,
        data=[str(root) for root in data] if data else None,
        output=output,
        convert=convert,
    )
    report.tell(found.report.text())
    report.wrote(found.drawing_path, found.converted_path)
    report.finish(**found.report.to_dict(), picture=found.drawing_path, converted=found.converted_path)
    if found.report.problems:
        raise typer.Exit(FAILED)


def schema(output: flag.SchemaFile = None) -> None:
    """Print the JSON schema of the config file."""
    text = json.dumps(cli_api.json_schema(), indent=2)
    if output is None:
        typer.echo(text)
        return
    write_text(output, f"{text}\n")
    typer.echo(f"wrote {output}")
