"""Read and write images, and turn them into network inputs, the same way for training and deployment."""

from cogkp.data.images.arrays import as_image, to_colour, to_display, to_grey
from cogkp.data.images.levels import find_levels, misfit, tell_levels
from cogkp.data.images.orientation import UPRIGHT
from cogkp.data.images.reading import (
    FULL,
    MAX_PIXELS,
    MISSING_MASK_IGNORE_INDEX,
    ImageFile,
    Levels,
    encode_image,
    image_size,
    noted_orientation,
    read_colour,
    read_grey,
    read_image,
    read_mask,
    stretched,
    write_png,
)
from cogkp.data.images.resample import warp_image, warp_mask
from cogkp.data.images.survey import tell_orientations

__all__ = [
    "FULL",
    "MAX_PIXELS",
    "MISSING_MASK_IGNORE_INDEX",
    "UPRIGHT",
    "ImageFile",
    "Levels",
    "as_image",
    "encode_image",
    "find_levels",
    "image_size",
    "misfit",
    "noted_orientation",
    "read_colour",
    "read_grey",
    "read_image",
    "read_mask",
    "stretched",
    "tell_levels",
    "tell_orientations",
    "to_colour",
    "to_display",
    "to_grey",
    "warp_image",
    "warp_mask",
    "write_png",
]
