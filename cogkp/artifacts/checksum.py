"""A checksum inside a zip archive, so that a damaged checkpoint is noticed before it is used.

A checkpoint is a zip archive, and a zip archive ends with a comment of any text. The checksum is that comment: other
readers of the archive ignore it, and file and checksum are always written together.
"""

import hashlib
from pathlib import Path

from cogkp.errors import ArtifactError
from cogkp.files import open_file

WORD = b"cogkp sha256 "
DIGITS = 64
LENGTH_BYTES = 2
NO_COMMENT = b"\0\0"
COMMENT_BYTES = len(WORD) + DIGITS
ARCHIVE = b"PK\x03\x04"


def with_checksum(archive: bytes) -> bytes:
    """Add the checksum to a zip archive without a comment; raises ArtifactError where it is not such an archive.

    Example:
        >>> import io, zipfile
        >>> buffer = io.BytesIO()
        >>> with zipfile.ZipFile(buffer, "w") as archive:
        ...     archive.writestr("name", "content")
        >>> content = with_checksum(buffer.getvalue())
        >>> verified(content) == buffer.getvalue(), zipfile.ZipFile(io.BytesIO(content)).read("name")
        (True, b'content')
    """
    if not (archive.startswith(ARCHIVE) and archive.endswith(NO_COMMENT)):
        raise ArtifactError("a checksum needs a zip archive without a comment")
    comment = WORD + hashlib.sha256(archive).hexdigest().encode("ascii")
    return archive[:-LENGTH_BYTES] + len(comment).to_bytes(LENGTH_BYTES, "little") + comment


def has_checksum(content: bytes) -> bool:
    """Tell whether a file has a checksum, correct or not."""
    return content[-COMMENT_BYTES:].startswith(WORD)


def checksum_of_file(path: Path) -> str:
    """Return the checksum that a file bears, as hexadecimal digits; empty where it bears none."""
    with open_file(path) as stream:
        stream.seek(max(0, path.stat().st_size - COMMENT_BYTES))
        end = stream.read()
    return end[len(WORD) :].decode("ascii", "replace") if has_checksum(end) else ""


def verified(content: bytes) -> bytes:
    """Verify the checksum, or raise ArtifactError where there is none or another, and return the archive without it."""
    if not has_checksum(content):
        raise ArtifactError("the file has no checksum")
    archive = content[: -COMMENT_BYTES - LENGTH_BYTES] + NO_COMMENT
    if with_checksum(archive) != content:
        raise ArtifactError("the checksum does not match the content")
    return archive
