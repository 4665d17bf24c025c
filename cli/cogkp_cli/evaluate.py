"""``s6 cog evaluate``: the errors of a checkpoint's predictions."""

import typer

import cogkp
from cogkp_cli import options as flag
from cogkp_cli.console import Console

THRESHOLDS_PX = (2.0, 5.0, 10.0)


def evaluate(
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
    """Measure a checkpoint on labelled frames: error in source pixels, PCK, mask IoU; stereo pairs also in space."""
    from cogkp_cli.progress import shown_progress

    report = Console(as_json)
    if not config.exists():
        raise typer.BadParameter(f"{config} does not exist.", param_hint="'--config'")
    settings = cogkp.load_config(config)
    with shown_progress() as progress:
        result = cogkp.evaluate(
            settings,
            model=model,
            split=split.value if split else None,
            thresholds_px=tuple(threshold),
            world_unit_mm=unit_mm,
            batch_size=batch_size,
            num_workers=num_workers,
            worst=worst,
            output_dir=output,
            progress=progress,
        )
    report.say(result.text)
    report.wrote(result.html_path, result.json_path, result.drawing_path, result.drawing_3d_path)
    if result.drawing_3d_path is not None:
        report.add(space_picture=result.drawing_3d_path)
    report.finish(**result.report, report=result.json_path, page=result.html_path, picture=result.drawing_path)
