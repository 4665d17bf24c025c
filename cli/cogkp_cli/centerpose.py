"""``s6 cog centerpose``: poses of boxes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import typer

import cogkp
from cogkp import cli_api
from cogkp_cli import options as flag
from cogkp_cli.console import Console, complain
from cogkp_cli.experiment import carried_out, told
from cogkp_cli.failures import FAILED, INTERRUPTED

__all__ = ["evaluate", "export", "gen_trt_engine", "inference", "train", "validate"]

VALIDATION = "validation/"


def train(spec: flag.SpecFile, overrides: flag.Overrides = None, as_json: flag.Json = False) -> None:
    """Train what an experiment describes, or go on where its last training ended."""
    report = told(as_json)
    result = carried_out(spec, overrides, "train", cogkp.train)
    done = "dry run" if result.checkpoint is None else f"epochs: {result.epochs}"
    report.say(f"{done}; {_figures(result.scalars) or 'nothing was left to train'}")
    for name, path in (("checkpoint", result.checkpoint), ("best", result.best), ("report", result.report)):
        if path is not None:
            report.say(f"{name}: {path}")
    if result.interrupted:
        report.say("interrupted: the checkpoint is complete; the same command goes on from it.")
    elif result.to_evaluate:
        whole = result.run_dir / "experiment.yaml"
        report.say(f"next: s6 cog centerpose evaluate -e {whole} {' '.join(result.to_evaluate)}")
    report.finish(
        results=result.run_dir,
        checkpoint=result.checkpoint,
        best=result.best,
        report=result.report,
        epochs=result.epochs,
        interrupted=result.interrupted,
        seconds=result.seconds,
        scalars=result.scalars,
    )
    if result.interrupted:
        raise typer.Exit(INTERRUPTED)


def evaluate(spec: flag.SpecFile, overrides: flag.Overrides = None, as_json: flag.Json = False) -> None:
    """Judge a checkpoint, an ONNX file or an engine by labelled pictures."""
    report = told(as_json)
    found = carried_out(spec, overrides, "evaluate", cogkp.evaluate)
    report.say(found.text)
    report.wrote(found.html_path, found.text_path, found.rows_path, found.json_path, found.picture_path)
    report.say(found.headline)
    report.finish(**found.report, results=found.folder, page=found.html_path, picture=found.picture_path)


def inference(spec: flag.SpecFile, overrides: flag.Overrides = None, as_json: flag.Json = False) -> None:
    """Find objects in pictures without labels: a JSON file and a drawing of each."""
    report = told(as_json)
    found = carried_out(spec, overrides, "inference", cli_api.infer_experiment)
    report.say(f"pictures: {found.pictures}, objects: {found.objects}; wrote {found.folder}")
    if found.up_to_scale:
        report.say(
            f"lengths of {found.up_to_scale} objects are in units of their height: "
            "inference.object_height, or the JSON file beside a picture, may tell it"
        )
    for problem in found.problems:
        complain(f"error: {problem}")
    report.finish(
        results=found.folder,
        pictures=found.pictures,
        objects=found.objects,
        up_to_scale=found.up_to_scale,
        problems=found.problems,
        seconds=found.seconds,
    )
    if found.problems:
        raise typer.Exit(FAILED)


def export(spec: flag.SpecFile, overrides: flag.Overrides = None, as_json: flag.Json = False) -> None:
    """Export a checkpoint to ONNX, and prove that the file computes the same."""
    report = told(as_json)
    found = carried_out(spec, overrides, "export", cogkp.export)
    for unit in dict.fromkeys(found.units.values()):
        off = {name: value for name, value in found.parity.items() if found.units[name] == unit}
        worst = max(off, key=lambda name: off[name])
        report.say(f"differs by {off[worst]:.2g} {unit} at most, in {worst}")
    rows = "any batch" if found.batch_size is None else f"batch {found.batch_size}"
    report.say(f"wrote {found.onnx}: {rows}, compared on {found.samples} pictures and on drawn inputs")
    report.finish(
        results=found.folder,
        onnx=found.onnx,
        manifest=found.manifest,
        batch_size=found.batch_size,
        pictures=found.samples,
        parity=found.parity,
    )


def gen_trt_engine(
    spec: flag.SpecFile,
    overrides: flag.Overrides = None,
    engine_builder: flag.EngineBuilder = flag.BuilderName.AUTO,
    as_json: flag.Json = False,
) -> None:
    """Build a TensorRT engine from an ONNX file."""
    report = told(as_json)
    work = partial(cogkp.build_engine, builder=engine_builder.value)
    found = carried_out(spec, overrides, "gen_trt_engine", work)
    sizes = "/".join(map(str, dict.fromkeys(found.batch_sizes)))
    report.say(f"wrote {found.engine}: {found.precision}, batch {sizes}, built by {found.builder}")
    report.finish(
        results=found.folder,
        engine=found.engine,
        manifest=found.manifest,
        builder=found.builder,
        precision=found.precision,
        batch_sizes=found.batch_sizes,
        rounding=found.rounding,
    )


def _figures(scalars: Mapping[str, float]) -> str:
    """Write what is worth a line: the loss, and what the validation says."""
    from cogkp_cli.progress import told as written

    names = [name for name in scalars if name == "loss" or name.startswith(VALIDATION)]
    return written({name.removeprefix(VALIDATION): scalars[name] for name in names})


def validate(
    folder: flag.BoxFolder,
    camera_frame: flag.CameraFrameOfFiles = None,
    tolerance: flag.TolerancePx = 2.0,
    output: flag.BoxPicture = None,
    as_json: flag.Json = False,
) -> None:
    """Check annotation files against themselves, and draw pictures with their boxes."""
    from cogkp_cli.progress import shown_progress

    report = Console(as_json)
    with shown_progress() as progress:
        found = cli_api.check_box_labels(
            folder,
            camera_frame=flag.word(camera_frame),
            tolerance_px=tolerance,
            output=output,
            progress=progress,
        )
    report.say(found.report.text())
    report.wrote(found.picture_path)
    report.finish(**found.report.to_dict(), picture=found.picture_path)
    if found.report.problems or not found.report.compared:
        raise typer.Exit(FAILED)
