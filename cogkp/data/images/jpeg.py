"""Check that all scans of a JPEG file are present; decoders do not notice missing ones.

Source: ITU-T T.81, annexes B and G.
"""

from __future__ import annotations

import re
import struct

from cogkp.data.images.header import STANDALONE, START_OF_FRAME, START_OF_SCAN

__all__ = ["end_of_scans"]

END_OF_IMAGE = 0xD9
PROGRESSIVE = frozenset({0xC2, 0xCA})
COEFFICIENTS = 64
# Within a scan, 0xFF is followed by zero where it is data, or by the number of a restart.
AFTER_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")


def end_of_scans(data: bytes) -> int | None:
    """Find the end-of-image marker behind all scans of a JPEG file.

    A sequential file has a scan for each colour component. The scans of a progressive file add coefficients and their
    lower bits; the standard lets an encoder stop early, yet none does, while a file that was cut looks just so.

    Args:
        data: the whole file.

    Returns:
        Where the marker stands; None where it or a scan is missing.
    """
    try:
        return _walk(data)
    except (struct.error, ValueError, IndexError):
        return None


def _walk(data: bytes) -> int | None:
    missing: dict[int, set[int]] = {}
    position, progressive = 2, False
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
