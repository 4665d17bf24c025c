"""``s6 cog calibration``: check a calibration file and summarise it."""

import typer

import cogkp
from cogkp_cli import options as flag
from cogkp_cli.console import Console

FAILED = 1


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
    found = cogkp.check_calibration(
        files[0] if len(files) == 1 else files,
        size_wh=size,
        names=names,
        config=None if config is None else cogkp.load_config(config),
        data=[str(root) for root in data] if data else None,
        output=output,
        convert=convert,
    )
    report.say(found.report.text())
    report.wrote(found.drawing_path, found.converted_path)
    report.finish(**found.report.to_dict(), picture=found.drawing_path, converted=found.converted_path)
    if found.report.problems:
        raise typer.Exit(FAILED)
