import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cogkp.config.interpolation import interpolated, literal

DEFAULTS = {"train": {"num_epochs": 10, "lr": 0.5, "gpu_ids": [3, 4], "optim": {"steps": [1]}}, "out": "/results"}


def result(value, **more):
    found, wrong = interpolated({"x": {"y": value}, **more}, DEFAULTS)
    assert wrong == []
    return found["x"]["y"]


def mistake(value, **more):
    found, (finding,) = interpolated({"x": {"y": value}, **more}, DEFAULTS)
    assert finding.path == ("x", "y")
    assert found["x"]["y"] == value
    return str(finding.problem())


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${train.num_epochs}", 10),
        ("${train.gpu_ids}", [3, 4]),
        ("${train.gpu_ids[1]}", 4),
        ("${train.gpu_ids.1}", 4),
        ("${train.optim}", {"steps": [1]}),
        ("${out}/best", "/results/best"),
        ("${out}/${train.num_epochs}-${train.lr}", "/results/10-0.5"),
        ("$ {a} and $x", "$ {a} and $x"),
        ("\\${out}", "${out}"),
        ("\\\\${out}", "\\/results"),
        ("a\\${out}b", "a${out}b"),
        ("\\a", "\\a"),
        (["${out}", {"z": "${train.lr}"}], ["/results", {"z": 0.5}]),
        (7, 7),
        ("???", "???"),
    ],
)  # fmt: skip
def test_what_words_stand_for(text, value):
    assert repr(result(text)) == repr(value)


def test_the_document_goes_before_the_defaults():
    assert result("${train.num_epochs}", train={"num_epochs": 3}) == 3
    assert result("${train.lr}", train={"num_epochs": 3}) == 0.5


def test_leading_dots_count_from_the_place():
    document = {"a": {"b": "${.c}", "c": 1, "d": {"e": "${..c}", "f": "${...out}"}}, "out": "here"}
    found, wrong = interpolated(document, {})
    assert wrong == []
    assert found == {"a": {"b": 1, "c": 1, "d": {"e": 1, "f": "here"}}, "out": "here"}


def test_chains_are_followed_to_their_end():
    document = {"a": "${b}", "b": ["${c.d}"], "c": {"d": "${e}!"}, "e": 5}
    assert interpolated(document, {})[0] == {"a": ["5!"], "b": ["5!"], "c": {"d": "5!"}, "e": 5}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("${train.num_epoch}", "no such value @ x.y: expected the path of a value, got '${train.num_epoch}'. Did you"),
        ("${train.num_epoch}", "Did you mean 'num_epochs'?"),
        ("${trian.lr}", "no such value"),
        ("${train.gpu_ids[2]}", "no such value"),
        ("${out.deeper}", "no such value"),
        ("${x.y}", "values that refer to each other @ x.y: expected a value at the end, got 'x.y -> x.y'"),
        ("${.y}", "values that refer to each other"),
        ("${x}", "values that refer to each other"),
        ("${oc.env:HOME}", "Values from outside the file are not read."),
        ("${}", "not an interpolation"),
        ("${a b}", "not an interpolation"),
        ("${...a}", "not an interpolation"),
        ("${train.lr", "not an interpolation"),
        ("${train.${out}}", "not an interpolation"),
        ("${out}${", "not an interpolation"),
        ("a${train.gpu_ids}", "cannot stand inside a text"),
    ],
)  # fmt: skip
def test_what_cannot_be_found(text, words):
    assert words in mistake(text)


def test_a_ring_is_reported_where_each_of_its_values_stands():
    found, wrong = interpolated({"a": "${b}", "b": "${c}", "c": "${a}", "d": "${e}", "e": 1}, {})
    assert [finding.path for finding in wrong] == [("a",), ("b",), ("c",)]
    assert "a -> b -> c -> a" in wrong[0].got
    assert found["d"] == 1


def test_all_mistakes_are_told_at_once():
    _, wrong = interpolated({"a": "${no}", "b": ["${no}", 1, "${nor}"]}, {})
    assert [finding.path for finding in wrong] == [("a",), ("b", 0), ("b", 2)]


def test_values_that_multiply_are_refused():
    document = {"v0": 1} | {f"v{i + 1}": [f"${{v{i}}}"] * 10 for i in range(12)}
    _, wrong = interpolated(document, {})
    assert wrong
    assert {finding.what for finding in wrong} == {"too many values"}


@given(st.lists(st.sampled_from((*"ab\\$ {}.", "${", "${a}")), max_size=9).map("".join))
@settings(max_examples=200, deadline=None)
def test_a_literal_reads_as_itself(text):
    assert interpolated({"a": literal(text)}, {}) == ({"a": text}, [])
