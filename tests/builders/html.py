"""A strict reader of the pages we write."""

from __future__ import annotations

import re
from html.parser import HTMLParser

VOID = {"meta", "img", "br", "link"}
ADDRESSES = {"src", "href", "action", "data", "poster", "srcset", "xlink:href"}


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[str] = []

    def handle_starttag(self, tag, attributes):
        self.found.append(tag)
        for name, value in attributes:
            assert not name.startswith("on"), f"{tag} {name}"
            assert name not in ADDRESSES or (value or "").startswith("data:image/"), f"{tag} {name}={value}"
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert tag in VOID or self.open.pop() == tag, f"</{tag}> closes something else"


def check_page(text: str) -> list[str]:
    """Assert that tags nest, that nothing is fetched or run, and return the names of all tags."""
    assert text.startswith("<!DOCTYPE html>")
    reader = _Reader()
    reader.feed(text)
    reader.close()
    assert reader.open == []
    style = "".join(re.findall(r"<style>(.*?)</style>", text, re.DOTALL))
    assert "url(" not in style
    assert "@import" not in style
    outside = re.sub(r"data:image/[\w;,+/=]+", "", text)
    assert not re.search(r'["\'(]\s*(https?:)?//', outside)
    for needed in ("default-src 'none'", "width=device-width", "prefers-color-scheme:dark", "@media print"):
        assert needed in text
    return reader.found
