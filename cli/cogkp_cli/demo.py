"""``s6 cog demo``: from images to a deployed model, on rendered data."""

from pathlib import Path

import cogkp
from cogkp_cli import options as flag
from cogkp_cli.console import Console


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
    report.say(result.text)
    report.finish(
        points=result.points,
        segments=result.segments,
        mask_iou=result.mask_iou,
        drift_px=result.drift_px,
        files=result.files,
        seconds=result.seconds,
    )
