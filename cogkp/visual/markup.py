"""Escape and format text for HTML and SVG."""

from __future__ import annotations

from html import escape as escape_html

from cogkp.errors import printable

__all__ = ["escape"]


def escape(text: str) -> str:
    """Escape what a browser would obey instead of showing it: markup and control characters."""
    return escape_html(printable(text))
