"""Read and write images, and turn them into network inputs, the same way for training and deployment."""

from cogkp.data.images.arrays import as_image, to_colour, to_grey
from cogkp.data.images.reading import (
    MAX_PIXELS,
    MISSING_MASK_IGNORE_INDEX,
    encode_image,
    image_size,
    noted_orientation,
    read_colour,
    read_grey,
    read_image,
    read_mask,
    write_png,
)
from cogkp.data.images.resample import warp_image, warp_mask
from cogkp.data.images.survey import tell_orientations

__all__ = [
    "MAX_PIXELS",
    "MISSING_MASK_IGNORE_INDEX",
    "as_image",
    "encode_image",
    "image_size",
    "noted_orientation",
    "read_colour",
    "read_grey",
    "read_image",
    "read_mask",
    "tell_orientations",
    "to_colour",
    "to_grey",
    "warp_image",
    "warp_mask",
    "write_png",
]
