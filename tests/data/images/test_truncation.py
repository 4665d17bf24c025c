"""A file that is only half there is refused, also where its end looks whole; a whole one is read to its last pixel."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib

import cv2
import numpy as np
import pytest

from cogkp.data.images import read_colour, read_grey
from cogkp.data.images.header import png_chunks, read_header, strip_fault, tiff_tags
from cogkp.errors import ImageError

RNG = np.random.default_rng(0)
NATURAL = cv2.resize(RNG.integers(0, 256, (12, 16, 3), dtype=np.uint8), (160, 120), interpolation=cv2.INTER_CUBIC)
FLAT = np.full((120, 160, 3), 90, np.uint8)
FLAT[:20] = NATURAL[:20]
END = b"\xff\xd9"

JPEGS = {
    "baseline": [],
    "progressive": [cv2.IMWRITE_JPEG_PROGRESSIVE, 1],
    "restarts": [cv2.IMWRITE_JPEG_RST_INTERVAL, 3],
    "progressive restarts": [cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_RST_INTERVAL, 3],
    "own tables": [cv2.IMWRITE_JPEG_OPTIMIZE, 1],
    "all colours": [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444],
    "coarse": [cv2.IMWRITE_JPEG_QUALITY, 10],
}


def jpeg(pixels, options=()):
    done, data = cv2.imencode(".jpg", pixels, list(options))
    assert done
    return data.tobytes()


def refused(tmp_path, data, words="truncated", name="a.jpg"):
    path = tmp_path / name
    path.write_bytes(data)
    for read in (read_grey, read_colour):
        with pytest.raises(ImageError, match=words) as caught:
            read(path)
        assert "\n" not in str(caught.value)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize("kind", JPEGS)
@pytest.mark.parametrize("pixels", [NATURAL, NATURAL[..., 0].copy()], ids=["colour", "grey"])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9, 0.97])
def test_a_jpeg_cut_in_the_middle_is_refused_in_silence_though_it_has_an_end_marker(
    tmp_path, capfd, kind, pixels, kept
):
    data = jpeg(pixels, JPEGS[kind])
    refused(tmp_path, data[: int(kept * len(data))] + END)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("kind", JPEGS)
@pytest.mark.parametrize("pixels", [NATURAL, FLAT], ids=["natural", "flat below"])
def test_whole_jpegs_are_read_in_silence(tmp_path, capfd, kind, pixels):
    data = jpeg(pixels, JPEGS[kind])
    expected = cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    for more in (b"", b"a camera's own notes", data):
        (tmp_path / "a.jpg").write_bytes(data + more)
        np.testing.assert_array_equal(read_colour(tmp_path / "a.jpg"), expected * np.float32(1 / 255))
    assert capfd.readouterr() == ("", "")


def test_a_few_missing_bytes_are_enough(tmp_path):
    """Each block needs at least two bits, so eight bytes of a finely coded image are at least part of one."""
    data = jpeg(NATURAL, [cv2.IMWRITE_JPEG_QUALITY, 95])
    refused(tmp_path, data[:-10] + END)


def test_a_progressive_jpeg_without_its_last_scans_is_refused(tmp_path):
    data = jpeg(NATURAL, JPEGS["progressive"])
    scans = [at for at in range(len(data) - 1) if data[at : at + 2] == b"\xff\xda"]
    assert len(scans) > 5
    for start in scans[1:]:
        refused(tmp_path, data[:start] + END)


def test_a_harmless_fault_does_not_hide_a_cut(tmp_path, capfd):
    """Some cameras write odd scan parameters, which libjpeg tells of first and alone."""
    data = jpeg(NATURAL)
    place = data.index(b"\xff\xda") + 4 + 1 + 2 * 3
    odd = data[:place] + b"\x01" + data[place + 1 :]
    (tmp_path / "a.jpg").write_bytes(odd)
    (tmp_path / "b.jpg").write_bytes(data)
    np.testing.assert_array_equal(read_colour(tmp_path / "a.jpg"), read_colour(tmp_path / "b.jpg"))
    refused(tmp_path, odd[: len(odd) // 2] + END)
    assert capfd.readouterr() == ("", "")


def test_a_jpeg_with_a_hole_is_refused(tmp_path):
    data = jpeg(NATURAL, JPEGS["restarts"])
    third = len(data) // 3
    refused(tmp_path, data[:third] + data[2 * third :])


@pytest.mark.parametrize("kind", JPEGS)
def test_a_jpeg_with_a_hole_of_zeros_or_the_tail_of_another_file_is_refused(tmp_path, capfd, kind):
    """As after a crash, where some blocks of a file were never written."""
    data = jpeg(NATURAL, JPEGS[kind])
    third, other = len(data) // 3, jpeg(NATURAL[::-1].copy(), [*JPEGS[kind], cv2.IMWRITE_JPEG_QUALITY, 40])
    refused(tmp_path, data[:third] + bytes(third) + data[2 * third :])
    refused(tmp_path, data[: len(data) // 2] + bytes(len(data) // 2) + END)
    refused(tmp_path, data[:third] + other[len(other) // 2 :] + END)
    assert capfd.readouterr() == ("", "")


def test_a_small_hole_of_which_the_decoder_says_nothing_is_refused(tmp_path):
    data = jpeg(NATURAL)
    half = len(data) // 2
    refused(tmp_path, data[:half] + bytes(512) + data[half + 512 :], "hole of zeros")


def test_a_progressive_jpeg_that_lacks_its_middle_is_refused(tmp_path, capfd):
    data = jpeg(NATURAL, JPEGS["progressive"])
    third = len(data) // 3
    refused(tmp_path, data[:third] + data[2 * third :])
    assert capfd.readouterr() == ("", "")


def test_flat_areas_are_no_holes(tmp_path):
    """In optimised tables the code of a flat block may be zeros alone; so may be padding at the end."""
    data = jpeg(np.full((960, 1280, 3), 90, np.uint8), JPEGS["own tables"])
    assert bytes(1000) in data
    for name, content in (("a.jpg", data), ("b.jpg", jpeg(NATURAL)[:-2] + bytes(600) + END)):
        (tmp_path / name).write_bytes(content)
        assert read_grey(tmp_path / name).size in (960 * 1280, 120 * 160)
    for suffix in (".webp", ".jp2"):
        (tmp_path / f"a{suffix}").write_bytes(cv2.imencode(suffix, np.zeros((960, 1280, 3), np.uint8))[1].tobytes())
        assert not read_grey(tmp_path / f"a{suffix}").any()


def test_a_webp_whose_lower_half_is_flat_is_read_though_its_code_is_zeros(tmp_path):
    image = np.full((1200, 1600, 3), 120, np.uint8)
    image[:600] = np.random.default_rng(0).integers(0, 256, (600, 1600, 3))
    data = cv2.imencode(".webp", image, [cv2.IMWRITE_WEBP_QUALITY, 10])[1].tobytes()
    assert bytes(300) in data
    (tmp_path / "a.webp").write_bytes(data)
    assert abs(255 * read_grey(tmp_path / "a.webp")[700:] - 120).max() < 4


def chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


@pytest.mark.parametrize("pixels", [NATURAL, NATURAL[..., 0].astype(np.uint16) * 200], ids=["8 bits", "16 bits"])
@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.9, 0.99])
def test_a_png_whose_pixels_end_early_is_refused_though_each_chunk_is_whole(tmp_path, capfd, pixels, kept):
    data = cv2.imencode(".png", pixels)[1].tobytes()
    chunks = {entry.name: data[entry.start : entry.start + entry.size] for entry in png_chunks(io.BytesIO(data))}
    short = chunks[b"IDAT"][: int(kept * len(chunks[b"IDAT"]))]
    refused(
        tmp_path,
        data[:8] + chunk(b"IHDR", chunks[b"IHDR"]) + chunk(b"IDAT", short) + chunk(b"IEND", b""),
        name="a.png",
    )
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("compression", [5, 8, 32773], ids=["LZW", "deflate", "PackBits"])
@pytest.mark.parametrize("pixels", [NATURAL, NATURAL[..., 0].astype(np.uint16) * 200], ids=["8 bits", "16 bits"])
def test_a_tiff_whose_strip_ends_early_is_refused(tmp_path, capfd, compression, pixels):
    data = bytearray(cv2.imencode(".tiff", pixels, [cv2.IMWRITE_TIFF_COMPRESSION, compression])[1].tobytes())
    (start,) = struct.unpack_from("<I", data, 4)
    for place in range(start + 2, start + 2 + 12 * struct.unpack_from("<H", data, start)[0], 12):
        tag, kind, count, value = struct.unpack_from("<HHII", data, place)
        if tag == 279:  # bytes of each strip
            form = "<H" if kind == 3 else "<I"
            where = place + 8 if count * struct.calcsize(form) <= 4 else value
            struct.pack_into(form, data, where, struct.unpack_from(form, data, where)[0] // 3)
    refused(tmp_path, bytes(data), name="a.tiff")
    assert capfd.readouterr() == ("", "")


def test_a_tiff_with_half_a_jpeg_inside_is_refused(tmp_path, capfd):
    stream = jpeg(NATURAL[..., 0].copy())
    path = tmp_path / "a.tiff"
    path.write_bytes(tiff_around(stream, 160, 120))
    assert read_grey(path).shape == (120, 160)
    refused(tmp_path, tiff_around(stream[: len(stream) // 2] + END, 160, 120), name="a.tiff")
    assert capfd.readouterr() == ("", "")


def test_a_tiff_without_compression_is_refused_where_it_ends_early(tmp_path, capfd):
    """Its tags stand before its pixels, so that they are whole."""
    path, rows = tmp_path / "a.tiff", NATURAL[..., 0].tobytes()
    path.write_bytes(tiff_around(rows, 160, 120, compression=1))
    np.testing.assert_array_equal(read_grey(path), NATURAL[..., 0] * np.float32(1 / 255))
    refused(tmp_path, tiff_around(rows, 160, 120, compression=1)[:-500], name="a.tiff")
    refused(tmp_path, tiff_around(rows[:-500], 160, 120, compression=1), name="a.tiff")
    assert capfd.readouterr() == ("", "")


def spread_tiff(parts, **more):
    """A grey image of 160 x 120 in several strips or tiles, all tags before all pixels."""
    tags = {256: [160], 257: [120], 258: [8], 259: [1], 262: [1], 277: [1]} | {int(key[1:]): more[key] for key in more}
    place, size = (324, 325) if 322 in tags else (273, 279)
    tags |= {place: [0] * len(parts), size: [len(part) for part in parts]}
    start = 8 + 2 + 12 * len(tags) + 4
    pixels = start + sum(4 * len(values) for values in tags.values() if len(values) > 1)
    tags[place] = [pixels + sum(map(len, parts[:number])) for number in range(len(parts))]
    entries, lists = b"", b""
    for tag, values in sorted(tags.items()):
        value = values[0] if len(values) == 1 else start + len(lists)
        entries += struct.pack("<HHII", tag, 4, len(values), value)
        lists += struct.pack(f"<{len(values)}I", *values) if len(values) > 1 else b""
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + lists + b"".join(parts)


GREY = NATURAL[..., 0].copy()
TILES = [
    np.pad(GREY, ((0, 8), (0, 32)))[top : top + 64, left : left + 64].tobytes()
    for top in (0, 64)
    for left in (0, 64, 128)
]


@pytest.mark.parametrize(
    ("parts", "more"),
    [
        ([GREY[top : top + 40].tobytes() for top in (0, 40, 80)], {"t278": [40]}),
        (TILES, {"t322": [64], "t323": [64]}),
        ([NATURAL[..., 2 - n].tobytes() for n in range(3)], {"t258": [8, 8, 8], "t262": [2], "t277": [3], "t284": [2]}),
    ],
    ids=["strips", "tiles", "planes"],
)
def test_a_tiff_is_refused_whose_strips_do_not_lie_in_the_file_whatever_the_decoder_says(tmp_path, parts, more):
    data = spread_tiff(parts, **more)
    header = read_header(io.BytesIO(data), tmp_path)
    assert strip_fault(data, header) == ""
    (tmp_path / "a.tiff").write_bytes(data)
    assert read_grey(tmp_path / "a.tiff").shape == (120, 160)
    place, size = (tiff_tags(io.BytesIO(data))[tag].place for tag in ((324, 325) if "t322" in more else (273, 279)))

    def changed(where, value):
        return data[:where] + struct.pack("<I", value) + data[where + 4 :]

    for wrong in (
        data[:-1],
        data[:-500],
        spread_tiff(parts[:-1], **more),
        spread_tiff([*parts[:-1], parts[-1][:-200]], **more),
        changed(size, 0),
        changed(size + 4, 10**6),
        changed(place, 0),
        changed(place + 4, 10**6),
    ):
        assert strip_fault(wrong, header)
        refused(tmp_path, wrong, "strips or tiles", "b.tiff")


@pytest.mark.parametrize("more", [{"t278": [0]}, {"t322": [0], "t323": [0]}, {"t322": [64], "t323": [0]}])
def test_a_tiff_whose_strips_or_tiles_have_no_size_is_refused(tmp_path, more):
    refused(tmp_path, spread_tiff([GREY.tobytes()], **more), name="a.tiff")


def tiff_around(stream, width, height, compression=7):
    tags = {256: width, 257: height, 258: 8, 259: compression, 262: 1, 273: 122, 277: 1, 278: height, 279: len(stream)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\x00" + struct.pack("<IH", 8, len(tags)) + entries + struct.pack("<I", 0) + stream


@pytest.mark.parametrize("suffix", [".webp", ".jp2", ".pgm", ".ppm", ".bmp", ".tiff", ".png", ".jpg"])
@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.9, 0.98])
def test_every_format_is_refused_where_the_file_ends_early(tmp_path, capfd, suffix, kept):
    data = cv2.imencode(suffix, NATURAL[..., 0].copy() if suffix == ".pgm" else NATURAL)[1].tobytes()
    (tmp_path / f"a{suffix}").write_bytes(data)
    assert read_grey(tmp_path / f"a{suffix}").shape == (120, 160)
    refused(tmp_path, data[: int(kept * len(data))], words="truncated|empty", name=f"b{suffix}")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("kept", [0.2, 0.5, 0.9])
def test_an_end_that_was_never_written_is_refused(tmp_path, kept):
    data = cv2.imencode(".jp2", NATURAL)[1].tobytes()
    short = data[: int(kept * len(data))]
    refused(tmp_path, short + bytes(len(data) - len(short)), name="a.jp2")
    refused(tmp_path, short + bytes(len(data) - len(short) - 2) + data[-2:], name="a.jp2")


@pytest.mark.parametrize("lossless", [80, 101])
@pytest.mark.parametrize("kept", [0.2, 0.5, 0.95])
def test_a_webp_whose_sizes_were_corrected_after_a_cut_is_refused(tmp_path, lossless, kept):
    data = cv2.imencode(".webp", NATURAL, [cv2.IMWRITE_WEBP_QUALITY, lossless])[1].tobytes()
    short = bytearray(data[: int(kept * len(data))])
    struct.pack_into("<I", short, 4, len(short) - 8)
    struct.pack_into("<I", short, 16, len(short) - 20)
    refused(tmp_path, bytes(short), name="a.webp")


def test_a_bmp_with_run_lengths_is_refused_since_what_it_leaves_out_is_black(tmp_path):
    head = struct.pack("<IiiHHIIiiII", 40, 4, 4, 1, 8, 1, 2, 0, 0, 1, 0)
    refused(tmp_path, b"BM" + struct.pack("<IHHI", 60, 0, 0, 58) + head + b"\0\0\0\0\x00\x01", "run lengths", "a.bmp")


def test_what_others_write_meanwhile_reaches_standard_error(tmp_path):
    """Threads read good and bad files while another writes; no line of it is lost, none of the decoders' is seen."""
    data = jpeg(NATURAL)
    (tmp_path / "good.jpg").write_bytes(data)
    (tmp_path / "bad.jpg").write_bytes(data[: len(data) // 2] + END)
    program = """
import os, sys, threading
from pathlib import Path
from cogkp.data.images import read_grey
from cogkp.errors import ImageError
def read():
    for _ in range(100):
        assert read_grey(Path("good.jpg")).shape == (120, 160)
        try:
            read_grey(Path("bad.jpg"))
        except ImageError:
            continue
        raise SystemExit("accepted")
readers = [threading.Thread(target=read) for _ in range(3)]
for reader in readers: reader.start()
for number in range(2000): os.write(2, b"line %d\\n" % number)
for reader in readers: reader.join()
if os.fork() == 0:
    read()
    os.write(2, b"child\\n")
    os._exit(0)
os.wait()
"""
    ended = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0
    assert sorted(ended.stderr.splitlines()) == sorted([*(f"line {n}" for n in range(2000)), "child"])


def test_images_are_read_where_standard_error_is_closed(tmp_path):
    data = jpeg(NATURAL)
    (tmp_path / "a.jpg").write_bytes(data)
    (tmp_path / "b.jpg").write_bytes(data[: len(data) // 2] + END)
    program = (
        "import os; os.close(2)\nfrom pathlib import Path\nfrom cogkp.data.images import read_grey\n"
        "print(read_grey(Path('a.jpg')).shape)\n"
        "try: read_grey(Path('b.jpg'))\nexcept Exception as error: print(type(error).__name__)"
    )
    ended = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert ended.stdout.split("\n")[:2] == ["(120, 160)", "ImageError"]


def test_a_jpeg_of_a_thousand_scans_is_refused_at_once(tmp_path):
    """A decoder goes over the whole image for each: some hundred kilobytes cost it minutes."""
    data = jpeg(NATURAL, JPEGS["progressive"])
    start = data.index(b"\xff\xda")
    end = next(
        at for at in range(start + 2, len(data)) if data[at] == 0xFF and data[at + 1] not in (0, *range(0xD0, 0xD8))
    )
    refused(tmp_path, data[:start] + data[start:end] * 1000 + data[start:], "expected all scans, at most 500")


def test_images_are_read_where_processes_neither_fork_nor_lock(tmp_path):
    """As on Windows: no fcntl, no fork, no file in memory."""
    program = """
import os, sys
sys.modules["fcntl"] = None
for name in ("fork", "register_at_fork", "memfd_create", "pread", "pwrite"):
    vars(os).pop(name, None)
from pathlib import Path
from cogkp.data.images import read_grey
print(read_grey(Path(sys.argv[1])).shape)
try:
    read_grey(Path(sys.argv[2]))
except Exception as error:
    print(type(error).__name__)
"""
    data = jpeg(NATURAL)
    (tmp_path / "a.jpg").write_bytes(data)
    (tmp_path / "b.jpg").write_bytes(data[: len(data) // 2] + END)
    words = [sys.executable, "-c", program, "a.jpg", "b.jpg"]
    ended = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert (ended.stdout, ended.stderr) == ("(120, 160)\nImageError\n", "")
