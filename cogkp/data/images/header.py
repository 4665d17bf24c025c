"""What the header of an image file says, without decoding it, and whether all of its data is there.

Decoders reserve memory for whatever size a file claims, so sizes are settled here first. A format whose size is not
read here is not accepted.

Source: PNG specification (W3C, third edition), section 5; ITU-T T.81 (JPEG), annexes B and G; ITU-T T.800 (JPEG 2000),
annexes A and I; RFC 9649 (WebP); TIFF 6.0 and BigTIFF; the BMP headers of Windows; the Netpbm manual (PBM, PGM, PPM);
CIPA DC-008 (EXIF), section 4.6.
"""

import io
import math
import re
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import attrs

from cogkp.errors import ImageError

WIDTH, HEIGHT, BITS_PER_SAMPLE, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
ORIENTATION, SAMPLES_PER_PIXEL, ROWS_PER_STRIP, PLANAR = 274, 277, 278, 284
YCBCR, FIRST_IFD = 6, 8
STRIP_OFFSETS, STRIP_BYTES, TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_BYTES = 273, 279, 322, 323, 324, 325
TYPES = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 16: "Q", 17: "q"}
"""Whole numbers of 1, 2, 4 and 8 bytes; a decoder takes sizes with a sign, too, and the first of two equal tags."""

END_OF_IMAGE = 0xD9
PROGRESSIVE, SEQUENTIAL = frozenset({0xC2, 0xCA}), frozenset({0xC0, 0xC1})
HUFFMAN_TABLES = 0xC4
COEFFICIENTS = 64
MOST_SCANS = 500
"""Of a JPEG file; encoders write about ten, and a decoder goes over the whole image for each."""
# Within a scan, 0xFF is followed by zero where it is data, or by the number of a restart.
AFTER_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")

PNG_START = b"\x89PNG\r\n\x1a\n"
JPEG_2000_STREAM = b"\xff\x4f\xff\x51"
JPEG_2000_BOXES = b"\x00\x00\x00\x0cjP  "
# Of JPEG 2000; what stands behind any other marker is read by nobody, or by every decoder in its own way.
TILE_PART, TILE_DATA, CODE_STREAM_END = 0xFF90, 0xFF93, 0xFFD9
CODING_STYLES = 0xFF52, 0xFF53
MOST_SEGMENTS = 200_000
CODE_STREAM_MARKERS = frozenset(
    (TILE_PART, *(0xFF00 + n for n in (*range(0x50, 0x54), 0x55, 0x57, 0x58, *range(0x5C, 0x62), 0x63, 0x64)))
)

FORMATS = "PNG, JPEG, BMP, TIFF, WebP, PBM, PGM, PPM or JPEG 2000"
START_OF_SCAN = 0xDA
STANDALONE = frozenset({0x01, *range(0xD0, 0xD9)})
START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


class Tag(NamedTuple):
    """The first value of a tag, where it stands in the file, its form for ``struct``, and how many values there are."""

    value: int
    place: int
    form: str
    values: int


def tiff_tags(file: BinaryIO, start: int = 0) -> dict[int, Tag]:
    """Read the tags that hold whole numbers of the first image; all offsets count from the TIFF header at ``start``.

    Raises:
        struct.error: the file ends too early.
        ValueError: this is no TIFF header.
    """
    file.seek(start)
    order = {b"II": "<", b"MM": ">"}.get(file.read(2))
    if order is None:
        raise ValueError
    (version,) = struct.unpack(f"{order}H", file.read(2))
    big = version == 43  # noqa: PLR2004
    offset, count, entry = ("HHQ", "Q", "HHQ8s") if big else ("I", "H", "HHI4s")
    *_, first = struct.unpack(order + offset, file.read(struct.calcsize(order + offset)))
    file.seek(start + first)
    (entries,) = struct.unpack(order + count, file.read(struct.calcsize(order + count)))
    size, inside = struct.calcsize(order + entry), 8 if big else 4
    tags: dict[int, Tag] = {}
    for number in range(min(entries, 4096)):
        place = start + first + struct.calcsize(order + count) + number * size
        file.seek(place)
        tag, kind, values, field = struct.unpack(order + entry, file.read(size))
        if kind not in TYPES or not values:
            continue
        form, place = order + TYPES[kind], place + size - inside
        if values * struct.calcsize(form) > inside:
            place = start + int(struct.unpack(order + ("Q" if big else "I"), field)[0])
        file.seek(place)
        tags.setdefault(tag, Tag(struct.unpack(form, file.read(struct.calcsize(form)))[0], place, form, values))
    return tags


def end_of_scans(data: bytes) -> int | None:
    """Find the end-of-image marker behind all scans of a JPEG file; None where it or a scan is missing.

    A sequential file has a scan for each colour component. The scans of a progressive file add coefficients and their
    lower bits; the standard lets an encoder stop early, yet none does, while a file that was cut looks just so.
    """
    try:
        return _walk(data)
    except (struct.error, ValueError, IndexError):
        return None


def scan_without_zeros(data: bytes) -> int:
    """Say from where on a JPEG file cannot hold a long run of zeros.

    Zero bits are the shortest code of each Huffman table. Where that does not end a block of every component, a run
    of them would be several equal blocks in which every coefficient is the same. Returned is the start of the first
    scan, or the length of the file where zeros may be data, or nobody can tell.
    """
    tables: dict[int, int] = {}
    components = 0
    for name, start, size in jpeg_segments(io.BytesIO(data)):
        marker, place = name[0], start
        if marker in START_OF_FRAME:
            components = data[start + 5] if marker in SEQUENTIAL else 0
        while marker == HUFFMAN_TABLES and place < start + size:
            tables[data[place]] = data[place + 17]
            place += 17 + sum(data[place + 1 : place + 17])
        if marker == START_OF_SCAN and data[start] == components:
            used = (0x10 | data[start + 2 + 2 * n] & 0x0F for n in range(components))
            if any(tables.get(table) for table in used):
                return start + size
    return len(data)


def _walk(data: bytes) -> int | None:
    missing: dict[int, set[int]] = {}
    position, progressive, scans = 2, False, 0
    while True:
        if data[position] != 0xFF:  # noqa: PLR2004 - bytes between segments are passed over
            position = data.index(b"\xff", position)
        marker = data[position + 1]
        if marker == 0xFF or marker in STANDALONE:  # noqa: PLR2004 - fill bytes
            position += 1 if marker == 0xFF else 2  # noqa: PLR2004
            continue
        if marker == END_OF_IMAGE:
            return None if any(missing.values()) or not missing else position
        (length,) = struct.unpack_from(">H", data, position + 2)
        content = data[position + 4 : position + 2 + length]
        position += 2 + length
        if marker in START_OF_FRAME:
            progressive = marker in PROGRESSIVE
            missing = {content[6 + 3 * n]: set(range(COEFFICIENTS)) for n in range(content[5])}
        elif marker == START_OF_SCAN:
            _strike_out(missing, content, progressive)
            scans += 1
            if scans > MOST_SCANS:
                return None
            found = AFTER_SCAN.search(data, position)
            if found is None:
                return None
            position = found.start()


def _strike_out(missing: dict[int, set[int]], scan: bytes, progressive: bool) -> None:
    """Note which coefficients a scan brings down to their last bit."""
    components = [scan[1 + 2 * n] for n in range(scan[0])]
    first, last, bits = scan[1 + 2 * scan[0] : 4 + 2 * scan[0]]
    if progressive and bits & 0x0F:
        return
    brought = range(first, last + 1) if progressive else range(COEFFICIENTS)
    for component in components:
        if component in missing:
            missing[component].difference_update(brought)


@attrs.frozen
class Header:
    """The plain facts of an image file.

    Args:
        format: 'png', 'jpeg', 'bmp', 'tiff', 'webp', 'pnm' or 'jpeg2000'.
        size_wh: width and height as stored, pixels.
        bits: bits per channel.
        grey: whether the file holds one channel, neither colours nor a palette nor alpha.
        white: the value of white where the file states it; None where it is the largest that a channel can hold.
        tile_wh: width and height of the tiles that the image is stored in; they can be larger than a small image.
        pieces: about how many parts a JPEG 2000 decoder keeps in memory, each up to 1.5 kB.
    """

    format: str
    size_wh: tuple[int, int]
    bits: int
    grey: bool
    white: int | None = None
    tile_wh: tuple[int, int] = (0, 0)
    pieces: int = 1


def strip_fault(data: bytes, header: Header) -> str:
    """Say which strip or tile of a whole TIFF file is not all there; empty where all are.

    Raises:
        struct.error: the list of strips ends too early.
        ZeroDivisionError: they have no size.
    """
    tags = tiff_tags(io.BytesIO(data))

    def of(tag: int, otherwise: int) -> int:
        return tags[tag].value if tag in tags else otherwise

    (width, height), tiled = header.size_wh, TILE_OFFSETS in tags
    places, lengths = (TILE_OFFSETS, TILE_BYTES) if tiled else (STRIP_OFFSETS, STRIP_BYTES)
    if places not in tags or lengths not in tags:
        return "" if places in tags else "no list of strips"
    wide, high = header.tile_wh if tiled else (width, min(of(ROWS_PER_STRIP, height), height))
    down, across = -(-height // high), -(-width // wide)
    samples = of(SAMPLES_PER_PIXEL, 1)
    planes, together = (samples, 1) if of(PLANAR, 1) == 2 else (1, samples)  # noqa: PLR2004
    if tags[places].values < (wanted := down * across * planes):
        return f"{tags[places].values} of {wanted}"
    plain = of(COMPRESSION, 1) == 1 and of(PHOTOMETRIC, 1) != YCBCR
    row = (wide * together * header.bits + 7) // 8 if plain else 0
    for number, (place, length) in enumerate(
        zip(*(_values(data, tags[key]) for key in (places, lengths)), strict=True)
    ):
        rows = high if tiled else min(high, height - number % down * high)
        if place < FIRST_IFD or place + length > len(data) or length < max(row * rows, 1):
            return f"number {number + 1}: {length} bytes from byte {place} on"
    return ""


def _values(data: bytes, tag: Tag) -> tuple[int, ...]:
    return struct.unpack_from(f"{tag.form[0]}{tag.values}{tag.form[1]}", data, tag.place)


def read_header(file: BinaryIO, where: Path) -> Header:
    """Read an image file's header from its first byte on; raises ImageError where it is cut or of another format."""
    start = file.read(12)
    reader = _reader_of(start)
    if reader is None:
        raise ImageError(
            "the file is not an image that can be read",
            where=str(where),
            expected=FORMATS,
            hint="Save it in one of these formats.",
        )
    try:
        file.seek(0)
        return reader(file)
    except (struct.error, IndexError, ValueError, OverflowError) as error:
        raise ImageError("the image file is truncated", where=str(where), got="an incomplete header") from error


def _reader_of(start: bytes) -> Callable[[BinaryIO], Header] | None:
    if start.startswith(b"RIFF") and start[8:] == b"WEBP":
        return _webp_header
    if start[:1] == b"P" and start[1:2] in b"123456" and start[2:3].isspace():
        return _pnm_header
    return next((reader for magic, reader in READERS.items() if start.startswith(magic)), None)


class Chunk(NamedTuple):
    """One chunk of a PNG or WebP file, or segment of a JPEG: its name or marker, where its content starts, its size."""

    name: bytes
    start: int
    size: int


def png_chunks(file: BinaryIO) -> Iterator[Chunk]:
    """List the chunks of a PNG file, as far as their heads are whole; a check sum follows each."""
    return _chunks(
        file, len(PNG_START), lambda head: (head[4:], int.from_bytes(head[:4], "big")), lambda size: size + 4
    )


def riff_chunks(file: BinaryIO) -> Iterator[Chunk]:
    """List the chunks of a WebP file, as far as their heads are whole; those of odd sizes are padded."""
    return _chunks(file, 12, lambda head: (head[:4], int.from_bytes(head[4:], "little")), lambda size: size + size % 2)


def _chunks(
    file: BinaryIO, position: int, parse: Callable[[bytes], tuple[bytes, int]], room: Callable[[int], int]
) -> Iterator[Chunk]:
    """Go from one head of 8 bytes, ``parse``d to name and size, to the next, behind the ``room`` of its content."""
    while len(head := _read_at(file, position, 8)) == 8:  # noqa: PLR2004
        name, size = parse(head)
        yield Chunk(name, position + 8, size)
        position += 8 + room(size)


def _read_at(file: BinaryIO, position: int, size: int) -> bytes:
    file.seek(position)
    return file.read(size)


def _png_header(file: BinaryIO) -> Header:
    file.seek(len(PNG_START))
    _length, _name, width, height, bits, colour = struct.unpack(">I4sIIBB", file.read(18))
    return Header("png", (width, height), bits, grey=colour == 0)


def jpeg_segments(file: BinaryIO) -> Iterator[Chunk]:
    """List the segments of a JPEG file up to its first scan, that included; raises IndexError where it ends before."""
    file.seek(2)
    while True:
        marker = _next_marker(file)
        if marker in STANDALONE:
            continue
        (length,) = struct.unpack(">H", file.read(2))
        start = file.tell()
        yield Chunk(bytes([marker]), start, length - 2)
        if marker == START_OF_SCAN:
            return
        file.seek(start + length - 2)


def _jpeg_header(file: BinaryIO) -> Header:
    for name, start, _size in jpeg_segments(file):
        if name[0] in START_OF_FRAME:
            file.seek(start)
            bits, height, width, channels = struct.unpack(">BHHB", file.read(6))
            return Header("jpeg", (width, height), bits, grey=channels == 1)
    raise IndexError


def _next_marker(file: BinaryIO, most: int = 1 << 16) -> int:
    """Read up to the next marker; fill bytes may stand before it."""
    before = 0
    for _ in range(most):
        byte = file.read(1)[0]
        if before == 0xFF and byte != 0xFF:  # noqa: PLR2004
            return byte
        before = byte
    raise ValueError


def _bmp_header(file: BinaryIO) -> Header:
    file.seek(14)
    (size,) = struct.unpack("<I", file.read(4))
    # The header of OS/2 has 12 bytes; every later one starts with the same 16.
    fields = "<HHHH" if size == 12 else "<iiHH"  # noqa: PLR2004
    width, height, _planes, bits = struct.unpack(fields, file.read(struct.calcsize(fields)))
    return Header("bmp", (abs(width), abs(height)), min(bits, 8), grey=False)


def _webp_header(file: BinaryIO) -> Header:
    file.seek(12)
    name, _size, content = struct.unpack("<4sI10s", file.read(18))
    if name == b"VP8X":
        width, height = (1 + int.from_bytes(content[at : at + 3], "little") for at in (4, 7))
    elif name == b"VP8L":
        packed = int.from_bytes(content[1:5], "little")
        width, height = 1 + (packed & 0x3FFF), 1 + (packed >> 14 & 0x3FFF)
    else:
        width, height = (size & 0x3FFF for size in struct.unpack("<HH", content[6:]))
    return Header("webp", (width, height), 8, grey=False)


def _tiff_header(file: BinaryIO) -> Header:
    tags = {tag: found.value for tag, found in tiff_tags(file).items()}
    if min(tags.get(WIDTH, -1), tags.get(HEIGHT, -1)) < 0:
        raise ValueError
    grey = tags.get(SAMPLES_PER_PIXEL, 1) == 1
    tile_wh = (tags.get(TILE_WIDTH, 0), tags.get(TILE_HEIGHT, 0))
    return Header("tiff", (tags[WIDTH], tags[HEIGHT]), tags.get(BITS_PER_SAMPLE, 1), grey, tile_wh=tile_wh)


def _pnm_header(file: BinaryIO) -> Header:
    """Read numbers in text; a comment goes from # to the end of its line."""
    kind = int(file.read(2)[1:])
    bitmap = kind in (1, 4)
    width, height, *white = (_number(file) for _ in range(2 if bitmap else 3))
    # OpenCV spreads values up to 255 over the whole range where the file is text, and nowhere else.
    stated = white[0] if white and (kind in (5, 6) or white[0] > 255) else None  # noqa: PLR2004
    bits = 1 if bitmap else max(white[0], 1).bit_length()
    return Header("pnm", (width, height), bits, grey=kind not in (3, 6), white=stated)


def _number(file: BinaryIO, most: int = 1 << 16) -> int:
    digits = b""
    for _ in range(most):
        byte = file.read(1)
        if byte == b"#":
            file.readline(most)
        elif byte.isdigit():
            digits += byte
        elif digits or not byte.isspace():
            break
    return int(digits[:12])


def _jpeg_2000_header(file: BinaryIO) -> Header:
    """Read the size of the code stream, which the decoder goes by; boxes around it may claim another."""
    start = 0 if file.read(4) == JPEG_2000_STREAM else _code_stream(file)
    file.seek(start)
    stream, length, _needs, *grid = struct.unpack(">4sHH8I", file.read(40))
    if stream != JPEG_2000_STREAM:
        raise ValueError
    channels, bits = struct.unpack(">HB", file.read(3))
    width, height = (max(end - begin, 0) for end, begin in zip(grid[:2], grid[2:4], strict=True))
    tiles = math.prod(-(-end // side) if side else 0 for end, side in zip(grid[:2], grid[4:6], strict=True))
    pieces = max(_pieces(file, start + 4 + length, width * height, channels))
    return Header(
        "jpeg2000", (width, height), 1 + (bits & 0x7F), grey=channels == 1, pieces=channels * (tiles + pieces)
    )


def _pieces(file: BinaryIO, position: int, pixels: int, channels: int) -> Iterator[int]:
    """Count the precincts and code blocks of a channel, as each coding style states them; also those of tiles."""
    end = 0
    yield 0
    for _ in range(MOST_SEGMENTS):
        file.seek(position)
        head = file.read(4)
        if not head:  # it ends early, which the decoder tells
            return
        (marker,) = struct.unpack(">H", head[:2])
        if marker == CODE_STREAM_END or (marker == TILE_DATA and end <= position):
            return
        if marker == TILE_DATA:
            position = end
            continue
        (length,) = struct.unpack(">H", head[2:])
        content = file.read(length - 2)
        if marker not in CODE_STREAM_MARKERS or length < 2:  # noqa: PLR2004
            raise ValueError
        if marker == TILE_PART:
            end = position + int.from_bytes(content[2:6], "big")
        elif marker in CODING_STYLES:
            yield _of_style(content, 0 if marker == CODING_STYLES[0] else 1 + (channels > 256), pixels)  # noqa: PLR2004
        position += 2 + length
    raise ValueError


def _of_style(content: bytes, at: int, pixels: int) -> int:
    """Count over all resolutions, of which each has a quarter of the pixels of the next."""
    levels, wide, high, _how, _wavelet, *precincts = content[at + (5 if at == 0 else 1) :]
    sizes = precincts if content[at] & 1 else [0xFF] * (levels + 1)
    if len(sizes) <= levels:
        raise ValueError
    block = 4 + (wide & 15) + (high & 15)
    return sum(
        (pixels >> 2 * (levels - n)) >> min(block, (size & 15) + (size >> 4))
        for n, size in enumerate(sizes[: levels + 1])
    )


def _code_stream(file: BinaryIO) -> int:
    position = 0
    while True:
        file.seek(position)
        size, name = struct.unpack(">I4s", file.read(8))
        head = 8
        if size == 1:
            (size,), head = struct.unpack(">Q", file.read(8)), 16
        if name == b"jp2c":
            return position + head
        if size < head:
            raise ValueError
        position += size


READERS: dict[bytes, Callable[[BinaryIO], Header]] = {
    PNG_START: _png_header,
    b"\xff\xd8\xff": _jpeg_header,
    b"BM": _bmp_header,
    b"II*\x00": _tiff_header,
    b"MM\x00*": _tiff_header,
    b"II+\x00": _tiff_header,
    b"MM\x00+": _tiff_header,
    JPEG_2000_STREAM: _jpeg_2000_header,
    JPEG_2000_BOXES: _jpeg_2000_header,
}
