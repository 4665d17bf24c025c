"""Errors are lines that show what they name, and names are shown instead of obeyed wherever text leaves."""

from __future__ import annotations

import copy
import json
import pickle
import unicodedata

import pytest
from cogkp_cli.console import Console, complain
from cogkp_cli.progress import Bars, Lines, _bar, facts_text
from hypothesis import given
from hypothesis import strategies as st

from cogkp.errors import ConfigError, DataError, OutputError, Problem, printable
from cogkp.files import json_text, write_json
from cogkp.measures.evidence import Table
from cogkp.measures.figures import table_lines
from cogkp.visual import page

NASTY = {
    "escape sequence": "tip\x1b[31mred\x1b]0;title\x07",
    "one-byte sequence": "tip\x9b31m",
    "line break": "tip\nerror: all is well",
    "carriage return": "tip\rdone",
    "other breaks": "tip\x0b\x0c\x1c\x85\u2028\u2029",
    "backspace": "tip\b\b\b\x7f",
    "bidi override": "tip\u202egnp.txe\u202c",
    "bidi isolate": "tip\u2066x\u2069\u200e\u200f\u061c",
    "invisible": "ti\u200bp\ufeff\u00ad\u2060",
    "tags": "tip\U000e0041",
    "lone surrogate": "tip\udcff\ud800",
    "null": "tip\0",
}
ANY = st.text(st.characters()) | st.sampled_from(sorted(NASTY.values()))


def harmless(text, breaks=False):
    """No character that is obeyed; joiners, which are letters in some scripts, may stay."""
    kept = text.replace("\n", "") if breaks else text
    return not any(
        unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp")
        or unicodedata.bidirectional(letter) in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
        for letter in kept
    )


@given(ANY)
def test_what_is_printed_is_shown(text):
    shown = printable(text)
    assert harmless(shown)
    assert shown.encode("utf-8").decode("utf-8") == shown
    assert printable(shown) == shown, "escaping twice changes nothing"


@pytest.mark.parametrize(
    "text", ["Größe 3 µm", "点 tip", "\u0646\u0642\u0637\u0647\u200c\u0647\u0627", "a\\b", "🙂", "a\u00a0b", ""]
)
def test_letters_stay_as_they_are(text):
    assert printable(text) == text


@pytest.mark.parametrize("name", NASTY)
def test_every_way_out_shows_what_it_is_given(tmp_path, capsys, name):
    text = NASTY[name]
    assert printable(text) != text
    for error in (OutputError(text, where=text, expected=text, got=text, hint=text), ConfigError([Problem(text)])):
        assert harmless(str(error))
    assert harmless(str(DataError.listing([Problem(text), Problem(text)])), breaks=True)
    table = Table(text, (text, "px"), ((text, text),), (text,))
    assert harmless("".join(table_lines(table)))
    assert len({len(line) for line in table_lines(table)[1:3]}) == 1
    pieces = [
        page.table(table),
        page.paragraphs([text]),
        page.facts({text: text}),
        page.folded(text, text and "<p></p>"),
    ]
    whole = page.page(text, text, [*pieces, page.verbatim(text)])
    assert harmless(whole, breaks=True)
    assert whole.encode()
    complain(text)
    Console(as_json=False).say(text)
    Console(as_json=True).say(text)
    with Lines().work(text, 1) as step:
        step.advance(1, stage=text)
    out, err = capsys.readouterr()
    assert harmless(out + err, breaks=True)
    assert harmless(facts_text({text: text}))
    write_json(tmp_path / "a.json", {text: text})
    stored = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert harmless(stored, breaks=True)
    assert json.loads(stored) == {text: text}


@given(st.dictionaries(ANY, ANY))
def test_json_reads_back_as_it_was(content):
    assert json.loads(json_text(content)) == content
    assert json_text({"ü": "µ"}) == '{"ü": "µ"}'


def test_each_of_several_problems_has_its_line():
    problems = [Problem("one\ntwo", "a"), Problem("three")]
    for error in (ConfigError(problems), DataError.listing(problems)):
        assert str(error) == "one\\ntwo @ a\nthree"
        for twin in (copy.copy(error), pickle.loads(pickle.dumps(error))):
            assert str(twin) == str(error)
    assert str(DataError.listing([Problem("x")] * 30)).splitlines()[-1] == "... and 10 more"


def test_a_bar_shows_what_rich_would_obey(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    with _bar() as bar, Bars(bar).work("[red]tip[/red]\x1b[2J", 1) as step:
        step.advance(1, stage="[blink]\x07")
    shown = capsys.readouterr().err
    assert "[red]tip[/red]\\x1b[2J" in shown
    assert "stage [blink]\\x07" in shown
