"""Sizes come from headers, before any memory is taken, for every format that is accepted; all others are refused."""

from __future__ import annotations

import os
import resource
import struct
import subprocess
import sys
import zlib

import cv2
import numpy as np
import pytest

from cogkp.data.images import image_size, read_colour, read_grey
from cogkp.errors import ImageError

COLOUR = np.random.default_rng(0).integers(0, 256, (48, 68, 3), dtype=np.uint8)
SUFFIXES = [".png", ".jpg", ".bmp", ".tiff", ".webp", ".ppm", ".pgm", ".jp2"]


def encoded(suffix, pixels=COLOUR):
    return cv2.imencode(suffix, pixels[..., 0].copy() if suffix == ".pgm" else pixels)[1].tobytes()


def png(width, height):
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))


def jpeg(width, height):
    return b"\xff\xd8\xff\xc0" + struct.pack(">HBHHB", 11, 8, height, width, 1) + b"\1\x11\0\xff\xd9"


def bmp(width, height):
    return b"BM" + struct.pack("<IHHIIiiHHI", 54, 0, 0, 54, 40, width, height, 1, 24, 0) + bytes(20)


def tiff(width, height, order="<", tile=None, big=False):
    tags = {256: width, 257: height, 258: 8, 259: 1, 262: 1, 277: 1}
    tags.update({322: tile, 323: tile} if tile else {})
    form = "HHQQ" if big else "HHII"
    entries = b"".join(struct.pack(order + form, tag, 16 if big else 4, 1, value) for tag, value in tags.items())
    start = (b"II" if order == "<" else b"MM") + struct.pack(
        order + ("HHHQQ" if big else "HIH"), *((43, 8, 0, 16, len(tags)) if big else (42, 8, len(tags)))
    )
    return start + entries + bytes(8)


def webp_canvas(width, height, animated=0):
    sizes = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8X" + struct.pack("<IB3x", 10, animated) + sizes


def webp_lossy(width, height):
    return b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8 \x0a\0\0\0\0\0\0\x9d\x01\x2a" + struct.pack("<HH", width, height)


def webp_lossless(width, height):
    packed = (width - 1) | (height - 1) << 14
    return b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8L\x0a\0\0\0\x2f" + struct.pack("<I5x", packed)


def jpeg_2000_stream(width, height):
    return b"\xff\x4f\xff\x51" + struct.pack(">HHIIIIIIIIHB", 41, 0, width, height, 0, 0, width, height, 0, 0, 1, 7)


def jpeg_2000(width, height):
    """Its outer box claims one pixel."""
    boxes = struct.pack(">I4s4s", 12, b"jP  ", b"\r\n\x87\n") + struct.pack(
        ">I4s4sI4s", 20, b"ftyp", b"jp2 ", 0, b"jp2 "
    )
    inner = struct.pack(">I4sIIHBBBB", 22, b"ihdr", 1, 1, 1, 7, 7, 0, 0)
    stream = jpeg_2000_stream(width, height)
    return boxes + struct.pack(">I4s", 30, b"jp2h") + inner + struct.pack(">I4s", 8 + len(stream), b"jp2c") + stream


def pnm(kind):
    return lambda width, height: b"P%d # a comment\n%d\t%d\n255\n" % (kind, width, height)


CLAIMS = {
    "png": (png, 100_000),
    "jpeg": (jpeg, 65_000),
    "bmp": (bmp, 2_000_000_000),
    "bmp, top first": (lambda w, h: bmp(w, -h), 2_000_000_000),
    "tiff": (tiff, 4_000_000_000),
    "tiff, big end first": (lambda w, h: tiff(w, h, ">"), 4_000_000_000),
    "bigtiff": (lambda w, h: tiff(w, h, big=True), 1 << 40),
    "webp canvas": (webp_canvas, 16_383),
    "largest webp canvas": (webp_canvas, 1 << 24),
    "webp lossy": (webp_lossy, 16_383),
    "webp lossless": (webp_lossless, 16_384),
    "jpeg 2000": (jpeg_2000, 4_000_000_000),
    "jpeg 2000 stream": (jpeg_2000_stream, 4_000_000_000),
    **{f"pnm {kind}": (pnm(kind), 10**9) for kind in range(1, 7)},
}


@pytest.mark.parametrize("name", CLAIMS)
def test_a_huge_claim_is_refused_before_it_costs_memory(tmp_path, capfd, name):
    make, side = CLAIMS[name]
    path = tmp_path / "a.png"
    path.write_bytes(make(side, side))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for ask in (read_grey, read_colour, image_size):
        with pytest.raises(
            ImageError, match=f"too large @ .*a.png: expected at most 64 megapixels, got {side} x {side}"
        ):
            ask(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + 20_000
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", CLAIMS)
def test_the_size_is_width_and_height(tmp_path, name):
    path = tmp_path / "a"
    path.write_bytes(CLAIMS[name][0](7, 5))
    assert image_size(path) == (7, 5)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_headers_agree_with_the_decoder(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(encoded(suffix))
    assert image_size(path) == (68, 48)
    assert read_grey(path).shape == (48, 68)
    assert read_colour(path).shape == (48, 68, 3)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_wrong_suffix_does_not_matter(tmp_path, suffix):
    path = tmp_path / ("a.png" if suffix != ".png" else "a.jpg")
    path.write_bytes(encoded(suffix))
    assert read_grey(path).shape == (48, 68)


def test_huge_tiles_of_a_small_image_are_refused(tmp_path):
    path = tmp_path / "a.tiff"
    path.write_bytes(tiff(68, 48, tile=100_000))
    with pytest.raises(ImageError, match=r"too large.* got 100000 x 100000"):
        read_grey(path)


def jpeg_2000_coded(width, height, tile_wh, channels, style, tile_style=b""):
    """A code stream with a coding style in its header, and another one in the header of its tile."""
    siz = struct.pack(">HIIIIIIIIH", 0, width, height, 0, 0, *tile_wh, 0, 0, channels) + b"\7\1\1" * channels
    steps = b"\xff\x5c" + struct.pack(">HB", 19, 0x40) + b"\x40" * 16
    tile = b"\xff\x90" + struct.pack(">HHIBB", 10, 0, 14 + len(tile_style) + 20, 0, 1) + tile_style + b"\xff\x93"
    head = b"\xff\x4f\xff\x51" + struct.pack(">H", len(siz) + 2) + siz
    return head + style + steps + tile + bytes(20) + b"\xff\xd9"


def coding_style(block=(4, 4), precincts=b""):
    """64 x 64 code blocks and five levels, or others."""
    content = struct.pack(">BBHBBBBBB", bool(precincts), 0, 1, 0, 5, *block, 0, 1) + precincts
    return b"\xff\x52" + struct.pack(">H", len(content) + 2) + content


PIECES = {
    "small code blocks": (8000, 8000, (8000, 8000), 3, coding_style((0, 0))),
    "small precincts": (8000, 8000, (8000, 8000), 3, coding_style(precincts=b"\x11" * 6)),
    "of a tile": (8000, 8000, (8000, 8000), 3, coding_style(), coding_style(precincts=b"\x11" * 6)),
    "tiles of many channels": (65025, 765, (255, 3), 16000, coding_style()),
    "one precinct a pixel": (8000, 8000, (8000, 8000), 1, coding_style(precincts=b"\0" * 6)),
}


@pytest.mark.parametrize("name", PIECES)
def test_a_jpeg_2000_file_of_too_many_pieces_is_refused_before_it_costs_memory(tmp_path, name):
    (tmp_path / "a.jp2").write_bytes(jpeg_2000_coded(*PIECES[name]))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for ask in (read_grey, image_size):
        with pytest.raises(ImageError, match=r"too many pieces @ .*a.jp2: expected at most 500000"):
            ask(tmp_path / "a.jp2")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + 20_000


def test_the_largest_jpeg_2000_file_with_usual_code_blocks_is_read(tmp_path):
    (tmp_path / "a.jp2").write_bytes(jpeg_2000_coded(8000, 8000, (1024, 1024), 3, coding_style((3, 3))))
    assert image_size(tmp_path / "a.jp2") == (8000, 8000)


def test_a_marker_that_no_decoder_knows_hides_nothing(tmp_path):
    hidden = b"\xff\x6a" + struct.pack(">H", 17) + coding_style(precincts=b"\x11" * 6)
    (tmp_path / "a.jp2").write_bytes(jpeg_2000_coded(64, 64, (64, 64), 3, coding_style() + hidden))
    with pytest.raises(ImageError, match="header"):
        image_size(tmp_path / "a.jp2")


@pytest.mark.parametrize("kind", [6, 8, 9, 17])
def test_sizes_with_a_sign_count_as_the_decoder_takes_them(tmp_path, kind):
    """A decoder takes the first of two tags, whatever its type, so that the second is a decoy."""
    form = {6: "b3x", 8: "h2x", 9: "i", 17: "i"}[kind]
    entries = [
        struct.pack("<HHI" + form, tag, kind, 1, 100) + struct.pack("<HHII", tag, 4, 1, 64) for tag in (256, 257)
    ]
    (tmp_path / "a.tif").write_bytes(b"II*\0" + struct.pack("<IH", 8, 4) + b"".join(entries) + struct.pack("<IQ", 0, 0))
    if kind == 17:  # eight bytes, which stand elsewhere
        data = bytearray((tmp_path / "a.tif").read_bytes()) + struct.pack("<q", 100)
        (tmp_path / "a.tif").write_bytes(bytes(data.ljust(108, b"\0")[:100]) + struct.pack("<q", 100))
    assert image_size(tmp_path / "a.tif") == (100, 100)


def test_a_size_below_zero_is_none(tmp_path):
    entries = [struct.pack("<HHIi", tag, 9, 1, -64) for tag in (256, 257)]
    (tmp_path / "a.tif").write_bytes(b"II*\0" + struct.pack("<IH", 8, 2) + b"".join(entries) + bytes(4))
    with pytest.raises(ImageError):
        image_size(tmp_path / "a.tif")


def test_what_opencv_says_of_a_damaged_tiff_is_not_passed_on(tmp_path, capfd):
    (tmp_path / "a.tif").write_bytes(
        tiff(64, 64).replace(struct.pack("<HHII", 277, 4, 1, 1), struct.pack("<HHII", 277, 4, 1, 65535)) + bytes(5000)
    )
    with pytest.raises(ImageError):
        read_grey(tmp_path / "a.tif")
    assert capfd.readouterr() == ("", "")


def test_the_canvas_of_an_animation_counts(tmp_path):
    path = tmp_path / "a.webp"
    path.write_bytes(webp_canvas(16_383, 16_383, animated=2))
    with pytest.raises(ImageError, match="too large"):
        read_grey(path)


REFUSED = {
    "gif": cv2.imencode(".gif", COLOUR)[1].tobytes()
    if cv2.haveImageWriter("a.gif")
    else b"GIF89a\xff\xff\xff\xff\0\0\0",
    "hdr": b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 100000 +X 100000\n",
    "pfm": b"PF\n100000 100000\n-1\n",
    "pam": b"P7\nWIDTH 100000\nHEIGHT 100000\nDEPTH 3\nMAXVAL 255\nTUPLTYPE RGB\nENDHDR\n",
    "sun raster": b"\x59\xa6\x6a\x95" + struct.pack(">7I", 100_000, 100_000, 24, 0, 1, 0, 0),
    "exr": b"\x76\x2f\x31\x01\x02\0\0\0",
    "avif": b"\0\0\0\x20ftypavif\0\0\0\0avifmif1miaf",
    "heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg' width='100000' height='100000'/>",
    "text": b"hello",
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_formats_are_refused_with_the_accepted_ones(tmp_path, capfd, name):
    path = tmp_path / "a.png"
    path.write_bytes(REFUSED[name])
    for ask in (read_grey, read_colour, image_size):
        with pytest.raises(ImageError, match=r"not an image that can be read.*expected PNG, JPEG, .*Save it"):
            ask(path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_headers_of_any_length_end_in_one_line(tmp_path, suffix):
    data = encoded(suffix)
    path = tmp_path / f"a{suffix}"
    for length in range(min(len(data) - 1, 200)):
        path.write_bytes(data[:length])
        with pytest.raises(ImageError) as caught:
            read_grey(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_changed_bytes_end_in_an_image_or_one_line(tmp_path, capfd, suffix):
    rng, data, path = np.random.default_rng(1), encoded(suffix), tmp_path / f"a{suffix}"
    for _ in range(100):
        changed = bytearray(data)
        for place in rng.integers(0, min(len(data), 400), 3):
            changed[place] = rng.integers(256)
        path.write_bytes(bytes(changed))
        try:
            assert read_grey(path).ndim == 2
        except ImageError as error:
            lines = str(error).count("\n")
            assert lines == 0
    assert capfd.readouterr() == ("", "")


def test_a_file_far_larger_than_its_pixels_is_refused_unread(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(encoded(".png"))
    os.truncate(path, 1 << 40)
    with pytest.raises(ImageError, match="too large"):
        read_grey(path)


def test_a_pipe_is_no_image_and_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    program = "from pathlib import Path; from cogkp.data.images import read_grey; read_grey(Path('a.png'))"
    ended = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert "ImageError: the image file cannot be read @ a.png: expected a regular file" in ended.stderr


@pytest.mark.parametrize(("kind", "white"), [(5, 255), (5, 100), (5, 1023), (5, 4095), (5, 65535), (2, 100), (2, 4095)])
def test_white_is_where_a_pgm_file_says(tmp_path, kind, white):
    values = np.arange(12).reshape(3, 4) * white // 11
    stored = (
        values.astype(">u2" if white > 255 else "u1").tobytes()
        if kind == 5
        else b"".join(b"%d\n" % v for v in values.flat)
    )
    (tmp_path / "a.pgm").write_bytes(b"P%d 4 3 %d\n" % (kind, white) + stored)
    np.testing.assert_allclose(read_grey(tmp_path / "a.pgm"), values / white, atol=1 / 255 if kind == 2 else 1e-7)
