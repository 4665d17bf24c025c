"""cogkp: keypoint training and deployment for calibrated cameras.

Every public name is listed here and found on first use, so that ``import cogkp`` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cogkp.config.centerpose.io import load_experiment, write_experiment_template
    from cogkp.config.centerpose.schema import experiment_schema
    from cogkp.config.centerpose.spec import CenterPoseConfig
    from cogkp.config.export import DeployOptions
    from cogkp.config.keypoint.io import load as load_config
    from cogkp.config.keypoint.io import write_template
    from cogkp.config.keypoint.schema import json_schema
    from cogkp.config.keypoint.spec import KeypointConfig
    from cogkp.config.torchrun import Launch, launched
    from cogkp.config.train import TrainOptions
    from cogkp.data.boxes.importers import BoxImportResult, import_boxes
    from cogkp.data.boxes.synthetic import render_boxes
    from cogkp.data.keypoint.dataset import AugmentedKeypointDataset
    from cogkp.data.keypoint.importers.registry import ImportResult, import_dataset
    from cogkp.demonstration import DemoResult, demo
    from cogkp.errors import CogkpError
    from cogkp.geometry.warp import ImageWarp
    from cogkp.models.keypoint import GenericKeypointModel
    from cogkp.progress import SILENT, Progress
    from cogkp.training.distributed import joined
    from cogkp.workflows.box_labels import BoxLabelCheck, check_box_labels
    from cogkp.workflows.calibration import CalibrationCheck, check_calibration
    from cogkp.workflows.centerpose import ExperimentResult, train_experiment
    from cogkp.workflows.centerpose_engine import ExperimentEngine, build_experiment_engine
    from cogkp.workflows.centerpose_evaluation import ExperimentEvaluation, evaluate_experiment
    from cogkp.workflows.centerpose_export import ExperimentExport, export_experiment
    from cogkp.workflows.centerpose_inference import ExperimentInference, infer_experiment
    from cogkp.workflows.comparing import ComparisonResult, compare
    from cogkp.workflows.deployment import DeployResult, deploy, missing_builder
    from cogkp.workflows.evaluation import EvaluationResult, evaluate
    from cogkp.workflows.torchrun import ranks_to_start
    from cogkp.workflows.training import DryRunResult, TrainResult, dry_run, preview_data, train

__version__ = "0.1.0"

__all__ = [
    "SILENT",
    "AugmentedKeypointDataset",
    "BoxImportResult",
    "BoxLabelCheck",
    "CalibrationCheck",
    "CenterPoseConfig",
    "CogkpError",
    "ComparisonResult",
    "DemoResult",
    "DeployOptions",
    "DeployResult",
    "DryRunResult",
    "EvaluationResult",
    "ExperimentEngine",
    "ExperimentEvaluation",
    "ExperimentExport",
    "ExperimentInference",
    "ExperimentResult",
    "GenericKeypointModel",
    "ImageWarp",
    "ImportResult",
    "KeypointConfig",
    "Launch",
    "Progress",
    "TrainOptions",
    "TrainResult",
    "build_experiment_engine",
    "check_box_labels",
    "check_calibration",
    "compare",
    "demo",
    "deploy",
    "dry_run",
    "evaluate",
    "evaluate_experiment",
    "experiment_schema",
    "export_experiment",
    "import_boxes",
    "import_dataset",
    "infer_experiment",
    "joined",
    "json_schema",
    "launched",
    "load_config",
    "load_experiment",
    "missing_builder",
    "preview_data",
    "ranks_to_start",
    "render_boxes",
    "train",
    "train_experiment",
    "write_experiment_template",
    "write_template",
]

_HOMES = {
    "cogkp.config.centerpose.io": ("load_experiment", "write_experiment_template"),
    "cogkp.config.centerpose.schema": ("experiment_schema",),
    "cogkp.config.centerpose.spec": ("CenterPoseConfig",),
    "cogkp.config.export": ("DeployOptions",),
    "cogkp.config.keypoint.io": ("load_config", "write_template"),
    "cogkp.config.keypoint.spec": ("KeypointConfig",),
    "cogkp.config.torchrun": ("Launch", "launched"),
    "cogkp.config.schema": ("json_schema",),
    "cogkp.config.train": ("TrainOptions",),
    "cogkp.data.keypoint.dataset": ("AugmentedKeypointDataset",),
    "cogkp.data.keypoint.importers.registry": ("ImportResult", "import_dataset"),
    "cogkp.data.boxes.importers": ("BoxImportResult", "import_boxes"),
    "cogkp.data.boxes.synthetic": ("render_boxes",),
    "cogkp.demonstration": ("DemoResult", "demo"),
    "cogkp.errors": ("CogkpError",),
    "cogkp.geometry.warp": ("ImageWarp",),
    "cogkp.models.keypoint": ("GenericKeypointModel",),
    "cogkp.progress": ("SILENT", "Progress"),
    "cogkp.training.distributed": ("joined",),
    "cogkp.workflows.box_labels": ("BoxLabelCheck", "check_box_labels"),
    "cogkp.workflows.calibration": ("CalibrationCheck", "check_calibration"),
    "cogkp.workflows.centerpose": ("ExperimentResult", "train_experiment"),
    "cogkp.workflows.centerpose_engine": ("ExperimentEngine", "build_experiment_engine"),
    "cogkp.workflows.centerpose_evaluation": ("ExperimentEvaluation", "evaluate_experiment"),
    "cogkp.workflows.centerpose_export": ("ExperimentExport", "export_experiment"),
    "cogkp.workflows.centerpose_inference": ("ExperimentInference", "infer_experiment"),
    "cogkp.workflows.comparing": ("ComparisonResult", "compare"),
    "cogkp.workflows.deployment": ("DeployResult", "deploy", "missing_builder"),
    "cogkp.workflows.evaluation": ("EvaluationResult", "evaluate"),
    "cogkp.workflows.torchrun": ("ranks_to_start",),
    "cogkp.workflows.training": ("DryRunResult", "TrainResult", "dry_run", "preview_data", "train"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
_CALLED_AT_HOME = {"load_config": "load"}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'cogkp' has no attribute {name!r}")
    value = getattr(import_module(_HOME_OF[name]), _CALLED_AT_HOME.get(name, name))
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
