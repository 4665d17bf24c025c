"""Videos, cameras and streams as sources of frames, through OpenCV."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import cv2

from cogkp.data.images.decoding import set_log_level
from cogkp.data.sources.base import ENDLESS, Frame
from cogkp.errors import DataError, Problem, counted

VIDEO_SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm", ".wmv")
OPEN_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 10.0
MOST_DAMAGED = 10_000
"""So many frames in a row may be damaged before a video counts as ended."""
QUIET, SILENT = "-8", 0

os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", QUIET)


@attrs.frozen(eq=False)
class VideoSource:
    """A video file.

    A rotation that the file notes is applied, as players do. Frames are decoded one after the other, also to reach a
    later one: what OpenCV's seeking finds depends on the codec.

    Args:
        path: the file.
        count: frames that the file states; 0 where it states none.
        fps: frames per second that it states, on average.
        rotation_deg: the rotation that it notes, clockwise; it is applied.
    """

    path: Path
    count: int
    fps: float
    rotation_deg: int
    live: bool = False

    @classmethod
    def of(cls, path: Path) -> VideoSource:
        """Open a video, look at its header and its first frame.

        Raises:
            DataError: it is missing, no video, cut off, or has no frame.
        """
        with _capture(str(path), cv2.CAP_FFMPEG) as capture:
            if not capture.isOpened():
                raise DataError("not a video that OpenCV can open", where=str(path), hint=_why(path))
            source = cls(path, *_header(capture))
            if not any(capture.grab() for _ in range(min(source.count, MOST_DAMAGED) or 1)):
                raise DataError("the video has no frame that can be decoded", where=str(path))
        return source

    @property
    def name(self) -> str:
        """The file."""
        return str(self.path)

    def __len__(self) -> int:
        return self.count or ENDLESS

    def frames(self, numbers: range) -> Iterator[Frame | Problem]:
        """Decode the frames of these numbers; a damaged one, and the end of a video that is cut off, are problems."""
        with _capture(str(self.path), cv2.CAP_FFMPEG) as capture:
            number, damaged = -1, 0
            while number + damaged + 1 < numbers.stop:
                if not capture.grab():
                    damaged += 1
                    if number + damaged >= max(self.count, number + 1) or damaged > MOST_DAMAGED:
                        break
                    continue
                yield from self._damaged(number, damaged, numbers)
                number, damaged = number + damaged + 1, 0
                if number in numbers:
                    yield self._frame(capture, number)
            if number + 1 < min(self.count, numbers.stop):
                yield self._cut_off(number + 1)

    def _frame(self, capture: Any, number: int) -> Frame | Problem:
        time_s = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        done, image = capture.retrieve()
        if not done:
            return self._problem("the frame cannot be decoded", number)
        name = f"{self.path.name}-{number:06d}"
        known_time = time_s if math.isfinite(time_s) and time_s >= 0 else None
        where = f"{self.path} frame {number}"
        return Frame(source=self.name, where=where, name=name, number=number, time_s=known_time, image=image)

    def _damaged(self, number: int, damaged: int, numbers: range) -> Iterator[Problem]:
        for missing in range(number + 1, number + 1 + damaged):
            if missing in numbers:
                yield self._problem("the frame is damaged, and those after it may be until the next key frame", missing)

    def _problem(self, what: str, number: int) -> Problem:
        return Problem(what, f"{self.path} frame {number}")

    def _cut_off(self, count: int) -> Problem:
        return Problem(
            "the video ends early",
            f"{self.path} frame {count}",
            expected=counted(self.count, "frame") + ", as the file states",
            got=str(count),
            hint="Is it cut off? What was found up to there is kept.",
        )


@attrs.frozen(eq=False)
class LiveSource:
    """A camera or a stream, whose frames come by themselves.

    Args:
        address: number of a camera, its device file, or a URL.
    """

    address: int | str
    live: bool = True
    fps: float = 0.0

    @property
    def name(self) -> str:
        """The camera's number or address."""
        return f"camera {self.address}" if isinstance(self.address, int) else self.address

    def __len__(self) -> int:
        return ENDLESS

    def frames(self, numbers: range) -> Iterator[Frame | Problem]:
        """Read frames until the camera stops.

        Raises:
            DataError: the camera cannot be opened, sends nothing for ten seconds, or is gone.
        """
        with self._opened() as capture:
            started = time.monotonic()
            for number in range(numbers.stop):
                asked = time.monotonic()
                if not capture.grab():
                    raise self._gone(number, time.monotonic() - asked)
                if number not in numbers:
                    continue
                time_s = time.monotonic() - started
                done, image = capture.retrieve()
                if not done:
                    raise self._gone(number, time.monotonic() - asked)
                name, where = f"frame-{number:06d}", f"{self.name} frame {number}"
                yield Frame(source=self.name, where=where, name=name, number=number, time_s=time_s, image=image)

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        timeouts = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, OPEN_TIMEOUT_S, cv2.CAP_PROP_READ_TIMEOUT_MSEC, READ_TIMEOUT_S]
        settings = [round(1000 * each) if place % 2 else int(each) for place, each in enumerate(timeouts)]
        is_url = isinstance(self.address, str) and "://" in self.address
        with _capture(self.address, cv2.CAP_FFMPEG, settings) if is_url else _capture(self.address) as capture:
            if not capture.isOpened():
                hint = "Is the address right, and the server up?" if is_url else "Is it plugged in, and free?"
                raise DataError("the camera cannot be opened", where=self.name, hint=hint)
            yield capture

    def _gone(self, count: int, waited_s: float) -> DataError:
        stalled = waited_s > 0.9 * READ_TIMEOUT_S
        what = f"the camera has sent nothing for {waited_s:.0f} s" if stalled else "the camera stopped sending"
        return DataError(what, where=self.name, got=counted(count, "frame") + " before", hint="These are kept.")


@contextmanager
def _capture(address: int | str, *how: Any) -> Iterator[Any]:
    """Open with OpenCV, which says on stderr what went wrong in words that help nobody."""
    level = set_log_level(SILENT)
    try:
        capture = cv2.VideoCapture(address, *how)
    finally:
        set_log_level(level)
    try:
        yield capture
    finally:
        capture.release()


def _header(capture: Any) -> tuple[int, float, int]:
    """Read how many frames a video states, how many per second, and its rotation."""
    count, fps, rotation = (
        capture.get(each) for each in (cv2.CAP_PROP_FRAME_COUNT, cv2.CAP_PROP_FPS, cv2.CAP_PROP_ORIENTATION_META)
    )
    stated = count if math.isfinite(count) and 0 < count < ENDLESS else 0
    return int(stated), fps if math.isfinite(fps) else 0.0, int(rotation) if math.isfinite(rotation) else 0


def _why(path: Path) -> str:
    try:
        size = path.stat().st_size
    except OSError as error:
        return f"{error.strerror}."
    return "The file is empty." if not size else "Is it whole? An MP4 file that was cut off has lost its index."
