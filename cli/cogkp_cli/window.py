"""The preview window: OpenCV, else Tk, else numbered images on disk."""

import math
import os
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from cogkp.files import marked, write_bytes

TITLE = "dataset preview"
MAX_IMAGES = 16
POLL_MS = 30
MAX_SIDE_PX = 900
ESCAPE = 27
QUIT_WORDS = frozenset({"q", "Q", "Escape"})
MODIFIERS = frozenset({"Shift_L", "Shift_R", "Control_L", "Control_R", "Alt_L", "Alt_R", "Super_L", "Super_R"})

Image = Any
"""(H, W, 3) uint8, RGB; numpy stays unknown here until an image comes."""


class Display(Protocol):
    """A window that shows one image at a time."""

    def ask(self, image: Image) -> bool:
        """Show an image, wait for a key; false when the user wants to leave."""

    def close(self) -> None:
        """Take the window away."""


def show(images: Iterable[Image], directory: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Show images, (H, W, 3) uint8 RGB, each drawn as it is wanted, in a window, or write them where none can be had.

    Returns what happened, ready for JSON.
    """
    display = open_display()
    if display is None:
        return _write(images, directory, say)
    say(f"window {TITLE!r}: any key shows the next batch, q or Esc leaves")
    try:
        return {"shown": leaf_through(images, display)}
    finally:
        display.close()


def open_display() -> Display | None:
    """Open the best window this machine has, or none."""
    if not _has_screen():
        return None
    for kind in (CvDisplay, TkDisplay):
        with suppress(_NoWindowError):
            return kind()
    return None


def _has_screen() -> bool:
    if sys.platform in ("win32", "darwin"):
        return True
    # OpenCV's Qt window ends the whole process where there is no screen, so it is never asked then.
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def leaf_through(images: Iterable[Image], display: Display) -> int:
    """Show image after image until the user leaves; return how many were seen."""
    count = 0
    for image in images:
        count += 1
        if not display.ask(image):
            break
    return count


def _write(images: Iterable[Image], directory: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Write at most ``MAX_IMAGES``: nobody is there to stop a long recording."""
    files: list[Path] = []
    for image in images:
        if len(files) == MAX_IMAGES:
            say(f"stopped after {MAX_IMAGES} batches; there are more")
            break
        files.append(directory / f"preview_{len(files):04d}.png")
        _write_png(files[-1], image)
    if files:
        say(f"no window here: wrote {len(files)} preview images, {files[0]} to {files[-1].name}")
    return {"files": files}


def _write_png(path: Path, image: Image) -> None:
    import cv2

    _, encoded = cv2.imencode(".png", image[..., ::-1])
    write_bytes(path, marked(encoded.tobytes()))


class _NoWindowError(Exception):
    """This kind of window cannot be had here."""


class CvDisplay:
    """A window of OpenCV; the headless build has none."""

    def __init__(self) -> None:
        import cv2

        try:
            cv2.namedWindow(TITLE, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)
        except cv2.error as error:
            raise _NoWindowError from error
        self._cv2 = cv2

    def ask(self, image: Image) -> bool:
        """Show an image, wait for a key; false when the user wants to leave."""
        height, width = image.shape[:2]
        shrink = min(1.0, MAX_SIDE_PX / max(height, width))
        self._cv2.resizeWindow(TITLE, round(width * shrink), round(height * shrink))
        self._cv2.imshow(TITLE, image[..., ::-1].copy())
        while True:
            key = self._cv2.waitKey(POLL_MS)
            if key >= 0:
                return key & 0xFF not in (ord("q"), ord("Q"), ESCAPE)
            if self._cv2.getWindowProperty(TITLE, self._cv2.WND_PROP_VISIBLE) < 1:
                return False

    def close(self) -> None:
        """Take the window away."""
        with suppress(self._cv2.error):
            self._cv2.destroyWindow(TITLE)


class TkDisplay:
    """A window of Tk, which comes with most Pythons."""

    def __init__(self) -> None:
        try:
            import tkinter
        except ImportError as error:
            raise _NoWindowError from error
        try:
            self._root = tkinter.Tk()
        except tkinter.TclError as error:
            raise _NoWindowError from error
        self._tkinter = tkinter
        self._root.title(TITLE)
        self._label = tkinter.Label(self._root, borderwidth=0)
        self._label.pack()
        self._answer = tkinter.StringVar(self._root)
        self._root.bind("<Key>", self._on_key)
        self._root.protocol("WM_DELETE_WINDOW", lambda: self._answer.set("Escape"))

    def _on_key(self, event: Any) -> None:
        if event.keysym not in MODIFIERS:
            self._answer.set(event.keysym)

    def ask(self, image: Image) -> bool:
        """Show an image, wait for a key; false when the user wants to leave."""
        photo = self._tkinter.PhotoImage(master=self._root, data=_ppm(image), format="PPM")
        too_large = max(
            photo.width() / self._root.winfo_screenwidth(), photo.height() / self._root.winfo_screenheight()
        )
        photo = photo.subsample(math.ceil(too_large))
        self._label.configure(image=photo)
        self._root.wait_variable(self._answer)
        return self._answer.get() not in QUIT_WORDS

    def close(self) -> None:
        """Take the window away."""
        with suppress(self._tkinter.TclError):
            self._root.destroy()


def _ppm(image: Image) -> bytes:
    height, width = image.shape[:2]
    return b"P6 %d %d 255\n" % (width, height) + bytes(image.tobytes())
