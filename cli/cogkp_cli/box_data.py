"""``s6 cog centerpose import`` and ``render``: make folders of labelled images."""

from collections.abc import Mapping
from pathlib import Path

from cogkp import cli_api
from cogkp_cli import options as flag
from cogkp_cli.console import Console


def import_boxes(
    label_format: flag.BoxFormat,
    source: flag.Source,
    destination: flag.Destination,
    validation: flag.ValidationShare = 0.1,
    seed: flag.Seed = 0,
    as_json: flag.Json = False,
) -> None:
    """Convert box labels of another format to folders that experiments are trained on."""
    from cogkp_cli.progress import shown_progress

    report = Console(as_json)
    with shown_progress() as progress:
        result = cli_api.import_boxes(
            source, destination, format=label_format, validation=validation, seed=seed, progress=progress
        )
    report.say(", ".join(f"{part}: {count} images" for part, count in result.counts.items()))
    _advise(report, destination, result.folders)
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


def _advise(report: Console, destination: Path, folders: Mapping[str, Path], more: str = "") -> None:
    keys = {"train": "train_data", "val": "val_data", "test": "test_data"}
    named = "".join(f" dataset.{keys[part]}={folder}" for part, folder in folders.items())
    report.say(f"look: s6 cog centerpose validate {destination}")
    report.say(f"next: s6 cog centerpose train -e SPEC.yaml results_dir=results{named}{more}")
