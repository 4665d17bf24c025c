"""The ``images`` section, shared by all families: how image files are read."""

from typing import Any

import attrs

from cogkp.config.fields import interval, setting


@attrs.frozen(kw_only=True)
class ImageFiles:
    """How image files are read, in training, evaluation and prediction."""

    apply_exif_orientation: bool = setting(
        False,
        "Turn images by the orientation that their files note, for labels made in a viewer that does so; off: pixels "
        "as stored.",
    )
    levels_16bit: tuple[int, int] | None = setting(
        None,
        "Values of black and white in images of 16 bits. Null: found in the training data and kept with the model, "
        "since cameras of 10 to 14 bits fill little of the range; [0, 65535]: as stored.",
        interval(0, 65535),
    )

    @property
    def facts(self) -> dict[str, Any]:
        """What a model file says of them, ready for JSON."""
        levels = self.levels_16bit
        return {
            "apply_exif_orientation": self.apply_exif_orientation,
            "levels_16bit": None if levels is None else list(levels),
        }


AS_STORED = ImageFiles()
