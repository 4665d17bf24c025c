"""The demo: render a recording, preview, train, evaluate and deploy."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from cogkp.artifacts.names import timestamp
from cogkp.config.keypoint.io import load
from cogkp.config.train import ExportOptions, TrainOptions
from cogkp.data.images import write_png
from cogkp.data.keypoint.synthetic import demo_config, write_recording
from cogkp.files import make_folder, write_json
from cogkp.progress import SILENT, Progress
from cogkp.training.precision import fastest_precision
from cogkp.workflows.evaluate import evaluate
from cogkp.workflows.export import ExportResult, export
from cogkp.workflows.preview import preview_data
from cogkp.workflows.report_writer import EvaluationResult
from cogkp.workflows.train import TrainResult, train

DEMO_FRAMES = 160
DEMO_EPOCHS = 56
HELD_OUT_SHARE = 0.2
PREVIEW_VIEWS = 16


@attrs.frozen
class DemoResult:
    """What the demonstration reached, and where everything lies.

    Args:
        points: per point and for all of them, on held-out frames: 'median_px' and 'p95_px', pixels of the full frame;
            'median_3d' and 'p95_3d', distance from the exact place in space, world units; None where nothing was found.
        segments: mean found and known length, world units, of each link of the tool.
        mask_iou: mean over the classes.
        drift_px: largest distance between a point of the exported and of the trained model.
        seconds: the whole of it took.
        files: what lies where.
        text: all this as a table.
    """

    points: Mapping[str, Mapping[str, float | None]]
    segments: Mapping[str, tuple[float | None, float]]
    mask_iou: float
    drift_px: float
    seconds: float
    files: Mapping[str, Path]
    text: str


def demo(
    output_dir: Path,
    *,
    frames: int = DEMO_FRAMES,
    epochs: int = DEMO_EPOCHS,
    seed: int = 0,
    progress: Progress = SILENT,
) -> DemoResult:
    """Run the whole system on a rendered recording.

    Args:
        output_dir: a folder named after the time is made in it for everything that is written.
        frames: stereo frames to train on; a fifth as many are held out.
        epochs: passes over them.
        seed: of the recording and the training.
        progress: shows each part.
    """
    started = time.perf_counter()
    home = make_folder(output_dir / timestamp())
    files = _record(home, frames, seed, progress)
    config = load(files["configuration"])
    files["preview"] = home / "preview.png"
    write_png(files["preview"], next(iter(preview_data(config, batch_size=PREVIEW_VIEWS))))
    options = TrainOptions(
        epochs=epochs,
        batch_size=16,
        learning_rate=1e-2,
        precision=fastest_precision(),
        num_workers=0,
        seed=seed,
    )
    runs = home / "checkpoints"
    trained = train(config, options, checkpoint_root=runs, log_dir=home / "logs", report=False, progress=progress)
    evaluated = evaluate(config, model=str(trained.checkpoint), output_dir=home / "evaluation", progress=progress)
    deployed = export(
        config, ExportOptions(engine=False), checkpoint=str(trained.checkpoint), models_root=home / "models"
    )
    files |= _written(trained, evaluated, deployed)
    return _result(evaluated, deployed, files, time.perf_counter() - started)


def _record(home: Path, frames: int, seed: int, progress: Progress) -> dict[str, Path]:
    held_out = max(1, round(frames * HELD_OUT_SHARE))
    write_recording(home / "recording", frames, seed=2 * seed, progress=progress)
    calibration = write_recording(home / "held_out", held_out, seed=2 * seed + 1, progress=progress)
    configuration = home / "keypoint.json"
    write_json(configuration, demo_config(home / "recording", home / "held_out"))
    return {"recording": home / "recording", "calibration": calibration, "configuration": configuration}


def _written(trained: TrainResult, evaluated: EvaluationResult, deployed: ExportResult) -> dict[str, Path]:
    in_space = evaluated.drawing_3d_path
    assert trained.checkpoint is not None
    return {
        "checkpoint": trained.checkpoint,
        "report": evaluated.html_path,
        "evaluation": evaluated.json_path,
        "predictions": evaluated.drawing_path,
        **({} if in_space is None else {"predictions in 3-D": in_space}),
        "ONNX model": deployed.onnx,
        "manifest": deployed.manifest,
    }


def _result(evaluated: EvaluationResult, deployed: ExportResult, files: dict[str, Path], seconds: float) -> DemoResult:
    report = evaluated.report
    points = {
        pixels["name"]: {
            "median_px": pixels["median_px"],
            "p95_px": pixels["p95_px"],
            "median_3d": space["median"],
            "p95_3d": space["p95"],
        }
        for pixels, space in zip(_rows(report), _rows(report["space"]), strict=True)
    }
    segments = {row["name"]: (row["mean"], row["wanted"]) for row in report["space"]["segments"]}
    iou, drift_px = report["mask_iou"]["mean"], deployed.parity["keypoints"]
    lines = [
        f"{'held-out frames':<18}{'median px':>11}{'p95 px':>11}{'median 3-D':>12}{'p95 3-D':>12}",
        *(
            f"{name:<18}{''.join(map(_cell, row.values(), (11, 11, 12, 12), (2, 2, 4, 4)))}"
            for name, row in points.items()
        ),
        "",
        *(f"{name:<18}{_cell(mean, 11, 3)}  known {known:g}" for name, (mean, known) in segments.items()),
        f"{'mask IoU':<18}{iou:>11.3f}",
        f"{'export drift px':<18}{drift_px:>11.5f}",
        f"{'seconds':<18}{seconds:>11.0f}",
        "",
        "3-D distances from the exact places, and lengths, in world units; the tool is 3.5 long and about 6.5 away.",
        "",
        *(f"{name:<20}{path}" for name, path in files.items()),
    ]
    return DemoResult(points, segments, iou, drift_px, seconds, files, "\n".join(lines))


def _rows(table: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [*table["points"], table["overall"]]


def _cell(value: float | None, width: int, digits: int) -> str:
    return f"{'-' if value is None else format(value, f'.{digits}f'):>{width}}"
