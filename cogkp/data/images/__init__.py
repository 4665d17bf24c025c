"""Read and write images, and turn them into network inputs, the same way for training and deployment."""

from cogkp.data.images.arrays import as_image, to_colour, to_display, to_grey
from cogkp.data.images.levels import ImageValues, counted_values, faint, misfit, value_range
from cogkp.data.images.orientation import UPRIGHT
from cogkp.data.images.reading import (
    FULL,
    MAX_PIXELS,
    MISSING_MASK_IGNORE_INDEX,
    ImageFile,
    Levels,
    encode_image,
    image_bits,
    image_size,
    noted_orientation,
    read_colour,
    read_grey,
    read_image,
    read_mask,
    stretched,
    write_png,
)
from cogkp.data.images.resample import RESAMPLING, warp_image, warp_mask
from cogkp.data.images.survey import tell_orientations

__all__ = [
    "FULL",
    "MAX_PIXELS",
    "MISSING_MASK_IGNORE_INDEX",
    "RESAMPLING",
    "UPRIGHT",
    "ImageFile",
    "ImageValues",
    "Levels",
    "as_image",
    "counted_values",
    "encode_image",
    "faint",
    "image_bits",
    "image_size",
    "misfit",
    "noted_orientation",
    "read_colour",
    "read_grey",
    "read_image",
    "read_mask",
    "stretched",
    "tell_orientations",
    "to_colour",
    "to_display",
    "to_grey",
    "value_range",
    "warp_image",
    "warp_mask",
    "write_png",
]
