"""Several cameras that are bolted together, found by name.

World: the frame of the calibration; every camera's pose refers to it.
"""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from cogkp.errors import GeometryError, closest
from cogkp.geometry.camera import PinholeCamera

__all__ = ["CameraRig"]


@attrs.frozen(eq=False)
class CameraRig:
    """Named cameras of one calibration.

    Args:
        names: one name per camera, each once.
        cameras: the cameras, in the order of the names.

    Example:
        >>> import torch
        >>> camera = PinholeCamera(torch.eye(3), torch.eye(4), (64, 48))
        >>> CameraRig(("LL", "LR"), (camera, camera))["LR"].size_wh
        (64, 48)
    """

    names: tuple[str, ...]
    cameras: tuple[PinholeCamera, ...]

    def __attrs_post_init__(self) -> None:
        if len(self.names) != len(self.cameras) or not self.names or len(set(self.names)) != len(self.names):
            raise GeometryError(
                "a rig needs one name per camera",
                expected="at least one camera, each name once",
                got=f"{len(self.cameras)} cameras named {', '.join(self.names)}",
            )

    def __getitem__(self, name: str) -> PinholeCamera:
        """Return the camera of a name, or say which names there are."""
        if name not in self.names:
            raise GeometryError(
                "the rig has no such camera",
                expected=f"one of {', '.join(self.names)}",
                got=repr(name),
                hint=closest(name, self.names),
            )
        return self.cameras[self.names.index(name)]

    def __iter__(self) -> Iterator[str]:
        """Go through the names in order."""
        return iter(self.names)

    def __len__(self) -> int:
        """Count the cameras."""
        return len(self.names)
