"""Style sheet of the HTML pages: light and dark, wide and narrow, screen and paper."""

from __future__ import annotations

__all__ = ["STYLE"]

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
