"""The augmentation stages as configuration; each stage is a tagged object ``{"type": "crop", ...}``.

Spatial stages (crop, affine, flip) compose, in their listed order, into one 3x3 map that is applied once.
Photometric stages (intensity, blur, noise, cutout) run on the crop, in their listed order.
"""

from typing import ClassVar

import attrs

from cogkp.config.fields import LARGEST_SIDE, between, interval, multiple_of, one_of, setting

LARGE = 1e6


@attrs.frozen(kw_only=True)
class Crop:
    """Cut the network's square input out of the frame; exactly one per list."""

    TYPE: ClassVar[str] = "crop"
    output_size: int = setting(256, "Side of the square network input, pixels.", multiple_of(32, 32, LARGEST_SIDE))
    region: str = setting(
        "frame",
        "What is cut: 'frame' letterboxes the whole frame, 'points' a square round the labelled points, "
        "'box' a fixed rectangle.",
        one_of("frame", "points", "box"),
    )
    margin: float = setting(
        0.25, "Room left round the points on each side, as a fraction of their extent.", between(0.0, 1000.0)
    )
    jitter: float = setting(
        0.1, "Largest random move of the 'points' square in training, fraction of its side.", between(0.0, 0.5)
    )
    min_size_px: float = setting(32.0, "Smallest side of the 'points' square, source pixels.", between(2.0, LARGE))
    box: tuple[float, float, float, float] | None = setting(
        None, "Rectangle [left, top, width, height] in source pixels for region 'box'.", between(-LARGE, LARGE)
    )


@attrs.frozen(kw_only=True)
class Affine:
    """Rotate, scale and shift about the image centre."""

    TYPE: ClassVar[str] = "affine"
    probability: float = setting(1.0, "How often the stage acts.", between(0.0, 1.0))
    rotation_deg: tuple[float, float] = setting(
        (-25.0, 25.0), "Range of the rotation, degrees.", interval(-360.0, 360.0)
    )
    scale: tuple[float, float] = setting(
        (0.8, 1.25), "Range of the scale factor, drawn evenly in its logarithm.", interval(0.05, 20.0)
    )
    shift: float = setting(0.1, "Largest shift along each axis, fraction of the image side.", between(0.0, 1.0))


@attrs.frozen(kw_only=True)
class Flip:
    """Mirror left to right; only for objects whose mirror image is again such an object."""

    TYPE: ClassVar[str] = "flip"
    probability: float = setting(0.5, "How often the stage acts.", between(0.0, 1.0))
    swap: tuple[tuple[int, int], ...] = setting((), "Pairs of point indices that change places in the mirror.")


@attrs.frozen(kw_only=True)
class Intensity:
    """Change brightness, contrast and gamma."""

    TYPE: ClassVar[str] = "intensity"
    probability: float = setting(0.8, "How often the stage acts.", between(0.0, 1.0))
    brightness: float = setting(0.2, "Largest additive change, on the 0..1 scale.", between(0.0, 1.0))
    contrast: tuple[float, float] = setting((0.7, 1.4), "Range of the factor about mid-grey.", interval(0.0, LARGE))
    gamma: tuple[float, float] = setting((0.7, 1.4), "Range of the exponent.", interval(0.01, 100.0))


@attrs.frozen(kw_only=True)
class Blur:
    """Blur with a Gaussian."""

    TYPE: ClassVar[str] = "blur"
    probability: float = setting(0.2, "How often the stage acts.", between(0.0, 1.0))
    sigma_px: tuple[float, float] = setting(
        (0.3, 1.5), "Range of the standard deviation, crop pixels.", interval(0.0, 100.0)
    )


@attrs.frozen(kw_only=True)
class Noise:
    """Add independent Gaussian noise to each pixel."""

    TYPE: ClassVar[str] = "noise"
    probability: float = setting(0.3, "How often the stage acts.", between(0.0, 1.0))
    sigma: tuple[float, float] = setting(
        (0.0, 0.04), "Range of the standard deviation, on the 0..1 scale.", interval(0.0, 1.0)
    )


@attrs.frozen(kw_only=True)
class Cutout:
    """Cover random rectangles with grey, so that points are learnt from their surroundings too."""

    TYPE: ClassVar[str] = "cutout"
    probability: float = setting(0.3, "How often the stage acts.", between(0.0, 1.0))
    count: int = setting(2, "Largest number of rectangles.", between(1, 1000))
    size: tuple[float, float] = setting(
        (0.05, 0.2), "Range of each side, fraction of the image side.", interval(0.0, 1.0)
    )


Stage = Crop | Affine | Flip | Intensity | Blur | Noise | Cutout

STAGES: dict[str, type[Stage]] = {stage.TYPE: stage for stage in (Crop, Affine, Flip, Intensity, Blur, Noise, Cutout)}


def default_stages() -> tuple[Stage, ...]:
    """List the built-in augmentation: no mirroring, since tools and camera rigs have a handedness."""
    return (Crop(), Affine(), Intensity(), Blur(), Noise(), Cutout())
