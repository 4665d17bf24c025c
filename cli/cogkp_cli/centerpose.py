"""``s6 cog centerpose``: poses of boxes."""

from __future__ import annotations

import typer

import cogkp
from cogkp_cli import options as flag
from cogkp_cli.report import Report

__all__ = ["validate"]

FAILED = 1


def validate(
    folder: flag.BoxFolder,
    camera_frame: flag.CameraFrameOfFiles = None,
    tolerance: flag.TolerancePx = 2.0,
    output: flag.BoxPicture = None,
    as_json: flag.Json = False,
) -> None:
    """Check annotation files against themselves, and draw pictures with their boxes."""
    from cogkp_cli.progress import shown_progress

    report = Report(as_json)
    with shown_progress() as progress:
        found = cogkp.check_box_labels(
            folder,
            camera_frame=flag.word(camera_frame),
            tolerance_px=tolerance,
            output=output,
            progress=progress,
        )
    report.say(found.report.text())
    if found.picture_path is not None:
        report.say(f"wrote {found.picture_path}")
    report.add(**found.report.to_dict(), picture=found.picture_path)
    report.finish()
    if found.report.problems:
        raise typer.Exit(FAILED)
