"""Options of a training and of an export, as frozen values."""

from __future__ import annotations

import re
from typing import NamedTuple

import attrs

from cogkp.config.fields import (
    LARGEST_BATCH,
    LARGEST_SEED,
    at_least,
    below,
    between,
    matching,
    more_than,
    one_of,
    setting,
)
from cogkp.errors import ConfigError, Problem

INTERVAL = r"0*[1-9]\d*( ?(steps?|s|min|h))?"
INTERVAL_WORDS = "a number of steps or a time, as '200', '200steps', '90s', '10min' or '1h'"
SECONDS = {"s": 1, "min": 60, "h": 3600}


@attrs.frozen(kw_only=True)
class ExportOptions:
    """Options of one export."""

    path: str | None = setting(
        None,
        "ONNX file to write; null makes a name under assets/models.",
        matching(r"(?s:.+)\.onnx", "a name that ends in .onnx"),
    )
    batch_size: int = setting(1, "Fixed batch size of the exported model; 0: any.", between(0, LARGEST_BATCH))
    precision: str | None = setting(
        None, "fp32 or bf16, the tag in the name; null means bf16 on CUDA and fp32 elsewhere.", one_of("fp32", "bf16")
    )
    engine: bool = setting(True, "Also build a TensorRT engine beside the ONNX file.")
    builder: str = setting(
        "auto",
        "Who builds the engine: 'auto' takes trtexec, else the tensorrt package; 'tensorrt_rtx' only when named.",
        one_of("auto", "trtexec", "tensorrt", "tensorrt_rtx"),
    )


class SaveInterval(NamedTuple):
    """An interval in steps or in seconds; the other one is None."""

    steps: int | None
    seconds: float | None

    @classmethod
    def parse(cls, text: str) -> SaveInterval:
        """Read '200', '200steps', '90s', '10min' or '1h'; raises ConfigError for anything else.

        Example:
            >>> SaveInterval.parse("200"), SaveInterval.parse("10min")
            (SaveInterval(steps=200, seconds=None), SaveInterval(steps=None, seconds=600))
        """
        if not re.fullmatch(INTERVAL, text):
            raise ConfigError([Problem("not an interval", expected=INTERVAL_WORDS, got=repr(text))])
        number = int(re.sub(r"\D", "", text))
        unit = re.sub(r"[\d ]", "", text)
        return cls(None, number * SECONDS[unit]) if unit in SECONDS else cls(number, None)


@attrs.frozen(kw_only=True)
class TrainOptions:
    """Options of one training."""

    epochs: int = setting(100, "Passes over the data.", between(1, 1_000_000))
    batch_size: int = setting(32, "Images per optimiser step; even for stereo pairs.", at_least(1))
    accumulate: int = setting(
        1, "Parts an optimiser step's images are passed in one after another, to save memory.", at_least(1)
    )
    learning_rate: float = setting(1e-2, "Initial rate of AdamW.", more_than(0.0))
    clip_norm: float = setting(
        1.0,
        "Longest gradient, Euclidean norm over all weights; longer ones are shortened, 0 shortens none.",
        at_least(0.0),
    )
    ema_decay: float = setting(
        0.0,
        "Decay of a moving average of the weights, which is then what is validated and deployed; 0 keeps none.",
        below(0.0, 1.0),
    )
    encoder_weights: str | None = setting(
        None,
        "Where a fresh network's encoder comes from: a checkpoint, a file of published ResNet-18 weights, or "
        "'imagenet' for that file in torch's hub cache; null means random.",
        matching(r".+", "a path or 'imagenet'"),
    )
    precision: str | None = setting(
        None, "fp32, bf16 or fp16; null means bf16 on CUDA and fp32 elsewhere.", one_of("fp32", "bf16", "fp16")
    )
    compile: bool = setting(False, "Compile the network with torch.compile; needs a C++ compiler, on a GPU Triton.")
    patience: int = setting(
        0, "Validations without a better one after which the training stops; 0 never stops it.", at_least(0)
    )
    overfit_one_batch: bool = setting(False, "Train on the first batch only, drawn once: shows faults of data or loss.")
    num_workers: int = setting(4, "Loader processes; 0 loads in the training process.", at_least(0))
    prefetch_factor: int = setting(4, "Batches each loader process prepares ahead.", at_least(1))
    log_interval: int = setting(10, "Steps between lines of the history, and of histograms and images.", at_least(1))
    verbose_log: bool = setting(False, "Also log histograms and images.")
    seed: int = setting(0, "Seed of weights, order and augmentation.", between(0, LARGEST_SEED))
    checkpoint_interval: str = setting(
        "10min", "Longest way from one checkpoint to the next within an epoch.", matching(INTERVAL, INTERVAL_WORDS)
    )
    keep_last: int = setting(2, "Checkpoints that are kept, the newest included.", at_least(1))
