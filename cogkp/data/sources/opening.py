"""Find out what a source is: an image, a folder, a pattern, a video, a camera or a stream."""

from __future__ import annotations

import glob
import logging
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from cogkp.data.images.survey import SUFFIXES, walk
from cogkp.data.sources.base import Source
from cogkp.data.sources.files import ImageFilesSource
from cogkp.data.sources.video import VIDEO_SUFFIXES, LiveSource, VideoSource
from cogkp.errors import DataError

IMAGE_SUFFIXES = (*SUFFIXES, ".jp2", ".tif", ".tiff", ".webp")
PATTERN = set("*?[")

log = logging.getLogger("cogkp")


def open_sources(given: str | os.PathLike[str] | int | Sequence[str | os.PathLike[str] | int]) -> list[Source]:
    """Open sources: image files, folders (looked into at any depth), patterns, videos, cameras and streams.

    A folder gives its images and its videos in the order of their paths. A number is a camera, ``://`` makes a stream.

    Raises:
        DataError: there is no such source, or nothing in it.
    """
    each = [given] if isinstance(given, str | os.PathLike | int) else list(given)
    found: list[Source] = [source for one in each for source in _opened(one)]
    if not found:
        raise DataError("there is no source", expected="an image, a folder, a video or a camera", got="nothing")
    for source in found:
        if isinstance(source, VideoSource) and source.rotation_deg % 360:
            log.info("%s notes a rotation by %d degrees, which is applied", source.name, source.rotation_deg)
    return _joined(found)


def _opened(given: str | os.PathLike[str] | int) -> list[Source]:
    text = str(given) if isinstance(given, int) else os.fspath(given)
    path = Path(text)
    try:
        kind = path.stat().st_mode
    except (OSError, ValueError):
        return _not_a_file(text)
    if stat.S_ISCHR(kind):
        return [LiveSource(text)]
    if stat.S_ISDIR(kind):
        return _of_files(_files_below(path), path, text)
    return _of_files([path], path.parent, text)


def _not_a_file(text: str) -> list[Source]:
    if "://" in text:
        return [LiveSource(text)]
    if text.isdecimal():
        return [LiveSource(int(text))]
    if set(text) & PATTERN:
        paths = sorted(path for name in glob.glob(text, recursive=True) if (path := Path(name)).is_file())  # noqa: PTH207
        if not paths:
            raise DataError("no file fits the pattern", where=text)
        return _of_files(paths, Path(os.path.commonpath([path.parent for path in paths])), text)
    raise DataError(
        "there is no such source",
        where=text,
        expected="an image, a folder, a pattern, a video, the number of a camera, or a URL",
    )


def _files_below(root: Path) -> list[Path]:
    files = [path for folder, _ in walk(root) for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    found = [path for path in files if path.suffix.lower() in (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES) and path.is_file()]
    if not found:
        endings = ", ".join((*IMAGE_SUFFIXES, *VIDEO_SUFFIXES))
        raise DataError("there are neither images nor videos", where=str(root), expected=f"files that end in {endings}")
    return found


def _of_files(paths: Sequence[Path], root: Path, name: str) -> list[Source]:
    """Make sources of files in order; images that follow each other are one source."""
    found: list[Source] = []
    images: list[Path] = []
    for path in paths:
        if path.suffix.lower() not in VIDEO_SUFFIXES:
            images.append(path)
            continue
        found += _of_images(images, root, name)
        images = []
        found.append(VideoSource.of(path))
    return found + _of_images(images, root, name)


def _of_images(paths: Sequence[Path], root: Path, name: str) -> list[Source]:
    return [ImageFilesSource(name, tuple(paths), tuple(os.path.relpath(path, root) for path in paths))] if paths else []


def _joined(sources: Sequence[Source]) -> list[Source]:
    """Join image files that were named one by one, as a shell does with a pattern; their names stay apart."""
    joined: list[Source] = []
    for source in sources:
        before = joined[-1] if joined else None
        if isinstance(source, ImageFilesSource) and isinstance(before, ImageFilesSource) and len(source) == 1:
            paths = (*before.paths, *source.paths)
            joined[-1] = _of_images(paths, Path(os.path.commonpath([path.parent for path in paths])), before.name)[0]
        else:
            joined.append(source)
    return joined
