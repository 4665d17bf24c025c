import contextlib
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cogkp.config.interpolation import interpolated
from cogkp.config.yaml_reading import plain_value, read_yaml, yaml_text
from cogkp.errors import ConfigError
from tests.builders.experiments import NAMES, PAGE_EXAMPLE


def read(tmp_path, text):
    path = tmp_path / "spec.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_yaml(str(path))


def refusal(tmp_path, text):
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    (problem,) = caught.value.problems
    assert "\n" not in str(problem)
    return str(problem)


WORDS = [
    ("null", None), ("~", None), ("", None), ("Null", None),
    ("true", True), ("True", True), ("yes", True), ("ON", True),
    ("false", False), ("FALSE", False), ("No", False), ("off", False),
    ("0", 0), ("-12", -12), ("+3", 3), ("1_000", 1000),
    ("6e-05", 6e-5), ("6E5", 6e5), ("1.", 1.0), (".5", 0.5), ("-1.5e+3", -1500.0), ("1_0.5", 10.5), (".inf", math.inf),
    ("-.INF", -math.inf),
    ("010", "010"), ("1:30", "1:30"), ("2024-01-01", "2024-01-01"), ("0x10", "0x10"), ("1__0", "1__0"), ("_1", "_1"),
    ("tRue", "tRue"), ("inf", "inf"), ("e5", "e5"), ("fan_small", "fan_small"), ("/a/b", "/a/b"), ("9" * 5000,) * 2,
]  # fmt: skip


@pytest.mark.parametrize(("text", "value"), WORDS, ids=[text[:20] for text, _ in WORDS])
def test_words_without_quotes(tmp_path, text, value):
    for found in (plain_value(text), read(tmp_path, f"key: {text}\n").value["key"]):
        assert found == value
        assert type(found) is type(value)


def test_not_a_number_is_one_here():
    assert math.isnan(plain_value(".nan"))
    assert math.isnan(plain_value(".NaN"))


def test_quotes_make_text_of_any_word(tmp_path):
    assert read(tmp_path, "a: '1'\nb: \"null\"\nc: |\n  yes\nd: !!str 5\n").value | {"d": 0} == {
        "a": "1", "b": "null", "c": "yes\n", "d": 0,
    }  # fmt: skip


def test_every_value_knows_its_line(tmp_path):
    found = read(tmp_path, PAGE_EXAMPLE)
    lines = PAGE_EXAMPLE.splitlines()
    keys = {path: place for path, place in found.places.items() if path and isinstance(path[-1], str)}
    assert len(keys) == 28
    for path, place in keys.items():
        assert lines[int(place.rsplit(" ", 1)[1]) - 1].strip().startswith(f"{path[-1]}:")
    assert found.place(("train", "optim", "lr")).endswith("spec.yaml, line 22")
    assert found.place(("train", "optim", "nothing", 3)) == found.place(("train", "optim"))
    assert found.place(("nothing",)).endswith("spec.yaml")


def test_names_for_parts_stand_for_copies(tmp_path):
    found = read(tmp_path, "a: &part {x: 1, y: [2]}\nb: *part\n")
    assert found.value == {"a": {"x": 1, "y": [2]}, "b": {"x": 1, "y": [2]}}


@pytest.mark.parametrize(
    ("text", "value"), [("", {}), ("# nothing\n", {}), ("---\na: 1\n", {"a": 1}), ("\ufeffa: 1", {"a": 1})]
)
def test_small_files(tmp_path, text, value):
    assert read(tmp_path, text).value == value


@pytest.mark.parametrize(
    ("text", "path", "what"),
    [
        ("a: 1\nb: 2\na: 3\n", ("a",), "key given twice"),
        ("a:\n  b: 1\n  'b': 2\n", ("a", "b"), "key given twice"),
        ("a: !!python/object:os.system {}\n", ("a",), "unknown tag"),
        ("a: !mine 3\n", ("a",), "unknown tag"),
        ("a: !!int '3'\n", ("a",), "unknown tag"),
        ("a:\n  ? [1]\n  : 2\n", ("a",), "unusable key"),
    ],
)
def test_doubts_are_findings(tmp_path, text, path, what):
    (finding,) = read(tmp_path, text).findings
    assert (finding.path, finding.what) == (path, what)


MULTIPLYING = "".join(
    f"{new}: &{new} [{','.join([f'*{old}'] * 8)}]\n" for old, new in zip("abcdefg", "bcdefgh", strict=True)
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [1,\n", "broken YAML @ "),
        ("a: 1\n b: 2\n", "line 2 column"),
        ("a: *nobody\n", "undefined alias"),
        ("a: 1\n---\nb: 2\n", "but found another document"),
        ("a: \x07\n", "broken YAML"),
        ('a: "\\${b}"\n', "unknown escape character"),
        ("a: &a [*a]\n", "a part that holds itself"),
        (b"a: \xff\n", "not UTF-8 text"),
        ("[" * 800, "nested too deeply"),
        ("[" * 200 + "]" * 200, "nested too deeply"),
        ("a: &a [1,1,1,1,1,1,1,1]\n" + MULTIPLYING, "more than 100000 values"),
    ],
    ids=range(11),
)  # fmt: skip
def test_unusable_files_give_one_line(tmp_path, text, words):
    line = refusal(tmp_path, text)
    assert words in line
    assert "spec.yaml" in line


def test_a_missing_file_gives_one_line(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot read the spec @ .*none\.yaml: got No such file"):
        read_yaml(str(tmp_path / "none.yaml"))


def test_mutilated_files_never_give_another_error(tmp_path):
    random_ = random.Random(0)
    whole = PAGE_EXAMPLE.encode()
    for _ in range(200):
        start, length = random_.randrange(len(whole)), random_.choice((1, 1, 3, 5000))
        with contextlib.suppress(ConfigError):
            read(tmp_path, whole[:start] + random_.randbytes(random_.randrange(3)) + whole[start + length :])


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | NAMES | st.just(""),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=6,
)
DOCUMENTS = st.recursive(
    st.dictionaries(NAMES, PLAIN, min_size=1, max_size=4),
    lambda inner: st.dictionaries(NAMES, inner, min_size=1, max_size=3),
    max_leaves=8,
)


@given(DOCUMENTS)
@settings(max_examples=100, deadline=None)
def test_what_is_written_reads_back(tmp_path_factory, document):
    path = tmp_path_factory.mktemp("yaml") / "spec.yaml"
    path.write_bytes(yaml_text(document, lambda steps: f"about {len(steps)}").encode())
    found = read_yaml(str(path))
    value, unclear = interpolated(found.value, {})
    assert (found.findings, unclear) == ((), [])
    assert repr(value) == repr(document)
