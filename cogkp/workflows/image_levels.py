"""Black and white levels of 16-bit images: found in the training data, kept in the checkpoint's configuration."""

import logging
from collections.abc import Mapping
from typing import Any

import attrs

from cogkp.artifacts.checkpoint import Checkpoint
from cogkp.config.images import ImageFiles
from cogkp.data.dataset import ImageDataset
from cogkp.data.images import Levels, find_levels, tell_levels
from cogkp.errors import ConfigError
from cogkp.families import family_of
from cogkp.inference.exported import image_reading

log = logging.getLogger("cogkp")


def lacks_levels(config: Any) -> bool:
    """Say whether a configuration leaves the levels to whoever finds or knows them."""
    files = _files(config)
    return files is not None and files.levels_16bit is None


def with_found_levels(config: Any, dataset: ImageDataset) -> Any:
    """Put the levels of the training data into a configuration that does not state them.

    It stays as it is where there is nothing to find: images of 8 bits, or such that fill their range.
    """
    if not lacks_levels(config) or (levels := find_levels(dataset.some_images)) is None:
        return config
    said = "the training images of 16 bits do not fill their range: values %d to %d are spread over it, here and in %s"
    log.info(said, *levels, "every use of the model")
    return _with_levels(config, levels)


def with_trained_levels(config: Any, checkpoint: Checkpoint) -> Any:
    """Put the levels that a checkpoint was trained with into a configuration that does not state them."""
    if not lacks_levels(config):
        return config
    try:
        trained = _files(family_of(config).part("adapter").structure(checkpoint.provenance.config))
    except ConfigError:  # of a release whose configurations cannot be read any more, which knew no levels
        return config
    return config if trained is None else _with_levels(config, trained.levels_16bit)


def with_exported_levels(config: Any, facts: Mapping[str, Any], where: str) -> Any:
    """Put the levels of an exported model into a configuration without any; ArtifactError if they make no sense."""
    if not lacks_levels(config) or "images" not in facts:
        return config
    return _with_levels(config, image_reading(facts, where)[1])


def _with_levels(config: Any, levels: Levels | None) -> Any:
    """Put levels into a configuration."""
    files = _files(config)
    if files is None or files.levels_16bit == levels:
        return config
    return family_of(config).part("adapter").with_image_files(config, attrs.evolve(files, levels_16bit=levels))


def tell_dataset(config: Any, dataset: ImageDataset, split: str) -> None:
    """Warn where the images of 16 bits of a data set lie far outside the levels of a configuration."""
    files = _files(config)
    if files is not None:
        tell_levels(dataset.some_images, f"{split} data", files.levels_16bit)


def _files(config: Any) -> ImageFiles | None:
    """Say how a family's configuration reads image files; None where the family says nothing of it."""
    files: ImageFiles | None = family_of(config).part("adapter").image_files(config)
    return files
