"""Write a synthetic recording as a StructuredDataset, with its calibration and a configuration.

Points lie under ``debug.training_targets.keypoint3_mask`` as a recorder writes them; exact points of space under
``truth.xyz_world``, in world units.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cogkp.config.keypoint.io import starting_loss_terms
from cogkp.data.keypoint.scene.body import CLASSES, POINTS, TIP_TURN, TURN_END
from cogkp.data.keypoint.scene.render import CAMERAS, RenderedFrame, calibration, render_frame, stereo_head
from cogkp.data.keypoint.structured import write_structured
from cogkp.files import write_json
from cogkp.progress import SILENT, Progress

CALIBRATION_FILE = "calibration.config.json"
TARGETS = "debug.training_targets.keypoint3_mask"


def frame_line(frame: RenderedFrame) -> dict[str, Any]:
    """Write one frame as a StructuredDataset line; images are still arrays."""
    views = frame.views.items()
    targets: dict[str, Any] = {"valid": True}
    for name, view in views:
        targets[name] = {**dict(zip(POINTS, view.uv.tolist(), strict=True)), "mask": view.mask}
    return {
        **{name: {"image": view.image} for name, view in views},
        "debug": {"training_targets": {"keypoint3_mask": targets}},
        "truth": {"xyz_world": dict(zip(POINTS, frame.xyz_world.tolist(), strict=True))},
    }


def write_recording(root: Path, frames: int, *, seed: int, progress: Progress = SILENT) -> Path:
    """Render a recording, named by its seed, write it as a StructuredDataset, and return its calibration file.

    Raises:
        OutputError: the folder cannot be written or holds a recording already.
    """

    def lines() -> Iterator[dict[str, Any]]:
        with progress.work("rendering", frames) as step:
            for index in range(frames):
                yield frame_line(render_frame(seed, index))
                step.advance()

    write_structured(root, lines())
    path = root / CALIBRATION_FILE
    write_json(path, calibration(stereo_head()))
    return path


def demo_config(root: Path, validation_root: Path) -> dict[str, Any]:
    """Return the configuration, ready for JSON, that trains points and mask of both cameras on such recordings."""
    return {
        "prefix": "demo",
        "base_dir": str(root),
        "data_mappings": {
            "x": [f"{camera}.image" for camera in CAMERAS],
            "y": [[f"{TARGETS}.{camera}.{point}" for point in POINTS] for camera in CAMERAS],
            "mask": [f"{TARGETS}.{camera}.mask" for camera in CAMERAS],
            "valid": f"{TARGETS}.valid",
            "xyz_world": [f"truth.xyz_world.{point}" for point in POINTS],
        },
        "targets": {"keypoints": True, "segmentation": True},
        "num_segmentation_classes": len(CLASSES),
        "augmentations": [
            {"type": "crop", "output_size": 256},
            {"type": "affine", "rotation_deg": [-20.0, 20.0], "scale": [0.85, 1.18], "shift": 0.06},
            {"type": "intensity", "brightness": 0.1, "contrast": [0.8, 1.25], "gamma": [0.8, 1.25]},
            {"type": "blur", "probability": 0.1, "sigma_px": [0.3, 1.0]},
        ],
        "loss_terms": starting_loss_terms(segmentation=True, segments=((0, 1, TIP_TURN), (1, 2, TURN_END))),
        "calibration_file": str(root / CALIBRATION_FILE),
        "stereo_pairing": {"enabled": True},
        "validation": {"base_dir": str(validation_root)},
    }
