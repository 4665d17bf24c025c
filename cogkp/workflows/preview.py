"""Preview augmented training images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from cogkp.config.train import TrainOptions
from cogkp.drawing import draw_batch
from cogkp.tasks.registry import build_task
from cogkp.workflows.adapter import adapter_of, require
from cogkp.workflows.image_levels import with_found_levels
from cogkp.workflows.setup import open_loader


def preview_data(config: Any, *, batch_size: int = 32, num_workers: int = 0) -> Iterator[npt.NDArray[np.uint8]]:
    """Draw augmented images with their labels, batch by batch, in the order of the data.

    Args:
        config: what :func:`cogkp.load_config` returns.
        batch_size: images of a grid.
        num_workers: loader processes.

    Yields:
        Square grids, (H, W, 3) uint8 RGB.

    Raises:
        ConfigError: the configuration does not fit together.
        DataError: data cannot be used.
    """
    options = TrainOptions(batch_size=batch_size, num_workers=num_workers)
    require(adapter_of(config).check_loading(config, options))
    task = build_task(config)
    dataset = task.datasets("preview")
    levelled, _ = with_found_levels(config, dataset)
    if levelled is not config:
        dataset = build_task(levelled).datasets("preview")
    for batch in open_loader(dataset, options, shuffle=False):
        yield draw_batch(task.codec, batch)
