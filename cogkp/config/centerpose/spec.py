"""The configuration of the CenterPose family: the YAML file behind ``s6 cog centerpose <verb> -e``."""

from __future__ import annotations

from typing import Literal, get_args

import attrs

from cogkp.config.centerpose.dataset import DatasetSpec
from cogkp.config.centerpose.deploy import EngineSpec, ExportSection
from cogkp.config.centerpose.model import ModelSpec
from cogkp.config.centerpose.run import EvaluateSpec, InferenceSpec
from cogkp.config.centerpose.train import TrainSpec
from cogkp.config.fields import setting

__all__ = ["VERBS", "CenterPoseConfig", "Verb", "WandbSpec"]

Verb = Literal["train", "evaluate", "inference", "export", "gen_trt_engine"]
VERBS: tuple[Verb, ...] = get_args(Verb)


@attrs.frozen(kw_only=True)
class WandbSpec:
    """Accepted for compatibility with files of other programs; nothing is ever sent anywhere."""

    enable: bool = setting(False, "Has no effect but a warning.")
    project: str = setting("TAO Toolkit", "Has no effect.")
    entity: str = setting("", "Has no effect.")
    group: str = setting("", "Has no effect.")
    tags: tuple[str, ...] = setting(("training", "tao-toolkit"), "Has no effect.")
    reinit: bool = setting(False, "Has no effect.")
    sync_tensorboard: bool = setting(False, "Has no effect.")
    save_code: bool = setting(False, "Has no effect.")
    name: str = setting("TAO Toolkit training experiment", "Has no effect.")
    run_id: str = setting("", "Has no effect.")


@attrs.frozen(kw_only=True)
class CenterPoseConfig:
    """Everything that describes one CenterPose experiment."""

    model_name: str | None = setting(None, "Name of the network; a note for people.")
    encryption_key: str | None = setting(None, "Has no effect but a warning: models are not encrypted.")
    results_dir: str | None = setting("/results", "Folder below which each verb makes its own for its results.")
    wandb: WandbSpec = setting(WandbSpec, "Read so that files of other programs load; nothing is ever sent anywhere.")
    dataset: DatasetSpec = setting(DatasetSpec, "The images, and what is made of them.")
    model: ModelSpec = setting(ModelSpec, "The network.")
    train: TrainSpec = setting(TrainSpec, "The training.")
    evaluate: EvaluateSpec = setting(EvaluateSpec, "How a model is evaluated on labelled images.")
    inference: InferenceSpec = setting(InferenceSpec, "How objects are looked for in images without labels.")
    export: ExportSection = setting(ExportSection, "From a checkpoint to an ONNX file.")
    gen_trt_engine: EngineSpec = setting(EngineSpec, "From an ONNX file to a TensorRT engine.")

    @classmethod
    def default(cls) -> CenterPoseConfig:
        """Return the documented defaults, as the template file shows them."""
        return cls()
