"""Write files that are either whole or not there."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from cogkp.errors import OutputError

__all__ = ["replacing", "write_bytes", "writing_to"]


@contextmanager
def writing_to(path: Path) -> Iterator[None]:
    """Turn an operating system's refusal into one line that names the place."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            "cannot write", where=str(path), got=error.strerror or str(error), hint="Choose another place or free it."
        ) from error


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file beside ``path`` that takes its name once everything is on disk.

    Raises:
        OutputError: the disk is full or the folder cannot be written; ``path`` is as it was.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with writing_to(path):
        try:
            with temporary.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a whole file at once.

    Raises:
        OutputError: the file cannot be written; an older file of that name is kept.
    """
    with replacing(path) as file:
        file.write(data)
