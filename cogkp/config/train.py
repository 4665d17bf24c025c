"""How a training is run: what the command line's flags say, as one frozen value."""

from __future__ import annotations

import attrs

from cogkp.config.fields import at_least, more_than, one_of, setting

__all__ = ["TrainOptions"]


@attrs.frozen(kw_only=True)
class TrainOptions:
    """The plan of one training."""

    epochs: int = setting(100, "Passes over the data.", at_least(1))
    batch_size: int = setting(32, "Images per optimiser step; even for stereo pairs.", at_least(1))
    learning_rate: float = setting(1e-2, "Initial rate of AdamW.", more_than(0.0))
    precision: str | None = setting(
        None, "fp32 or bf16; null means bf16 on CUDA and fp32 elsewhere.", one_of("fp32", "bf16")
    )
    num_workers: int = setting(4, "Loader processes; 0 loads in the training process.", at_least(0))
    prefetch_factor: int = setting(4, "Batches each loader process prepares ahead.", at_least(1))
    log_interval: int = setting(10, "Steps between histograms and pictures in the verbose log.", at_least(1))
    verbose_log: bool = setting(False, "Also log histograms and pictures.")
    seed: int = setting(0, "Seed of weights, order and augmentation.", at_least(0))
