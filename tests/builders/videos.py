"""Videos whose frames say their number, and files of them that are damaged."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

SIZE_WH = (96, 64)
BITS = 6


def numbered(number: int, size_wh: tuple[int, int] = SIZE_WH) -> np.ndarray:
    """Draw a number as white and black bars: (H, W, 3) uint8."""
    bars = [255 * (number >> bit & 1) for bit in range(BITS)]
    row = np.repeat(np.array(bars, np.uint8), size_wh[0] // BITS)
    return np.repeat(np.repeat(row[None, :, None], size_wh[1], 0), 3, 2)


def number_of(image: np.ndarray) -> int:
    """Read the number of a frame."""
    row = image.reshape(*image.shape[:2], -1)[image.shape[0] // 2, :, 0]
    bars = row.reshape(BITS, -1)[:, row.size // BITS // 2] > 127
    return sum(1 << bit for bit, bar in enumerate(bars) if bar)


def write_video(
    path: Path, frames: int = 20, *, fps: float = 25.0, fourcc: str = "mp4v", first: int = 0, images=None
) -> Path:
    """Write a video of numbered frames, or of these images (H, W, 3) BGR."""
    shown = [numbered(first + number) for number in range(frames)] if images is None else list(images)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*fourcc), fps, shown[0].shape[1::-1])
    assert writer.isOpened()
    for image in shown:
        writer.write(image)
    writer.release()
    return path


def rotated(path: Path) -> Path:
    """Note in an MP4 file that players shall turn it by 90 degrees."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4
    matrix = at + 40  # version and flags, times, number, duration, layer, group and volume lie before it
    one = (1 << 16).to_bytes(4, "big")
    minus = (0xFFFF0000).to_bytes(4, "big")
    zero, unit = bytes(4), (1 << 30).to_bytes(4, "big")
    height = data[matrix + 40 : matrix + 44]
    data[matrix : matrix + 36] = b"".join((zero, one, zero, minus, zero, zero, height, zero, unit))
    path.write_bytes(data)
    return path


def damaged(path: Path, frame: int) -> Path:
    """Overwrite a frame in the middle of an AVI file of single JPEG images."""
    data = bytearray(path.read_bytes())
    # The first of these words stands in the header.
    starts = [place for place in range(len(data) - 4) if data[place : place + 4] == b"00dc"][1:]
    start = starts[frame] + 8
    size = int.from_bytes(data[starts[frame] + 4 : start], "little")
    data[start : start + size] = bytes(size)
    path.write_bytes(data)
    return path


def cut(path: Path, share: float = 0.8) -> Path:
    """Cut a file off."""
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    return path
