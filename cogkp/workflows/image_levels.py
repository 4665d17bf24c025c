"""Black and white levels of 16-bit images: found in the training data, kept in the checkpoint's configuration."""

import logging
from collections.abc import Mapping
from typing import Any

import attrs

from cogkp.artifacts.checkpoint import Checkpoint
from cogkp.config.images import ImageFiles
from cogkp.data.dataset import ImageDataset
from cogkp.data.images import ImageValues, Levels
from cogkp.errors import ConfigError
from cogkp.families import family_of
from cogkp.inference.exported import image_reading

log = logging.getLogger("cogkp")


def lacks_levels(config: Any) -> bool:
    """Say whether a configuration leaves the levels to whoever finds or knows them."""
    files = _files(config)
    return files is not None and files.levels_16bit is None


def with_found_levels(config: Any, dataset: ImageDataset) -> tuple[Any, dict[str, Any]]:
    """Put the levels of the training data into a configuration that does not state them, and tell what does not fit.

    It stays as it is where there is nothing to find: images of 8 bits, or such that fill their range.

    Returns:
        The configuration, and what the images are like: :meth:`cogkp.data.images.ImageValues.summary`.
    """
    files = _files(config)
    if files is None:
        return config, {}
    values = ImageValues.of(dataset.some_images)
    levels = values.levels if files.levels_16bit is None else files.levels_16bit
    if levels != files.levels_16bit:
        said = "the training images of 16 bits do not fill their range: values %d to %d are spread over it, here and in"
        log.info(f"{said} every use of the model", *(levels or ()))
    values.tell("train data", levels)
    return _with_levels(config, levels), values.summary(levels)


def with_trained_levels(config: Any, checkpoint: Checkpoint) -> Any:
    """Put the levels that a checkpoint was trained with into a configuration that does not state them.

    An orientation that is applied here and was not in the training, or the other way round, is warned of.
    """
    try:
        trained = _files(family_of(config).part("adapter").structure(checkpoint.provenance.config))
    except ConfigError:  # of a release whose configurations cannot be read any more, which knew no levels
        return config
    return config if trained is None else _as_trained(config, trained.apply_exif_orientation, trained.levels_16bit)


def with_exported_levels(config: Any, facts: Mapping[str, Any], where: str) -> Any:
    """Do the same with what an exported model says of itself.

    Raises:
        ArtifactError: what the model file says of them makes no sense.
    """
    return _as_trained(config, *image_reading(facts, where)) if "images" in facts else config


def _as_trained(config: Any, oriented: bool, levels: Levels | None) -> Any:
    files = _files(config)
    if files is not None and files.apply_exif_orientation != oriented:
        said = "the model was trained with images.apply_exif_orientation %s; the configuration says %s, and is followed"
        log.warning(said, *(str(each).lower() for each in (oriented, not oriented)))
    return _with_levels(config, levels) if lacks_levels(config) else config


def _with_levels(config: Any, levels: Levels | None) -> Any:
    """Put levels into a configuration."""
    files = _files(config)
    if files is None or files.levels_16bit == levels:
        return config
    return family_of(config).part("adapter").with_image_files(config, attrs.evolve(files, levels_16bit=levels))


def tell_dataset(config: Any, dataset: ImageDataset, split: str) -> dict[str, Any]:
    """Warn where the images of a data set lie far outside the levels of a configuration; returns what they are like."""
    files = _files(config)
    if files is None:
        return {}
    values = ImageValues.of(dataset.some_images)
    values.tell(f"{split} data", files.levels_16bit)
    return values.summary(files.levels_16bit)


def _files(config: Any) -> ImageFiles | None:
    """Say how a family's configuration reads image files; None where the family says nothing of it."""
    files: ImageFiles | None = family_of(config).part("adapter").image_files(config)
    return files
