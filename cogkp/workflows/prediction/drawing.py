"""Draw what a model found over its images: a file for each image, a video for each video."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path, PurePath
from typing import Any

import cv2
import numpy as np

from cogkp.data.images import encode_image
from cogkp.errors import OutputError, counted
from cogkp.files import MARK, atomic_path, marked, write_bytes
from cogkp.visual.canvas import RgbImage, shape_to
from cogkp.workflows.prediction.stream import FramePrediction

SUFFIX = ".jpg"
VIDEO_SUFFIX = ".mp4"
FOURCC = "mp4v"
USUAL_FPS = 25.0
FASTEST_FPS = 240.0


class Drawings:
    """Drawings of frames, in a folder.

    Args:
        folder: of the drawings; images keep their tree in it.
        rate: gives the frames per second of a source's drawings; 0 where nobody knows.
    """

    def __init__(self, folder: Path, rate: Callable[[str], float]) -> None:
        self._folder, self._rate = folder, rate
        self._videos: dict[str, _Video] = {}
        self._written: set[Path] = set()
        self.files: list[Path] = []

    def add(self, each: FramePrediction) -> None:
        """Draw one frame; raises OutputError where it cannot be written."""
        drawn = each.found.draw()
        if _is_file(each.frame):
            self._image(each.frame.name, drawn)
        else:
            self._frame(each.frame.source, drawn)

    def _image(self, name: str, drawn: RgbImage) -> None:
        path = self._folder / PurePath(name).with_suffix(SUFFIX)
        if path in self._written:  # two images that differ in their endings
            path = self._folder / f"{name}{SUFFIX}"
        self._written.add(path)
        write_bytes(path, marked(encode_image(drawn, SUFFIX)))

    def _frame(self, source: str, drawn: RgbImage) -> None:
        if source not in self._videos:
            taken = {video.path for video in self._videos.values()}
            stem = PurePath(source.replace("://", "-")).stem or "camera"
            names = (stem, *(f"{stem}-{number}" for number in range(2, len(taken) + 3)))
            path = next(path for name in names if (path := self._folder / f"{name}{VIDEO_SUFFIX}") not in taken)
            self._videos[source] = _Video(path, drawn.shape[:2], self._rate(source) or USUAL_FPS)
        self._videos[source].add(drawn)

    def finish(self) -> list[Path]:
        """Close the videos, which then get their names; returns what was written."""
        for video in self._videos.values():
            video.finish()
        return [*([self._folder] if self._written else []), *(video.path for video in self._videos.values())]


def _is_file(frame: Any) -> bool:
    """Say whether a frame, or the first one of a moment, is an image file."""
    frames = getattr(frame, "frames", None)
    first = next(iter(frames.values())) if frames else frame
    return isinstance(first.image, Path)


class _Video:
    """A video that appears under its name when it is whole."""

    def __init__(self, path: Path, shape_hw: tuple[int, int], fps: float) -> None:
        self.path, self._shape = path, shape_hw
        self._stack = ExitStack()
        temporary = self._stack.enter_context(atomic_path(path, _is_drawn))
        code = cv2.VideoWriter.fourcc(*FOURCC)
        speed = fps if math.isfinite(fps) and fps > 0 else USUAL_FPS
        self._writer = cv2.VideoWriter(str(temporary), code, min(speed, FASTEST_FPS), shape_hw[::-1])
        if not self._writer.isOpened():
            self._stack.close()
            raise OutputError("OpenCV cannot write this video", where=str(path), got=f"codec {FOURCC}")
        self._temporary = temporary

        self._count = 0

    def add(self, drawn: RgbImage) -> None:
        """Append a frame, fitted to the size of the first."""
        same = drawn if drawn.shape[:2] == self._shape else shape_to(drawn, self._shape)
        self._writer.write(np.ascontiguousarray(same[..., ::-1]))
        self._count += 1

    def finish(self) -> None:
        """End the video, and mark it as ours; raises OutputError where it is not whole, as on a full disk."""
        self._writer.release()
        with self._stack:
            capture = cv2.VideoCapture(str(self._temporary))
            count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
            capture.release()
            if count != self._count:
                expected = counted(self._count, "frame")
                hint = "Is the disk full?"
                raise OutputError(
                    "the video is not whole", where=str(self.path), expected=expected, got=str(count), hint=hint
                )
            with self._temporary.open("ab") as file:
                file.write(_free_box())


def _free_box() -> bytes:
    """Make a part of an MP4 file that players pass over, which says who wrote it."""
    text = MARK.encode()
    return (8 + len(text)).to_bytes(4, "big") + b"free" + text


def _is_drawn(path: Path) -> bool:
    """Say whether a video is one of our drawings: the mark stands at its end."""
    box = _free_box()
    with path.open("rb") as file:
        file.seek(0, 2)
        if file.tell() < len(box):
            return False
        file.seek(-len(box), 2)
        return file.read() == box
