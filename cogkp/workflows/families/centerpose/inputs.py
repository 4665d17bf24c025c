"""Find images to compare an exported CenterPose network on, or to calibrate it with."""

from __future__ import annotations

import logging
from pathlib import Path

from cogkp.config.centerpose.spec import CenterPoseConfig
from cogkp.data.images.finding import find_images
from cogkp.errors import DataError

__all__ = ["available_images"]

log = logging.getLogger("cogkp")


def available_images(config: CenterPoseConfig) -> tuple[Path, ...]:
    """List the images of the first of an experiment's folders that has any; none where they cannot be had."""
    data = config.dataset
    for folder in (data.val_data, data.test_data, data.train_data, data.inference_data):
        if folder is None or not Path(folder).is_dir():
            continue
        try:
            return find_images(Path(folder))
        except DataError as error:
            log.warning("%s", error)
    return ()
