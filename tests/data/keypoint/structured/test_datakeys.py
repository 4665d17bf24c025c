"""A datakey that no line has is a mistake of the configuration, not a point that nobody labelled."""

import json
import logging

import attrs
import numpy as np
import pytest

from cogkp.config.keypoint.spec import DataMappings
from cogkp.data.images import write_png
from cogkp.data.keypoint.dataset import open_roots
from cogkp.errors import DataError

MAPPINGS = DataMappings(
    x=("LL.image",), y=(("LL.tip", "LL.end"),), mask=("LL.mask",), valid="debug.valid", xyz_world=("t.tip", "t.end")
)


def line(**view):
    eye = {"image": "a.png", "mask": None, "tip": [1.0, 2.0], "end": {"x": 3.0, "y": 1.0}} | view
    return {"LL": eye, "debug": {"valid": True}, "t": {"tip": [0, 0, 9], "end": None}}


def data_set(root, *lines):
    root.mkdir()
    write_png(root / "a.png", np.zeros((4, 6), np.uint8))
    (root / "data.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(root)


def refusal(mappings, *roots):
    with pytest.raises(DataError) as caught:
        open_roots(roots, mappings)
    return str(caught.value)


def test_keys_that_all_lines_have_open_without_a_word(tmp_path, caplog):
    (index,) = open_roots([data_set(tmp_path / "a", line(), line(end=None))], MAPPINGS)
    assert set(index.occurrences.values()) == {2}
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("setting", "value", "where", "hint"),
    [
        ("x", ("LL.imgae",), "x[0]", "LL.image"),
        ("x", ("LL.Image",), "x[0]", "LL.image"),
        ("y", (("LL.tpi", "LL.end"),), "y[0][0]", "LL.tip"),
        ("y", (("LL.tip", "LL.End"),), "y[0][1]", "LL.end"),
        ("y", (("tip", "LL.end"),), "y[0][0]", "LL.tip"),
        ("mask", ("LL.maks",), "mask[0]", "LL.mask"),
        ("valid", "debug.vaild", "valid", "debug.valid"),
        ("valid", "Debug.Valid", "valid", "debug.valid"),
        ("valid", "valid", "valid", "debug.valid"),
        ("xyz_world", ("t.tip", "t.ende"), "xyz_world[1]", "t.end"),
    ],
)
def test_a_key_that_no_line_has_is_refused_with_the_closest_one(tmp_path, setting, value, where, hint):
    text = refusal(attrs.evolve(MAPPINGS, **{setting: value}), data_set(tmp_path / "a", line(), line()))
    assert "\n" not in text
    assert f"{tmp_path}/a/data.jsonl data_mappings.{where}" in text
    assert f"Did you mean '{hint}'?" in text


def test_all_absent_keys_are_listed_and_a_mapped_key_is_no_hint(tmp_path):
    text = refusal(attrs.evolve(MAPPINGS, y=(("LL.tip", "LL.tips"),), valid="ok"), data_set(tmp_path / "a", line()))
    first, second = text.splitlines()
    assert "'LL.tips'" in first
    assert "mean 'LL.tip'" not in first
    assert "data_mappings.valid" in second


def test_each_root_must_have_each_key(tmp_path):
    bare = line()
    del bare["LL"]["end"]
    roots = data_set(tmp_path / "a", line()), data_set(tmp_path / "b", bare)
    text = refusal(MAPPINGS, *roots)
    assert f"{tmp_path}/b/data.jsonl" in text
    assert f"{tmp_path}/a" not in text


@pytest.mark.parametrize("absent", [None, [None, None], [float("nan"), 1.0]])
def test_a_point_that_is_null_everywhere_is_there(tmp_path, absent):
    (index,) = open_roots([data_set(tmp_path / "a", line(end=absent))], MAPPINGS)
    assert index.labelled.tolist() == [[[True, False]]]


def test_keys_of_lines_that_are_left_out_count(tmp_path):
    other = line()
    other["debug"]["valid"] = False
    bare = line()
    del bare["LL"]["end"]
    open_roots([data_set(tmp_path / "a", bare, other)], MAPPINGS)


def test_a_key_of_few_lines_is_told_with_the_count_and_the_closest(tmp_path, caplog):
    lines = [line() for _ in range(2)]
    for _ in range(8):
        lines.append(line(endd=[1.0, 1.0]))
        del lines[-1]["LL"]["end"]
    with caplog.at_level(logging.WARNING, "cogkp"):
        open_roots([data_set(tmp_path / "a", *lines)], MAPPINGS)
    assert "the datakey 'LL.end' stands in 2 of 10 lines. Did you mean 'LL.endd'?" in caplog.text
    assert caplog.text.count("stands in") == 1


def test_a_flag_that_some_lines_lack_is_always_told(tmp_path, caplog):
    lines = [line() for _ in range(4)]
    del lines[2]["debug"]
    open_roots([data_set(tmp_path / "a", *lines)], MAPPINGS)
    assert "'debug.valid' stands in 3 of 4 lines; a line without it counts as valid" in caplog.text


def test_keys_in_lists_and_with_dots_in_them_are_found(tmp_path):
    flat = {"LL.image": "a.png", "pts": [[1, 2], [3, 1]]}
    root = data_set(tmp_path / "a", flat)
    (index,) = open_roots([root], DataMappings(x=("LL.image",), y=(("pts.0", "pts.1"),)))
    assert index.labelled.all()
    assert "Did you mean 'LL.image'?" in refusal(DataMappings(x=("LL.img",), y=(("pts.0", "pts.1"),)), root)
    assert "'pts.2'" in refusal(DataMappings(x=("LL.image",), y=(("pts.0", "pts.2"),)), root)


def test_points_that_nobody_asks_for_need_no_key(tmp_path, caplog):
    bare = {"LL": {"image": "a.png", "mask": "a.png"}}
    root = data_set(tmp_path / "a", bare)
    mappings = DataMappings(x=("LL.image",), y=(("LL.tip",),), mask=("LL.mask",))
    open_roots([root], mappings, "unused")
    assert caplog.text == ""
    open_roots([root], mappings, "some roots")
    assert "none of the 1 mapped points is labelled" in caplog.text
    assert "LL.tip" in refusal(mappings, root)


def test_a_key_whose_accents_are_written_another_way_is_named_so_that_it_shows(tmp_path):
    composed, apart = "p\u00f4le", "po\u0302le"
    root = data_set(tmp_path / "a", {"image": "a.png", apart: [1, 2]})
    text = refusal(DataMappings(x=("image",), y=((composed,),)), root)
    assert r"Did you mean 'po\u0302le'" in text
    assert r"'p\xf4le'" in text


def test_places_in_space_that_are_null_everywhere_are_told(tmp_path, caplog):
    bare = line()
    bare["t"] = {"tip": None, "end": None}
    open_roots([data_set(tmp_path / "a", bare)], MAPPINGS)
    assert "no line says where a point is" in caplog.text
