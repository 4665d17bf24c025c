import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cogkp.config.overrides import merged, read_override, read_overrides
from cogkp.errors import ConfigError

FORMS = [
    ("a=1", {"a": 1}),
    ("a.b.c=v", {"a": {"b": {"c": "v"}}}),
    ("train.gpu_ids=[0,1]", {"train": {"gpu_ids": [0, 1]}}),
    ("a=[ 0 , [1, x y] , 'b,c' ]", {"a": [0, [1, "x y"], "b,c"]}),
    ("a=[]", {"a": []}),
    ("a={}", {"a": {}}),
    ("a={b:1}", {"a": {"b": 1}}),
    ("a={b: 1e-4, c: [30], 'd e': {f: null}}", {"a": {"b": 1e-4, "c": [30], "d e": {"f": None}}}),
    ("a=null", {"a": None}),
    ("a=", {"a": ""}),
    ("a=  ", {"a": ""}),
    ("a=''", {"a": ""}),
    ("a=True", {"a": True}),
    ("a='True'", {"a": "True"}),
    ('a="1"', {"a": "1"}),
    ("a='it\\'s'", {"a": "it's"}),
    ('a="say \\"so\\""', {"a": 'say "so"'}),
    ("a='C:\\dir\\new'", {"a": "C:\\dir\\new"}),
    ("a='end\\\\'", {"a": "end\\"}),
    ("a=-3", {"a": -3}),
    ("a=6e-05", {"a": 6e-5}),
    ("a=010", {"a": "010"}),
    ("a= two words ", {"a": "two words"}),
    ("a=/path/to-a/b_c.pth", {"a": "/path/to-a/b_c.pth"}),
    ("a=epoch=3.pth", {"a": "epoch=3.pth"}),
    ("a=C:/x", {"a": "C:/x"}),
    ("a=conv1:fp16", {"a": "conv1:fp16"}),
    ("a=b\\,c", {"a": "b,c"}),
    ("a=\\[0\\]", {"a": "[0]"}),
    ("a=run\\(1\\)", {"a": "run(1)"}),
    ("a=???", {"a": "???"}),
    ("a=${b.c}", {"a": "${b.c}"}),
    ("a=${b.c}/x", {"a": "${b.c}/x"}),
    ("a=[${b.c},${b.d}]", {"a": ["${b.c}", "${b.d}"]}),
    ("a={b: ${.c}}", {"a": {"b": "${.c}"}}),
    ("a='${b} and c'", {"a": "${b} and c"}),
    ("a=\\${b}", {"a": "\\${b}"}),
]


@pytest.mark.parametrize(("text", "document"), FORMS, ids=[text for text, _ in FORMS])
def test_forms(text, document):
    assert repr(read_override(text).value) == repr(document)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("train.lr", "not an override @ the command line: expected section.key=value, got 'train.lr'"),
        ("=3", "not an override"),
        ("a..b=3", "not an override"),
        (".a=3", "not an override"),
        ("+a=3", "Every key exists already: write key=value."),
        ("++a.b=3", "Every key exists already"),
        ("~a", "Every key exists already"),
        ("a=1,2", "Put a list in square brackets."),
        ("a=[1,2", "expected ',' at the end"),
        ("a=[1,,2]", "unreadable value"),
        ("a=[1 2] x", "one value"),
        ("a=x[0]", "Put text with such letters in quotes."),
        ("a={b}", "expected ':'"),
        ("a={b: 1, b: 2}", "each key once"),
        ("a={1: 2}", "each key once, a word"),
        ("a='open", "a closing '"),
        ("a='b' c", "one value"),
        ("a=" + "[" * 3000, "at most 50 deep"),
        ("a=" + "{b:" * 3000, "at most 50 deep"),
        ("a=choice(1,2)", "unreadable value"),
        ("a=range(3)", "Functions and sweeps are not available"),
    ],
)
def test_what_is_none(text, words):
    with pytest.raises(ConfigError) as caught:
        read_override(text)
    (problem,) = caught.value.problems
    assert words in str(problem)
    assert "\n" not in str(problem)


def test_all_mistakes_are_told_at_once():
    documents, problems = read_overrides(["a=1", "b", "c=[", "d=2"])
    assert [document.value for document in documents] == [{"a": 1}, {"d": 2}]
    assert [problem.got for problem in problems] == ["'b'", "'c=['"]


def test_places_name_the_override():
    found = read_override("a.b={c: [1, 2]}")
    assert set(found.places.values()) == {"the override 'a.b={c: [1, 2]}'"}
    assert set(found.places) == {("a", "b"), ("a", "b", "c"), ("a", "b", "c", 0), ("a", "b", "c", 1)}


def test_objects_are_joined_and_all_else_is_replaced():
    base = {"a": {"b": 1, "c": {"d": [1, 2]}}, "e": 5}
    assert merged(base, {"a": {"c": {"d": [3]}}}) == {"a": {"b": 1, "c": {"d": [3]}}, "e": 5}
    assert merged(base, {"a": None, "e": {"f": 1}}) == {"a": None, "e": {"f": 1}}
    assert base == {"a": {"b": 1, "c": {"d": [1, 2]}}, "e": 5}


def quoted(text):
    """Put a text in quotes as a user would: backslashes doubled before a quote, and the quote escaped."""
    out, run = [], 0
    for letter in text:
        if letter == "\\":
            run += 1
        else:
            out.append("\\" * (2 * run + 1) + letter if letter == "'" else "\\" * run + letter)
            run = 0
    return "'" + "".join(out) + "\\" * (2 * run) + "'"


@given(st.text(st.sampled_from("ab'\"\\ ,[]{}:=$"), max_size=12))
@settings(max_examples=200, deadline=None)
def test_quotes_hold_any_text(text):
    assert read_override(f"a={quoted(text)}").value == {"a": text}
    assert read_override(f"a=[{quoted(text)},1]").value == {"a": [text, 1]}


@given(st.text(st.sampled_from("ab1'\"\\ ,[]{}:=${}?~+()"), max_size=14))
@settings(max_examples=300, deadline=None)
def test_no_text_gives_another_error(text):
    with contextlib.suppress(ConfigError):
        assert isinstance(read_override(text).value, dict)
