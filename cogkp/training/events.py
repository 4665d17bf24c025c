"""Write TensorBoard event files without a background thread.

tensorboardX's own writer hands events to a thread; when that dies of a full disk, those who add wait for ever.
"""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cogkp.data.images import encode_image
from cogkp.errors import printable
from cogkp.files import make_folder, writing_to

__all__ = ["EVENT_FILES", "EventFile"]

EVENT_FILES = "events.out.tfevents.*"
VERSION = "brain.Event:2"
SHOWN_AFTER_S = 30.0
GROWTH, SMALLEST, LARGEST = 1.1, 1e-12, 1e20


class EventFile:
    """One new event file in a folder.

    Args:
        folder: where it goes; made where it is missing.
        done: steps of the folder's files that stay visible; what they hold beyond is hidden. None hides nothing.

    Raises:
        OutputError: here and in every method, where the file cannot be written; it names the folder.
    """

    def __init__(self, folder: Path, done: int | None = None) -> None:
        from tensorboardX import RecordWriter

        earlier = len(list(make_folder(folder).glob(EVENT_FILES)))
        # The time tells seconds only: without the number, a quick restart would overwrite the first file.
        name = f"{EVENT_FILES[:-1]}{int(time.time()):010d}.{socket.gethostname()}.{earlier}"
        self.folder = folder
        self._closed = False
        with writing_to(folder):
            self._records = RecordWriter(str(folder / name))
        self._shown = time.monotonic()
        self._add(file_version=VERSION)
        if earlier and done is not None:
            self._hide_from(done + 1)
        self.flush()

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        """Add one number."""
        from tensorboardX.summary import scalar

        self._add(step, summary=scalar(printable(tag), value))

    def add_histogram(self, tag: str, values: npt.NDArray[np.float32], step: int) -> None:
        """Add how often which values occur."""
        from tensorboardX.summary import histogram

        self._add(step, summary=histogram(printable(tag), values, _edges()))

    def add_image(self, tag: str, rgb: npt.NDArray[np.uint8], step: int) -> None:
        """Add an image, (H, W, 3) uint8 RGB; tensorboardX's own way would need one more imaging package."""
        from tensorboardX.proto.summary_pb2 import Summary

        height, width = rgb.shape[:2]
        image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=encode_image(rgb))
        self._add(step, summary=Summary(value=[Summary.Value(tag=printable(tag), image=image)]))

    def add_graph(self, graph: Any) -> None:
        """Add the graph of a network."""
        self._add(graph_def=graph.SerializeToString())

    def flush(self) -> None:
        """Send to the disk what was added."""
        self._shown = time.monotonic()
        with writing_to(self.folder):
            self._records.flush()

    def close(self) -> None:
        """Send to the disk what was added, and close the file; a second time does nothing."""
        if self._closed:
            return
        self._closed = True
        try:
            self.flush()
        finally:
            with writing_to(self.folder):
                self._records.close()

    def _hide_from(self, step: int) -> None:
        from tensorboardX.proto.event_pb2 import SessionLog

        self._add(step, session_log=SessionLog(status=SessionLog.START))

    def _add(self, step: int = 0, **content: Any) -> None:
        from tensorboardX.proto.event_pb2 import Event

        event = Event(wall_time=time.time(), step=step, **content)
        with writing_to(self.folder):
            self._records.write(event.SerializeToString())
        if time.monotonic() - self._shown > SHOWN_AFTER_S:
            self.flush()


def _edges() -> npt.NDArray[np.float64]:
    """Return TensorBoard's usual edges of bins: zero, and powers to both sides of it."""
    count = int(np.ceil(np.log(LARGEST / SMALLEST) / np.log(GROWTH)))
    positive = SMALLEST * GROWTH ** np.arange(count)
    return np.concatenate([-positive[::-1], [0.0], positive])
