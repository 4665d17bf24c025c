"""The images of a StructuredDataset as sources of frames, one source for each datakey."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import attrs

from cogkp.data.keypoint.structured.named_files import Folder
from cogkp.data.keypoint.structured.reader import LINES_FILE, RecordedLine, find, parse_lines
from cogkp.data.sources import Frame
from cogkp.errors import DataError, Problem, closest

IMAGE = "image"
LINES_SEARCHED = 100


@attrs.frozen(eq=False)
class RecordedSource:
    """Images of one datakey, line by line; a line without it has no frame.

    Args:
        root: the data set's folder.
        datakey: of the images.
        lines: numbers of the lines, from 1, and the names of their images; None where there is none.
    """

    root: Path
    datakey: str
    lines: Sequence[tuple[int, str | None]]
    live: bool = False
    fps: float = 0.0

    @property
    def name(self) -> str:
        """The folder and the datakey."""
        return f"{self.root} {self.datakey}"

    def __len__(self) -> int:
        return len(self.lines)

    def frames(self, numbers: range) -> Iterator[Frame | Problem]:
        """Give the images; files that leave the folder or do not exist are problems."""
        folder = Folder(self.root)
        for number in range(numbers.start, min(numbers.stop, len(self.lines)), numbers.step):
            line, name = self.lines[number]
            where = f"{self.root / LINES_FILE}:{line} {self.datakey}"
            if name is None:
                yield Problem("the line has no image", where)
                continue
            try:
                folder.checked(name)
            except DataError as error:
                yield attrs.evolve(error.problem, where=where)
                continue
            path = self.root / name
            yield Frame(source=self.name, where=str(path), name=name, number=number, time_s=None, image=path)


def recorded_sources(root: Path, datakeys: Sequence[str] = ()) -> dict[str, RecordedSource]:
    """Open the images of a StructuredDataset.

    Args:
        root: folder with ``data.jsonl``.
        datakeys: of the images; none takes those that end in ``image``.

    Returns:
        Sources by the datakey without its last part, or by the datakey where it has one part only.

    Raises:
        DataError: it is no data set, or has no such images.
    """
    lines, problems = list[RecordedLine](), list[Problem]()
    for line in parse_lines(root):
        lines.append(line) if isinstance(line, RecordedLine) else problems.append(line)
    if problems:
        raise DataError.listing(problems)
    there = list(dict.fromkeys(key for line in lines[:LINES_SEARCHED] for key in _paths_of(line.content)))
    wanted = list(datakeys) or [key for key in there if key.rpartition(".")[2] == IMAGE]
    if not wanted:
        hint = f"Name them: --datakey {there[0]}." if there else ""
        raise DataError("no datakey says where the images are", where=str(root / LINES_FILE), hint=hint)
    for key in wanted:
        if not any(_name_of(find(line.content, key)) for line in lines):
            hint = closest(key, there) or (f"There are {', '.join(there)}." if there else "")
            raise DataError("no line has an image under this datakey", where=str(root / LINES_FILE), got=key, hint=hint)
    return {
        key.rpartition(".")[0] or key: RecordedSource(
            root, key, [(line.number, _name_of(find(line.content, key))) for line in lines]
        )
        for key in wanted
    }


def _name_of(value: Any) -> str | None:
    path = value.get("path") if isinstance(value, Mapping) else value
    return path if isinstance(path, str) and path else None


def _paths_of(value: Any, start: str = "") -> Iterator[str]:
    """Go through the datakeys of files within a line."""
    if isinstance(value, Mapping) and not isinstance(value.get("path"), str):
        for key, item in value.items():
            yield from _paths_of(item, f"{start}{key}.")
    elif (name := _name_of(value)) is not None and PurePosixPath(name).suffix:
        yield start[:-1]
