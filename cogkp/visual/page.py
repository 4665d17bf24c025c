"""A self-contained HTML page: styles and images inside, no script and no links.

Functions return pieces of HTML. Everything that users named is escaped; pieces are joined, never parsed.
"""

from collections.abc import Mapping, Sequence

import attrs

from cogkp.files import MARK
from cogkp.measures.evidence import Table
from cogkp.visual.markup import data_uri, escape

LIGHT = (
    "--back:#fff;--text:#1b1f24;--dim:#57606a;--line:#d8dee4;"
    "--box:#f6f8fa;--bar:#3b7dbd;--far:#c2571a;--warn:#fff4d6;--edge:#bf8700"
)
DARK = (
    "--back:#14171b;--text:#e6e9ed;--dim:#9aa4af;--line:#333a42;"
    "--box:#1d2228;--bar:#5aa5e6;--far:#f08c4a;--warn:#362c12;--edge:#d4a72c"
)

STYLE = f"""
:root{{{LIGHT};color-scheme:light dark}}
.s{{--c:var(--l)}}
@media(prefers-color-scheme:dark){{:root{{{DARK}}}.s{{--c:var(--d)}}}}
*{{box-sizing:border-box}}
body{{margin:0;background:var(--back);color:var(--text);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}}
header,main{{max-width:1180px;margin:0 auto;padding:0 20px}}
header{{padding-top:24px}}
h1{{font-size:1.6rem;line-height:1.25;margin:0;overflow-wrap:anywhere}}
header p{{margin:.25rem 0 0;color:var(--dim);overflow-wrap:anywhere}}
section{{margin:1.6rem 0 2.4rem}}
h2{{font-size:1.2rem;border-bottom:1px solid var(--line);padding-bottom:.3rem;margin:0 0 1rem}}
.cards{{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px}}
.card{{background:var(--box);border:1px solid var(--line);border-radius:8px;padding:10px 14px}}
.card span,.card small{{display:block;color:var(--dim);font-size:.85rem}}
.card b{{font-size:1.35rem;font-weight:600;font-variant-numeric:tabular-nums}}
.warning{{background:var(--warn);border-left:4px solid var(--edge);border-radius:4px;padding:8px 14px;
margin:12px 0}}
.warning p{{margin:.3rem 0}}
.note{{color:var(--dim);font-size:.88rem;margin:.4rem 0}}
.columns{{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,400px),1fr));gap:20px 28px;
align-items:start}}
figure{{margin:0 0 1rem;break-inside:avoid}}
figcaption{{font-weight:600;font-size:.95rem;margin-bottom:.3rem;overflow-wrap:anywhere}}
figure>svg{{display:block;width:100%;max-width:620px;height:auto}}
svg text{{font:13px system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;fill:var(--text)}}
.grid{{stroke:var(--line);stroke-width:1}}
.axis{{stroke:var(--dim);stroke-width:1.2}}
.guide{{stroke:var(--dim);stroke-width:1.2;stroke-dasharray:4 4}}
.mark{{stroke:var(--text);stroke-width:1.2;stroke-dasharray:3 3}}
.line{{fill:none;stroke:var(--c);stroke-width:1.7;stroke-linejoin:round;stroke-linecap:round}}
.strong{{stroke-width:2.8}}
.band{{fill:var(--c);opacity:.16;stroke:none}}
.bar{{fill:var(--bar)}} .far{{fill:var(--far)}}
.whisker{{stroke:var(--bar);stroke-width:3;stroke-linecap:round;opacity:.55}}
.dot{{fill:var(--bar);stroke:var(--back);stroke-width:1.2}}
.legend{{list-style:none;display:flex;flex-wrap:wrap;gap:2px 16px;margin:.3rem 0 0;padding:0;font-size:.88rem}}

.legend svg{{width:26px;height:8px;margin-right:6px}}
.scroll{{overflow-x:auto;margin:0 0 .6rem}}
table{{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums;white-space:nowrap}}
caption{{text-align:left;font-weight:600;padding-bottom:.3rem;caption-side:top}}
th,td{{padding:4px 12px;border-bottom:1px solid var(--line);text-align:right}}
th:first-child,td:first-child{{text-align:left;position:sticky;left:0;background:var(--back);max-width:16rem;
overflow:hidden;text-overflow:ellipsis}}
td.words{{text-align:left;white-space:normal;min-width:16rem;overflow-wrap:anywhere}}
thead th{{color:var(--dim);font-weight:600}} tbody th{{font-weight:500}}
.total th,.total td{{font-weight:650;border-top:2px solid var(--line)}}
dl{{display:grid;grid-template-columns:minmax(7rem,max-content) 1fr;gap:2px 16px;margin:0 0 .8rem;
font-size:.92rem}}
dt{{color:var(--dim)}} dd{{margin:0;overflow-wrap:anywhere}}
.picture img{{display:block;max-width:100%;height:auto;border-radius:4px}}
.picture figcaption{{margin-top:.3rem;font-weight:400}}
.gallery{{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,260px),1fr));gap:16px}}
.gallery img{{display:block;width:100%;height:auto;border-radius:4px}}
.gallery figcaption{{font-weight:400;font-size:.88rem;margin-top:.3rem}}
details{{margin:.5rem 0}} summary{{cursor:pointer;font-weight:600}}
pre{{background:var(--box);border:1px solid var(--line);border-radius:6px;padding:10px;overflow-x:auto;
font-size:.82rem;max-height:34rem}}
.better{{color:var(--text)}}
@media(max-width:520px){{header,main{{padding:0 12px}}dl{{grid-template-columns:1fr}}dt{{margin-top:.4rem}}
.cards{{grid-template-columns:repeat(auto-fit,minmax(130px,1fr))}}
svg text{{font-size:14.5px}}}}
@media print{{:root{{{LIGHT};color-scheme:light}}.s{{--c:var(--l)}}body{{font-size:11pt}}
.scroll{{overflow:visible}}table{{font-size:8pt}}
h2{{break-after:avoid}}section{{margin:.8rem 0}}.gallery{{grid-template-columns:repeat(4,1fr)}}
.columns{{grid-template-columns:1fr 1fr}}pre{{max-height:none;white-space:pre-wrap}}}}
""".strip()


POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
# Figures line up to the right; what is longer is a sentence.
LONGEST_FIGURE = 34


@attrs.frozen
class Card:
    """One figure worth a glance: what it is, its value with unit, and small print, such as the interval."""

    label: str
    value: str
    note: str = ""


def page(title: str, subtitle: str, sections: Sequence[str]) -> str:
    """Make the whole file of its pieces, in order, below a title and a subtitle of one line."""
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
    """Put a PNG or JPEG file, else ValueError, into the page, with a description for those who cannot see it."""
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f'<figure class="picture"><img src="{data_uri(data)}" alt="{escape(description)}">{below}</figure>'


def gallery(images: Sequence[tuple[bytes, str, str]]) -> str:
    """Set images in a grid, each file with a strong and a small line below."""
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
