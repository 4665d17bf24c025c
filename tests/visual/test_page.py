"""A page is one file that asks for nothing, and whatever users named stays text."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from cogkp.measures.evidence import Table
from cogkp.visual import page
from tests.builders.html import check_page

HOSTILE = "<script>alert('x')</script>&\"]]>"


def encoded(suffix: str) -> bytes:
    return cv2.imencode(suffix, np.zeros((4, 6, 3), np.uint8))[1].tobytes()


def everything(word: str) -> str:
    return page.page(
        word,
        word,
        [
            page.section(word, page.cards([page.Card(word, word, word)]), page.warnings([word])),
            page.section(word, page.table(Table(word, (word, word), ((word, word), ("all", word)), (word,)))),
            page.section(word, page.facts({word: word}), page.folded(word, page.verbatim(word))),
            page.section(word, page.gallery([(encoded(".png"), word, word)]), page.image(encoded(".jpg"), word, word)),
        ],
    )


def test_a_page_is_well_formed_and_needs_nothing_else():
    found = check_page(everything("plain"))
    assert found.count("img") == 2
    assert "script" not in found


def test_hostile_names_stay_text():
    text = everything(HOSTILE)
    assert "script" not in check_page(text)
    assert "<script" not in text
    seen: list[str] = []

    class Words(HTMLParser):
        def handle_data(self, data: str) -> None:
            seen.append(data)

    Words().feed(text)
    assert sum(HOSTILE in words for words in seen) >= 15


def test_pictures_come_back_bit_for_bit():
    uri = re.search(r'src="data:image/png;base64,([^"]+)"', page.image(encoded(".png"), "it"))
    assert uri is not None
    assert base64.b64decode(uri[1]) == encoded(".png")
    with pytest.raises(ValueError, match="PNG or a JPEG"):
        page.image(b"GIF89a", "it")


def test_what_is_empty_leaves_no_heading():
    assert page.section("nothing", "", page.table(Table("t", ("a",), ())), page.cards([]), page.gallery([])) == ""
    assert page.columns("", "") == ""
    assert page.folded("title") == ""
