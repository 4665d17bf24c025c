"""The seal of a file: a hash of its content, kept inside it, so that damage is seen before anything is believed.

A checkpoint is a zip archive, and a zip archive ends with a comment of any text. The seal is that comment: whoever
reads the archive without knowing of it is not disturbed, and file and hash can never be two different moments.
"""

from __future__ import annotations

import hashlib

from cogkp.errors import ArtifactError

__all__ = ["is_sealed", "open_seal", "seal"]

WORD = b"cogkp sha256 "
DIGITS = 64
LENGTH_BYTES = 2
NO_COMMENT = b"\0\0"
COMMENT_BYTES = len(WORD) + DIGITS
ARCHIVE = b"PK\x03\x04"


def seal(archive: bytes) -> bytes:
    """Add the seal to a zip archive without a comment.

    Raises:
        ArtifactError: it is not such an archive.

    Example:
        >>> import io, zipfile
        >>> buffer = io.BytesIO()
        >>> with zipfile.ZipFile(buffer, "w") as archive:
        ...     archive.writestr("name", "content")
        >>> sealed = seal(buffer.getvalue())
        >>> open_seal(sealed) == buffer.getvalue(), zipfile.ZipFile(io.BytesIO(sealed)).read("name")
        (True, b'content')
    """
    if not (archive.startswith(ARCHIVE) and archive.endswith(NO_COMMENT)):
        raise ArtifactError("only a zip archive without a comment can be sealed")
    comment = WORD + hashlib.sha256(archive).hexdigest().encode("ascii")
    return archive[:-LENGTH_BYTES] + len(comment).to_bytes(LENGTH_BYTES, "little") + comment


def is_sealed(content: bytes) -> bool:
    """Say whether a file bears a seal, true or not."""
    return content[-COMMENT_BYTES:].startswith(WORD)


def open_seal(content: bytes) -> bytes:
    """Return the archive as it was before it was sealed.

    Raises:
        ArtifactError: there is no seal, or it was made for other content.
    """
    if not is_sealed(content):
        raise ArtifactError("the file bears no seal")
    archive = content[: -COMMENT_BYTES - LENGTH_BYTES] + NO_COMMENT
    if seal(archive) != content:
        raise ArtifactError("the seal was made for other content")
    return archive
