"""The keypoint adapter."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import attrs

from cogkp.artifacts.weight_file import find_weights, read_weights
from cogkp.config.images import ImageFiles
from cogkp.config.keypoint.io import dump, structure
from cogkp.config.keypoint.remarks import deployment_remarks, training_remarks
from cogkp.config.keypoint.rules import check_loading, check_training
from cogkp.config.keypoint.spec import KeypointConfig
from cogkp.config.train import TrainOptions
from cogkp.data.dataset import Split
from cogkp.errors import ConfigError, Problem
from cogkp.models.backbone_weights import LoadedEncoder, load_encoder
from cogkp.models.resnet import RESNET18_WEIGHTS
from cogkp.tasks.keypoint.task import KeypointTask
from cogkp.training.distributed import Ranks
from cogkp.workflows.adapter import Adapter, ExportJob, ExportRequest
from cogkp.workflows.training_job import TrainingJob, TrainingRequest

__all__ = ["ADAPTER", "KeypointAdapter", "start_encoder"]

log = logging.getLogger("cogkp")


class KeypointAdapter(Adapter):
    """The adapter of the keypoint family."""

    def structure(self, plain: Mapping[str, Any]) -> KeypointConfig:
        return structure(plain, "the checkpoint's configuration")

    def dump(self, config: KeypointConfig) -> dict[str, Any]:
        return dump(config)

    def check(self, config: KeypointConfig, options: TrainOptions) -> Sequence[Problem]:
        return check_training(config, options)

    def check_loading(self, config: KeypointConfig, options: TrainOptions) -> Sequence[Problem]:
        return check_loading(config, options)

    def splits(self, config: KeypointConfig) -> Mapping[Split, str]:
        held_out: dict[Split, str] = {"validation": "validation.base_dir"} if config.validation.base_dir else {}
        return {"train": "base_dir", **held_out}

    def points(self, config: KeypointConfig) -> tuple[str, ...]:
        return config.point_names

    def roots(self, config: KeypointConfig) -> tuple[str, ...]:
        return config.base_dir

    def num_classes(self, config: KeypointConfig) -> int | None:
        return config.num_classes

    def network(self, config: KeypointConfig) -> str:
        return f"the preset '{config.model.preset}'"

    def subject(self, config: KeypointConfig) -> str:
        return config.prefix

    def image_files(self, config: KeypointConfig) -> ImageFiles:
        return config.images

    def with_image_files(self, config: KeypointConfig, files: ImageFiles) -> KeypointConfig:
        return attrs.evolve(config, images=files)

    def needs_labels(self, config: KeypointConfig) -> bool:
        return not config.targets.segmentation

    def start_weights(self, config: KeypointConfig, task: KeypointTask, options: TrainOptions) -> None:
        start_encoder(task, options)

    def training(self, config: KeypointConfig, asked: TrainingRequest, ranks: Ranks) -> TrainingJob:
        if asked.restore is not None and "encoder_weights" in asked.given:
            problem = Problem(
                "encoder weights are for a fresh network, and a restored checkpoint brings all of its weights",
                "encoder_weights",
                expected="--encoder-weights or --restore, not both",
                hint="To train other points from that checkpoint's encoder, name it in --encoder-weights alone.",
            )
            raise ConfigError([problem])
        _warn(training_remarks(config))
        return super().training(config, asked, ranks)

    @contextmanager
    def export(self, config: KeypointConfig, asked: ExportRequest) -> Iterator[ExportJob]:
        _warn(deployment_remarks(config))
        with super().export(config, asked) as job:
            yield job


def _warn(remarks: Sequence[Problem]) -> None:
    for remark in remarks:
        log.warning("%s", remark)


def start_encoder(task: KeypointTask, options: TrainOptions) -> LoadedEncoder | None:
    """Load the encoder that the options name, and log what was loaded and what was not; None where they name none.

    Raises:
        CheckpointError: there is no such file, or it holds no weights.
        ModelError: it holds those of another network; the task's network is then untouched.
    """
    if options.encoder_weights is None:
        return None
    found = read_weights(find_weights(options.encoder_weights, RESNET18_WEIGHTS))
    loaded = load_encoder(task.model, found.weights, str(found.path))
    passed = f"; not used from there: {', '.join(loaded.passed_over)}" if loaded.passed_over else ""
    log.info(
        "encoder from %s (%s): %d tensors, %s numbers%s; %s start from random weights",
        found.path,
        found.origin,
        loaded.tensors,
        f"{loaded.numbers:,}",
        passed,
        ", ".join(loaded.fresh),
    )
    return loaded


ADAPTER = KeypointAdapter()
