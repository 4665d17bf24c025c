"""``s6 cog centerpose``: 3-D boxes of objects."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar

import typer

import cogkp
from cogkp import cli_api
from cogkp_cli import options as flag
from cogkp_cli.console import Console, complain, open_console
from cogkp_cli.failures import FAILED, stop_code
from cogkp_cli.ranks import RANKED, on_every_gpu

if TYPE_CHECKING:
    from cogkp import CenterPoseConfig
    from cogkp.cli_api import Progress

Verb = Literal["train", "evaluate", "inference", "export", "gen_trt_engine"]
Result = TypeVar("Result", covariant=True)

VALIDATION = "validation/"


class Work(Protocol[Result]):
    """A verb of the library."""

    def __call__(self, config: CenterPoseConfig, *, progress: Progress) -> Result:
        """Do it."""


def run_verb(spec: Path, overrides: list[str] | None, verb: Verb, work: Work[Result]) -> Result:
    """Read an experiment for a command, and run it with a progress bar; the console is open before any warning."""
    from cogkp_cli.progress import shown_progress

    with cli_api.joined() if cli_api.launched().ranks > 1 else nullcontext():
        config = cogkp.load_config(spec, overrides or (), verb=verb)
        flag.check_family(config, cogkp.CenterPoseConfig, spec, ".yaml")
        if verb in RANKED:
            on_every_gpu(config, verb)
        with shown_progress() as progress:
            return work(config, progress=progress)


def import_boxes(
    label_format: flag.BoxFormat,
    source: flag.Source,
    destination: flag.Destination,
    validation: flag.ValidationShare = 0.1,
    seed: flag.Seed = 0,
    apply_exif_orientation: flag.AppliedOrientation = False,
    as_json: flag.Json = False,
) -> None:
    """Convert box labels of another format to folders that experiments are trained on."""
    from cogkp_cli.progress import shown_progress

    report = Console(as_json)
    with shown_progress() as progress:
        result = cli_api.import_boxes(
            source,
            destination,
            format=label_format,
            validation=validation,
            seed=seed,
            apply_exif_orientation=apply_exif_orientation,
            progress=progress,
        )
    report.say(", ".join(f"{part}: {count} images" for part, count in result.counts.items()))
    _advise(report, destination, result.folders, oriented=apply_exif_orientation)
    report.finish(folders=result.folders, counts=result.counts)


def render_boxes(
    destination: flag.Destination,
    images: flag.BoxImageCount = 1000,
    validation: flag.ValidationShare = 0.1,
    shape: flag.BoxShape = "carton",
    symmetric: flag.BoxTurns = 1,
    most_boxes: flag.MostBoxes = 1,
    size_wh: flag.RenderedSize = (320, 240),
    seed: flag.Seed = 0,
    as_json: flag.Json = False,
) -> None:
    """Render textured boxes or cans with exact labels, to try everything without a camera."""
    from cogkp_cli.progress import shown_progress

    report = Console(as_json)
    held_out = int(images * validation)
    # Neighbouring seeds name different series, so that no image of one part is in the other.
    parts = {"train": (images - held_out, 2 * seed), "val": (held_out, 2 * seed + 1)}
    folders = {part: destination / part for part, (count, _) in parts.items() if count}
    with shown_progress() as progress:
        for part, folder in folders.items():
            count, series = parts[part]
            cli_api.render_boxes(
                folder,
                images=count,
                seed=series,
                shape=shape,
                symmetric=symmetric,
                most_boxes=most_boxes,
                size_wh=size_wh,
                progress=progress,
            )
    report.say(", ".join(f"{part}: {parts[part][0]} images" for part in folders))
    _advise(report, destination, folders, f" dataset.category={shape} dataset.num_symmetry={symmetric}")
    report.finish(folders=folders, counts={part: parts[part][0] for part in folders})


def _advise(
    report: Console, destination: Path, folders: Mapping[str, Path], more: str = "", *, oriented: bool = False
) -> None:
    keys = {"train": "train_data", "val": "val_data", "test": "test_data"}
    named = "".join(f" dataset.{keys[part]}={folder}" for part, folder in folders.items())
    more += " dataset.images.apply_exif_orientation=true" * oriented
    report.say(f"look: s6 cog centerpose validate {destination}{' --apply-exif-orientation' * oriented}")
    report.say(f"next: s6 cog centerpose train -e SPEC.yaml results_dir=results{named}{more}")


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
    report.tell(found.text)
    report.wrote(found.html_path, found.text_path, found.rows_path, found.json_path, found.drawing_path)
    report.say(found.headline)
    report.finish(**found.report, results=found.folder, page=found.html_path, picture=found.drawing_path)


def inference(spec: flag.SpecFile, overrides: flag.Overrides = None, as_json: flag.Json = False) -> None:
    """Find objects in images without labels: a JSON file and a drawing of each."""
    report = open_console(as_json)
    found = run_verb(spec, overrides, "inference", cogkp.infer)
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


def export(
    spec: flag.SpecFile,
    overrides: flag.Overrides = None,
    onnx_exporter: flag.OnnxExporter = flag.ExporterName.LEGACY,
    as_json: flag.Json = False,
) -> None:
    """Export a checkpoint to ONNX, and compare the file with the checkpoint."""
    report = open_console(as_json)
    found = run_verb(spec, overrides, "export", partial(cogkp.export, exporter=onnx_exporter.value))
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
    apply_exif_orientation: flag.AppliedOrientation = False,
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
            apply_exif_orientation=apply_exif_orientation,
            tolerance_px=tolerance,
            output=output,
            progress=progress,
        )
    report.tell(found.report.text())
    report.wrote(found.drawing_path)
    report.finish(**found.report.to_dict(), image=found.drawing_path)
    if found.report.problems or not found.report.compared:
        raise typer.Exit(FAILED)
