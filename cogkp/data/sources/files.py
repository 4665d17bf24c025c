"""Image files as a source of frames."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs

from cogkp.data.sources.base import Frame
from cogkp.errors import Problem


@attrs.frozen(eq=False)
class ImageFilesSource:
    """Image files in order.

    Args:
        name: the folder they lie in, or the pattern that found them.
        paths: the files.
        names: of their results, a relative path each.
    """

    name: str
    paths: Sequence[Path]
    names: Sequence[str]
    live: bool = False
    fps: float = 0.0

    def __len__(self) -> int:
        return len(self.paths)

    def frames(self, numbers: range) -> Iterator[Frame | Problem]:
        """Give the files; whether they can be read shows when they are."""
        for number in numbers:
            if number >= len(self.paths):
                return
            path, name = self.paths[number], self.names[number]
            yield Frame(source=self.name, where=str(path), name=name, number=number, time_s=None, image=path)
