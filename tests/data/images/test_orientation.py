"""An orientation noted in a file is found in every format, and applied only where that is asked for."""

from __future__ import annotations

import logging
import struct
import zlib

import cv2
import numpy as np
import pytest

from cogkp.data.images import image_size, noted_orientation, read_colour, read_grey, read_mask, tell_orientations
from cogkp.data.images.orientation import turned
from tests.builders.oriented import FORMATS, exif, write_oriented

LYING = cv2.resize(np.random.default_rng(0).integers(0, 256, (3, 5, 3), dtype=np.uint8), (40, 24))
STORED = cv2.resize(np.random.default_rng(0).integers(0, 256, (3, 5), dtype=np.uint8), (40, 24))


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("order", ["<", ">"])
def test_pixels_are_taken_as_stored_unless_the_note_is_to_be_applied(tmp_path, suffix, orientation, order):
    plain = write_oriented(tmp_path / f"plain{suffix}", LYING, 1)
    path = write_oriented(tmp_path / f"a{suffix}", LYING, orientation, order)
    assert noted_orientation(path) == orientation
    np.testing.assert_array_equal(read_grey(path), read_grey(plain))
    np.testing.assert_array_equal(read_colour(path), read_colour(plain))
    assert image_size(path) == (40, 24)
    upright = read_colour(path, oriented=True)
    assert image_size(path, oriented=True) == upright.shape[1::-1]
    np.testing.assert_array_equal(upright, turned(read_colour(plain), orientation))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turning_agrees_with_opencv(tmp_path, orientation):
    """OpenCV follows the note of JPEG files where it reads colours."""
    path = write_oriented(tmp_path / "a.jpg", LYING, orientation)
    expected = cv2.cvtColor(cv2.imread(str(path), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    np.testing.assert_array_equal(np.rint(read_colour(path, oriented=True) * 255), expected)


def test_six_is_a_quarter_turn_clockwise():
    """The first row that is stored becomes the last column that is seen."""
    np.testing.assert_array_equal(turned(STORED, 6)[:, -1], STORED[0])
    np.testing.assert_array_equal(turned(STORED, 8)[::-1, 0], STORED[0])


@pytest.mark.parametrize("note", [0, 9, 65535])
def test_a_note_without_meaning_is_none(tmp_path, note):
    assert noted_orientation(write_oriented(tmp_path / "a.jpg", LYING, note)) == 1


@pytest.mark.parametrize("length", range(0, len(exif(6)), 3))
def test_a_note_that_ends_early_is_none(tmp_path, length):
    data = write_oriented(tmp_path / "a.jpg", LYING, 6).read_bytes()
    (tmp_path / "a.jpg").write_bytes(data.replace(exif(6), exif(6)[:length] + bytes(len(exif(6)) - length)))
    assert noted_orientation(tmp_path / "a.jpg") in (1, 6)
    assert read_grey(tmp_path / "a.jpg", oriented=True).size == LYING[..., 0].size


def as_text(data):
    return b"\nexif\n%8d\n" % len(data) + data.hex().encode() + b"\n"


@pytest.mark.parametrize("prefix", [b"", b"Exif\x00\x00"])
@pytest.mark.parametrize(
    "chunk",
    [
        lambda data: b"eXIf" + data,
        lambda data: b"tEXtRaw profile type exif\0" + as_text(data),
        lambda data: b"zTXtRaw profile type APP1\0\0" + zlib.compress(as_text(data)),
    ],
    ids=["eXIf", "text", "compressed text"],
)
def test_a_png_notes_it_in_several_ways(tmp_path, prefix, chunk):
    content = chunk(prefix + exif(6))
    data = cv2.imencode(".png", LYING)[1].tobytes()
    added = struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content))
    (tmp_path / "a.png").write_bytes(data[:33] + added + data[33:])
    assert noted_orientation(tmp_path / "a.png") == 6
    assert image_size(tmp_path / "a.png", oriented=True) == (24, 40)


@pytest.mark.parametrize("text", [b"", b"\nexif\n 10\nzz\n", b"\xff", b"\nexif\n"])
def test_a_note_as_text_that_is_none_is_none(tmp_path, text):
    content = b"tEXtRaw profile type exif\0" + text
    data = cv2.imencode(".png", LYING)[1].tobytes()
    added = struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content))
    (tmp_path / "a.png").write_bytes(data[:33] + added + data[33:])
    assert noted_orientation(tmp_path / "a.png") == 1


def test_a_mask_that_notes_nothing_lies_as_its_turned_image_is_seen(tmp_path):
    mask = np.arange(40 * 24, dtype=np.uint8).reshape(40, 24) % 3
    cv2.imwrite(str(tmp_path / "m.png"), mask)
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png", (24, 40), oriented=True), mask)
    path = write_oriented(tmp_path / "n.png", np.ascontiguousarray(turned(mask, 8)), 6)
    np.testing.assert_array_equal(read_mask(path, (24, 40), oriented=True), mask)


def test_a_data_set_is_told_with_count_and_file(tmp_path, caplog):
    images = [write_oriented(tmp_path / f"{n}.jpg", LYING, 6 if n in (1, 3) else 1) for n in range(4)]
    missing = tmp_path / "missing.jpg"
    with caplog.at_level(logging.INFO, "cogkp"):
        tell_orientations([*images, missing], "data", oriented=False, switch="turn")
        tell_orientations(images, "data", oriented=True, switch="turn")
        tell_orientations(images[:1], "data", oriented=False, switch="turn")
    warned, told = caplog.records
    assert warned.levelno == logging.WARNING
    assert (
        f"data: 2 of 5 images note an orientation (EXIF; most often turned by 90 degrees clockwise; first {images[1]})"
        in warned.getMessage()
    )
    assert "not applied" in warned.getMessage()
    assert "turn=true" in warned.getMessage()
    assert told.levelno == logging.INFO
    assert "which is applied" in told.getMessage()
