"""cogkp: keypoint training and deployment for calibrated cameras.

Every public name is listed here and found on first use, so that ``import cogkp`` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cogkp.config.export import DeployOptions
    from cogkp.config.keypoint import KeypointConfig
    from cogkp.config.train import TrainOptions
    from cogkp.data.datasets import AugmentedKeypointDataset
    from cogkp.errors import CogkpError
    from cogkp.geometry.warp import ImageWarp
    from cogkp.models.keypoint import GenericKeypointModel
    from cogkp.progress import SILENT, Progress
    from cogkp.workflows import (
        DemoResult,
        DeployResult,
        DryRunResult,
        EvaluationResult,
        ImportResult,
        TrainResult,
        demo,
        deploy,
        dry_run,
        evaluate,
        import_dataset,
        json_schema,
        load_config,
        preview_data,
        train,
        write_template,
    )

__version__ = "0.1.0"

__all__ = [
    "SILENT",
    "AugmentedKeypointDataset",
    "CogkpError",
    "DemoResult",
    "DeployOptions",
    "DeployResult",
    "DryRunResult",
    "EvaluationResult",
    "GenericKeypointModel",
    "ImageWarp",
    "ImportResult",
    "KeypointConfig",
    "Progress",
    "TrainOptions",
    "TrainResult",
    "demo",
    "deploy",
    "dry_run",
    "evaluate",
    "import_dataset",
    "json_schema",
    "load_config",
    "preview_data",
    "train",
    "write_template",
]

_HOMES = {
    "AugmentedKeypointDataset": "cogkp.data.datasets",
    "CogkpError": "cogkp.errors",
    "DeployOptions": "cogkp.config.export",
    "GenericKeypointModel": "cogkp.models.keypoint",
    "ImageWarp": "cogkp.geometry.warp",
    "KeypointConfig": "cogkp.config.keypoint",
    "Progress": "cogkp.progress",
    "SILENT": "cogkp.progress",
    "TrainOptions": "cogkp.config.train",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'cogkp' has no attribute {name!r}")
    value = getattr(import_module(_HOMES.get(name, "cogkp.workflows")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
