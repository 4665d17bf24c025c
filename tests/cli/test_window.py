"""The preview: leaving through any key, and images on disk where no window can be had."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from cogkp_cli import window

Image = npt.NDArray[np.uint8]


def pictures(count: int, drawn: list[int] | None = None) -> Iterator[Image]:
    for index in range(count):
        if drawn is not None:
            drawn.append(index)
        image = np.zeros((40, 60, 3), np.uint8)
        image[..., index % 3] = 200
        yield image


class Reader:
    """A display whose user presses the given keys."""

    def __init__(self, *stay: bool) -> None:
        self._stay = iter(stay)
        self.closed = False

    def ask(self, image: Image) -> bool:
        return next(self._stay)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def no_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)


def test_any_key_advances_and_quitting_draws_no_more() -> None:
    drawn: list[int] = []
    assert window.leaf_through(pictures(9, drawn), Reader(True, True, False)) == 3
    assert drawn == [0, 1, 2]


def test_the_last_picture_ends_it() -> None:
    assert window.leaf_through(pictures(2), Reader(True, True)) == 2


@pytest.mark.usefixtures("no_screen")
def test_without_a_screen_there_is_no_window() -> None:
    assert window.open_display() is None


@pytest.mark.usefixtures("no_screen")
def test_without_a_screen_pictures_are_written(tmp_path: Path) -> None:
    said: list[str] = []
    result = window.show(pictures(3), tmp_path / "preview", said.append)
    assert [path.name for path in result["files"]] == [f"preview_{index:04d}.png" for index in range(3)]
    assert sorted((tmp_path / "preview").iterdir()) == result["files"]
    for path, image in zip(result["files"], pictures(3), strict=True):
        np.testing.assert_array_equal(cv2.imread(str(path))[..., ::-1], image)
    assert str(tmp_path / "preview") in said[-1]


@pytest.mark.usefixtures("no_screen")
def test_a_long_recording_does_not_fill_the_disk(tmp_path: Path) -> None:
    said: list[str] = []
    result = window.show(pictures(100), tmp_path, said.append)
    assert len(result["files"]) == window.MAX_IMAGES
    assert any("there are more" in line for line in said)


@pytest.mark.skipif(not os.environ.get("DISPLAY"), reason="needs a display; try xvfb-run")
def test_a_real_window_opens_and_closes() -> None:
    display = window.open_display()
    assert display is not None
    display.close()
