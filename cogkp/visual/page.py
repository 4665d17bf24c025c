"""A self-contained HTML page: styles and images inside, no script and no links.

Functions return pieces of HTML. Everything that users named is escaped; pieces are joined, never parsed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from cogkp.files import MARK
from cogkp.measures.evidence import Table
from cogkp.visual.markup import data_uri, escape
from cogkp.visual.page_style import STYLE

__all__ = [
    "Card",
    "cards",
    "columns",
    "facts",
    "folded",
    "gallery",
    "image",
    "page",
    "paragraphs",
    "section",
    "table",
    "verbatim",
    "warnings",
]

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
# Figures line up to the right; what is longer is a sentence.
LONGEST_FIGURE = 34


@attrs.frozen
class Card:
    """One figure worth a glance.

    Args:
        label: what it is.
        value: with its unit.
        note: small print, such as the interval; may be empty.
    """

    label: str
    value: str
    note: str = ""


def page(title: str, subtitle: str, sections: Sequence[str]) -> str:
    """Make the whole file.

    Args:
        title: one line.
        subtitle: one line below it.
        sections: pieces, in order.
    """
    head = (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f'<meta name="generator" content="{MARK}"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="color-scheme" content="light dark"><title>{escape(title)}</title><style>{STYLE}</style></head>'
    )
    top = f"<header><h1>{escape(title)}</h1><p>{escape(subtitle)}</p></header>"
    return f"{head}\n<body>{top}\n<main>\n" + "\n".join(filter(None, sections)) + "\n</main></body></html>\n"


def section(title: str, *pieces: str) -> str:
    """Set pieces under a heading; empty where no piece has content."""
    content = "\n".join(filter(None, pieces))
    return f"<section><h2>{escape(title)}</h2>\n{content}\n</section>" if content else ""


def cards(entries: Sequence[Card]) -> str:
    """Set figures side by side."""
    each = (
        f'<div class="card"><span>{escape(card.label)}</span><b>{escape(card.value)}</b>'
        f"<small>{escape(card.note)}</small></div>"
        for card in entries
    )
    return f'<div class="cards">{"".join(each)}</div>' if entries else ""


def paragraphs(lines: Sequence[str], kind: str = "note") -> str:
    """Write sentences, each a paragraph."""
    return "".join(f'<p class="{kind}">{escape(line)}</p>' for line in lines)


def warnings(lines: Sequence[str]) -> str:
    """Write sentences that must not be overlooked."""
    return f'<div class="warning">{paragraphs(lines, "plain")}</div>' if lines else ""


def columns(*pieces: str) -> str:
    """Set charts side by side where there is room."""
    content = "".join(filter(None, pieces))
    return f'<div class="columns">{content}</div>' if content else ""


def table(found: Table) -> str:
    """Write a table; the first column names the rows, a row called 'all' or 'mean' stands out."""
    if not found.rows:
        return ""
    head = "".join(f'<th scope="col">{escape(word)}</th>' for word in found.head)
    rows = "".join(_row(row) for row in found.rows)
    title = f"<caption>{escape(found.title)}</caption>" if found.title else ""
    body = f'<div class="scroll"><table>{title}<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
    return body + paragraphs(found.notes)


def facts(entries: Mapping[str, str]) -> str:
    """Write names with what they are; empty ones are left out."""
    each = (f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in entries.items() if value)
    return f"<dl>{''.join(each)}</dl>"


def folded(title: str, *pieces: str) -> str:
    """Set pieces aside that open on demand; empty where no piece has content."""
    content = "".join(filter(None, pieces))
    return f"<details><summary>{escape(title)}</summary>{content}</details>" if content else ""


def verbatim(text: str) -> str:
    """Write text as it is, line by line."""
    lines = "\n".join(map(escape, text.split("\n")))
    return f"<pre>{lines}</pre>" if text else ""


def image(data: bytes, description: str, caption: str = "") -> str:
    """Put an image into the page.

    Args:
        data: a PNG or JPEG file.
        description: for those who cannot see it.
        caption: below it; may be empty.

    Raises:
        ValueError: the data is neither.
    """
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f'<figure class="picture"><img src="{data_uri(data)}" alt="{escape(description)}">{below}</figure>'


def gallery(images: Sequence[tuple[bytes, str, str]]) -> str:
    """Set images in a grid, each with a strong and a small line below.

    Args:
        images: file, strong line, small line.
    """
    each = (
        f'<figure><img src="{data_uri(data)}" alt="{escape(name)}">'
        f"<figcaption><b>{escape(name)}</b><br>{escape(note)}</figcaption></figure>"
        for data, name, note in images
    )
    return f'<div class="gallery">{"".join(each)}</div>' if images else ""


def _row(cells: Sequence[str]) -> str:
    total = ' class="total"' if cells[0] in ("all", "mean") else ""
    first = f'<th scope="row">{escape(cells[0])}</th>'
    return f"<tr{total}>{first}{''.join(map(_cell, cells[1:]))}</tr>"


def _cell(text: str) -> str:
    kind = ' class="words"' if len(text) > LONGEST_FIGURE else ""
    return f"<td{kind}>{escape(text)}</td>"
