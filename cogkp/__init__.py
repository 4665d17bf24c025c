"""cogkp: keypoint training and deployment for calibrated cameras.

Every public name is listed here and found on first use, so that ``import cogkp`` costs next to nothing.
"""

from typing import TYPE_CHECKING

from cogkp.lazy import lazy_names

if TYPE_CHECKING:
    from cogkp.config.centerpose.spec import CenterPoseConfig
    from cogkp.config.keypoint.spec import KeypointConfig
    from cogkp.config.train import ExportOptions, TrainOptions
    from cogkp.data.calibration import read_calibration
    from cogkp.data.keypoint.dataset import AugmentedKeypointDataset
    from cogkp.data.keypoint.importers.registry import import_dataset
    from cogkp.data.keypoint.structured.recorder import Recorder, record
    from cogkp.demonstration import demo
    from cogkp.errors import CogkpError
    from cogkp.families import load_config, write_template
    from cogkp.geometry.camera import PinholeCamera
    from cogkp.geometry.rig import CameraRig
    from cogkp.geometry.warp import ImageWarp
    from cogkp.inference.model import load
    from cogkp.models.keypoint import GenericKeypointModel
    from cogkp.workflows.benchmark import BenchmarkResult, benchmark
    from cogkp.workflows.compare import compare
    from cogkp.workflows.engine import build_engine
    from cogkp.workflows.evaluate import evaluate
    from cogkp.workflows.export import ExportResult, export
    from cogkp.workflows.families.keypoint.calibration_check import check_calibration
    from cogkp.workflows.predict import InferResult, infer
    from cogkp.workflows.prediction import Predictions, PredictionSummary, predict, write_predictions
    from cogkp.workflows.preview import preview_data
    from cogkp.workflows.report_writer import EvaluationResult
    from cogkp.workflows.train import TrainResult, dry_run, train
    from cogkp.workflows.triton import TritonResult, write_triton_repository

__version__ = "0.1.0"

__all__ = [
    "AugmentedKeypointDataset",
    "BenchmarkResult",
    "CameraRig",
    "CenterPoseConfig",
    "CogkpError",
    "EvaluationResult",
    "ExportOptions",
    "ExportResult",
    "GenericKeypointModel",
    "ImageWarp",
    "InferResult",
    "KeypointConfig",
    "PinholeCamera",
    "PredictionSummary",
    "Predictions",
    "Recorder",
    "TrainOptions",
    "TrainResult",
    "TritonResult",
    "benchmark",
    "build_engine",
    "check_calibration",
    "compare",
    "demo",
    "dry_run",
    "evaluate",
    "export",
    "import_dataset",
    "infer",
    "load",
    "load_config",
    "predict",
    "preview_data",
    "read_calibration",
    "record",
    "train",
    "write_predictions",
    "write_template",
    "write_triton_repository",
]

_HOMES = {
    "cogkp.config.centerpose.spec": ("CenterPoseConfig",),
    "cogkp.config.keypoint.spec": ("KeypointConfig",),
    "cogkp.config.train": ("ExportOptions", "TrainOptions"),
    "cogkp.data.calibration": ("read_calibration",),
    "cogkp.data.keypoint.dataset": ("AugmentedKeypointDataset",),
    "cogkp.data.keypoint.importers.registry": ("import_dataset",),
    "cogkp.data.keypoint.structured.recorder": (
        "Recorder",
        "record",
    ),
    "cogkp.demonstration": ("demo",),
    "cogkp.errors": ("CogkpError",),
    "cogkp.families": (
        "load_config",
        "write_template",
    ),
    "cogkp.geometry.camera": ("PinholeCamera",),
    "cogkp.geometry.rig": ("CameraRig",),
    "cogkp.geometry.warp": ("ImageWarp",),
    "cogkp.inference.model": ("load",),
    "cogkp.models.keypoint": ("GenericKeypointModel",),
    "cogkp.workflows.benchmark": (
        "BenchmarkResult",
        "benchmark",
    ),
    "cogkp.workflows.compare": ("compare",),
    "cogkp.workflows.engine": ("build_engine",),
    "cogkp.workflows.evaluate": (
        "EvaluationResult",
        "evaluate",
    ),
    "cogkp.workflows.export": (
        "ExportResult",
        "export",
    ),
    "cogkp.workflows.families.keypoint.calibration_check": ("check_calibration",),
    "cogkp.workflows.predict": (
        "InferResult",
        "infer",
    ),
    "cogkp.workflows.prediction": (
        "PredictionSummary",
        "Predictions",
        "predict",
        "write_predictions",
    ),
    "cogkp.workflows.preview": ("preview_data",),
    "cogkp.workflows.train": (
        "TrainResult",
        "dry_run",
        "train",
    ),
    "cogkp.workflows.triton": (
        "TritonResult",
        "write_triton_repository",
    ),
}
__getattr__ = lazy_names(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
