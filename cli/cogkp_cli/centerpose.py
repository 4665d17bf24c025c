"""``s6 cog centerpose``: 3-D boxes of objects."""

from collections.abc import Mapping
from functools import partial

import typer

import cogkp
from cogkp import cli_api
from cogkp_cli import options as flag
from cogkp_cli.console import Console, complain
from cogkp_cli.experiment import open_console, run_verb
from cogkp_cli.failures import FAILED, stop_code

VALIDATION = "validation/"


def train(spec: flag.SpecFile, overrides: flag.Overrides = None, as_json: flag.Json = False) -> None:
    """Train an experiment, or resume its last training."""
    report = open_console(as_json)
    result = run_verb(spec, overrides, "train", cogkp.train)
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
        raise typer.Exit(stop_code(result.signal))


def evaluate(spec: flag.SpecFile, overrides: flag.Overrides = None, as_json: flag.Json = False) -> None:
    """Evaluate a checkpoint, an ONNX file or an engine on labelled images."""
    report = open_console(as_json)
    found = run_verb(spec, overrides, "evaluate", cogkp.evaluate)
    report.say(found.text)
    report.wrote(found.html_path, found.text_path, found.rows_path, found.json_path, found.drawing_path)
    report.say(found.headline)
    report.finish(**found.report, results=found.folder, page=found.html_path, picture=found.drawing_path)


def inference(spec: flag.SpecFile, overrides: flag.Overrides = None, as_json: flag.Json = False) -> None:
    """Find objects in images without labels: a JSON file and a drawing of each."""
    report = open_console(as_json)
    found = run_verb(spec, overrides, "inference", cogkp.predict)
    report.say(f"images: {found.images}, objects: {found.counts['objects']}; wrote {found.folder}")
    if up_to_scale := found.counts["up_to_scale"]:
        report.say(
            f"lengths of {up_to_scale} objects are in units of their height: "
            "inference.object_height, or the JSON file beside an image, may tell it"
        )
    for problem in found.problems:
        complain(f"error: {problem}")
    report.finish(
        results=found.folder,
        pictures=found.images,
        objects=found.counts["objects"],
        up_to_scale=up_to_scale,
        problems=found.problems,
        seconds=found.seconds,
    )
    if found.problems:
        raise typer.Exit(FAILED)


def export(spec: flag.SpecFile, overrides: flag.Overrides = None, as_json: flag.Json = False) -> None:
    """Export a checkpoint to ONNX, and compare the file with the checkpoint."""
    report = open_console(as_json)
    found = run_verb(spec, overrides, "export", cogkp.export)
    for unit in dict.fromkeys(found.units.values()):
        off = {name: value for name, value in found.parity.items() if found.units[name] == unit}
        worst = max(off, key=lambda name: off[name])
        report.say(f"differs by {off[worst]:.2g} {unit} at most, in {worst}")
    rows = "any batch" if found.batch_size is None else f"batch {found.batch_size}"
    report.say(f"wrote {found.onnx}: {rows}, compared on {found.samples} images and on synthetic inputs")
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
    report = open_console(as_json)
    work = partial(cogkp.build_engine, builder=engine_builder.value)
    found = run_verb(spec, overrides, "gen_trt_engine", work)
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
    from cogkp_cli.progress import facts_text

    names = [name for name in scalars if name == "loss" or name.startswith(VALIDATION)]
    return facts_text({name.removeprefix(VALIDATION): scalars[name] for name in names})


def validate(
    folder: flag.BoxFolder,
    camera_frame: flag.CameraFrameOfFiles = None,
    tolerance: flag.TolerancePx = 2.0,
    output: flag.BoxCheckDrawing = None,
    as_json: flag.Json = False,
) -> None:
    """Check annotation files for consistency, and draw images with their boxes."""
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
    report.wrote(found.drawing_path)
    report.finish(**found.report.to_dict(), image=found.drawing_path)
    if found.report.problems or not found.report.compared:
        raise typer.Exit(FAILED)
