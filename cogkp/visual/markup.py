"""Escape and format text for HTML and SVG."""

import base64
from html import escape as escape_html

from cogkp.errors import printable

TYPES = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg"}


def escape(text: str) -> str:
    """Escape what a browser would obey instead of showing it: markup and control characters."""
    return escape_html(printable(text))


def data_uri(image: bytes) -> str:
    """Put a PNG or JPEG file, else ValueError, into an address, so that a page needs no other file."""
    kind = next((kind for start, kind in TYPES.items() if image.startswith(start)), None)
    if kind is None:
        raise ValueError("an image must be a PNG or a JPEG file")
    return f"data:{kind};base64,{base64.b64encode(image).decode()}"
