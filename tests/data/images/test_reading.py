"""Image files: exact values for what OpenCV can write, and one clear line for every fault."""

import struct
import tracemalloc
import zlib

import cv2
import numpy as np
import pytest

from cogkp.data.images import image_size, read_grey, read_mask, write_png
from cogkp.errors import ImageError, OutputError

COLOUR = np.random.default_rng(0).integers(0, 256, (12, 17, 3), dtype=np.uint8)
SMOOTH = cv2.resize(COLOUR, (170, 120), interpolation=cv2.INTER_LINEAR)


def store(path, pixels):
    assert cv2.imwrite(str(path), pixels)
    return path


def one_line(caught, path):
    text = str(caught.value)
    assert "\n" not in text
    assert str(path) in text
    return text


def huge_png(width, height):
    """Claim a size without holding its pixels."""
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunk = struct.pack(">I", len(head)) + b"IHDR" + head + struct.pack(">I", zlib.crc32(b"IHDR" + head))
    return b"\x89PNG\r\n\x1a\n" + chunk


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tiff"])
def test_grey_is_the_mean_of_the_colours(tmp_path, suffix):
    grey = read_grey(store(tmp_path / f"a{suffix}", COLOUR))
    assert grey.dtype == np.float32
    np.testing.assert_allclose(grey, COLOUR.mean(axis=2) / 255.0, atol=1e-6)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp"])
def test_one_channel_is_taken_as_it_is(tmp_path, suffix):
    path = store(tmp_path / f"a{suffix}", SMOOTH[..., 0].copy())
    expected = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert expected.ndim == 2
    np.testing.assert_allclose(read_grey(path), expected / 255.0, atol=1e-6)


def test_sixteen_bits_keep_their_precision(tmp_path):
    deep = np.arange(12 * 17, dtype=np.uint16).reshape(12, 17) * 321
    np.testing.assert_allclose(read_grey(store(tmp_path / "a.png", deep)), deep / 65535.0, atol=1e-7)
    colours = np.stack([deep, deep // 2, deep // 3], axis=-1)
    expected = colours.mean(axis=2) / 65535.0
    np.testing.assert_allclose(read_grey(store(tmp_path / "b.png", colours)), expected, atol=1e-6)


def test_transparency_is_dropped(tmp_path):
    path = store(tmp_path / "a.png", np.dstack([COLOUR, np.zeros((12, 17), np.uint8)]))
    np.testing.assert_allclose(read_grey(path), COLOUR.mean(axis=2) / 255.0, atol=1e-6)


def test_an_orientation_in_the_metadata_is_ignored(tmp_path):
    path = store(tmp_path / "a.jpg", SMOOTH)
    plain = read_grey(path)
    data = path.read_bytes()
    tiff = b"II*\x00\x08\x00\x00\x00\x01\x00\x12\x01\x03\x00\x01\x00\x00\x00\x06\x00\x00\x00\x00\x00\x00\x00"
    exif = b"Exif\x00\x00" + tiff
    turned = data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:]
    (tmp_path / "turned.jpg").write_bytes(turned)
    assert cv2.imread(str(tmp_path / "turned.jpg")).shape[:2] == (170, 120), "the test file shows no orientation"
    np.testing.assert_array_equal(read_grey(tmp_path / "turned.jpg"), plain)
    assert image_size(tmp_path / "turned.jpg") == (170, 120)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tiff", ".webp"])
def test_sizes_are_width_and_height(tmp_path, suffix):
    assert image_size(store(tmp_path / f"a{suffix}", COLOUR)) == (17, 12)


def test_progressive_jpeg_and_bytes_after_its_end_are_fine(tmp_path):
    path = tmp_path / "a.jpg"
    cv2.imwrite(str(path), SMOOTH, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_RST_INTERVAL, 2])
    path.write_bytes(path.read_bytes() + b"a camera's own notes")
    assert read_grey(path).shape == (120, 170)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tiff"])
@pytest.mark.parametrize("kept", [0.02, 0.3, 0.7, 0.99])
def test_a_truncated_file_is_refused_in_silence(tmp_path, capfd, suffix, kept):
    path = store(tmp_path / f"a{suffix}", SMOOTH)
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data))])
    with pytest.raises(ImageError) as caught:
        read_grey(path)
    one_line(caught, path)
    assert capfd.readouterr().err == ""


def test_a_truncated_jpeg_with_a_whole_preview_inside_is_refused(tmp_path):
    preview = b"\xff\xd8\xff\xdb preview \xff\xd9"
    data = store(tmp_path / "a.jpg", SMOOTH).read_bytes()
    path = tmp_path / "b.jpg"
    path.write_bytes((data[:2] + b"\xff\xe1" + struct.pack(">H", len(preview) + 2) + preview + data[2:])[:-40])
    with pytest.raises(ImageError, match="truncated"):
        read_grey(path)


def test_a_changed_byte_in_a_png_is_refused_in_silence(tmp_path, capfd):
    path = store(tmp_path / "a.png", SMOOTH)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x55
    path.write_bytes(bytes(data))
    with pytest.raises(ImageError, match="damaged") as caught:
        read_grey(path)
    one_line(caught, path)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "does not exist"),
        (b"", "is empty"),
        (b"hello, this is text", "not an image"),
        (b"\x00" * 100, "not an image"),
        (b"\x89PNG\r\n\x1a\n", "truncated"),
        (b"\xff\xd8\xff", "truncated"),
        (b"\xff\xd8\xff\xd9", "truncated"),
        (b"BM", "truncated"),
        (b"BM, said the text, and went on for a good while after that", "."),
        (huge_png(0, 10), "no pixels"),
        (huge_png(10_000, 10_000), "too large"),
    ],
)
def test_each_fault_gives_one_line_that_names_the_file(tmp_path, capfd, content, words):
    path = tmp_path / "frame.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ImageError, match=words) as caught:
        read_grey(path)
    one_line(caught, path)
    assert capfd.readouterr().err == ""


def test_a_folder_is_no_image(tmp_path):
    with pytest.raises(ImageError, match="cannot be read"):
        read_grey(tmp_path)


def test_a_hundred_megapixels_cost_no_memory(tmp_path):
    path = tmp_path / "huge.png"
    path.write_bytes(huge_png(10_000, 10_000))
    tracemalloc.start()
    with pytest.raises(ImageError, match="10000 x 10000"):
        read_grey(path)
    with pytest.raises(ImageError, match="10000 x 10000"):
        image_size(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1e6


def test_the_limit_is_the_callers(tmp_path):
    path = store(tmp_path / "a.png", COLOUR)
    assert read_grey(path, max_pixels=12 * 17).shape == (12, 17)
    with pytest.raises(ImageError, match="too large"):
        read_grey(path, max_pixels=12 * 17 - 1)


def test_masks_keep_their_class_ids(tmp_path):
    mask = np.array([[0, 1, 2], [255, 1, 0]], np.uint8)
    write_png(tmp_path / "m.png", mask)
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png", (3, 2), num_classes=3), mask)


@pytest.mark.parametrize(
    ("name", "pixels", "words"),
    [
        ("m.png", COLOUR, "single-channel 8-bit PNG"),
        ("m.png", np.zeros((12, 17), np.uint16), "single-channel 8-bit PNG"),
        ("m.jpg", np.zeros((12, 17), np.uint8), "single-channel 8-bit PNG"),
        ("m.png", np.zeros((17, 12), np.uint8), "expected 17 x 12 pixels, got 12 x 17"),
        ("m.png", np.full((12, 17), 3, np.uint8), "expected 0..2, or 255 for unlabelled pixels, got 3"),
    ],
)
def test_a_file_that_is_no_such_mask_is_refused(tmp_path, name, pixels, words):
    path = store(tmp_path / name, pixels)
    with pytest.raises(ImageError, match=words) as caught:
        read_mask(path, (17, 12), num_classes=3)
    one_line(caught, path)


def test_a_mask_of_one_bit_is_refused_since_its_ids_would_become_0_and_255(tmp_path):
    path = tmp_path / "m.png"
    cv2.imwrite(str(path), np.eye(8, dtype=np.uint8), [cv2.IMWRITE_PNG_BILEVEL, 1])
    with pytest.raises(ImageError, match="single-channel 8-bit PNG"):
        read_mask(path, (8, 8))


def test_written_colours_are_red_green_blue(tmp_path):
    red = np.zeros((2, 2, 3), np.uint8)
    red[..., 0] = 200
    write_png(tmp_path / "a.png", red)
    assert cv2.imread(str(tmp_path / "a.png"))[0, 0].tolist() == [0, 0, 200]


def test_a_picture_that_cannot_be_written_leaves_nothing(tmp_path):
    (tmp_path / "a.png").mkdir()
    with pytest.raises(OutputError, match="cannot write"):
        write_png(tmp_path / "a.png", COLOUR)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.png"]
