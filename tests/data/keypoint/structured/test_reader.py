"""Reading data sets: the rules of a record, and every faulty line named in one error."""

import json
import logging

import numpy as np
import pytest

from cogkp.config.keypoint.spec import DataMappings
from cogkp.data.images import write_png
from cogkp.data.keypoint.structured import StructuredDataset, find, read_lines
from cogkp.errors import DataError

STEREO = DataMappings(
    x=("LL.image", "LR.image"),
    y=(("LL.tip", "LL.end"), ("LR.tip", "LR.end")),
    mask=("LL.mask", "LR.mask"),
    valid="debug.valid",
)


def data_set(root, *lines):
    """Write lines as they are, beside one image that all may name."""
    root.mkdir(exist_ok=True)
    write_png(root / "a.png", np.zeros((4, 6), np.uint8))
    text = (line if isinstance(line, str) else json.dumps(line) for line in lines)
    (root / "data.jsonl").write_text("".join(f"{line}\n" for line in text))
    return root


def line(**point):
    return {"B": {"image": "a.png", "tip_point": [1.0, 2.0]} | point}


def problem(root, mappings=None):
    with pytest.raises(DataError) as caught:
        StructuredDataset(root).index(mappings or DataMappings())
    return str(caught.value)


def only_view(root):
    (record,) = StructuredDataset(root).index(DataMappings()).records
    return record.views[0]


def test_a_datakey_is_a_path_a_literal_name_and_a_place_in_a_list():
    content = {"a": {"b": [{"c": 1}, {"c": 2}]}, "a.b": 3, "x": {"y.z": 4}}
    assert find(content, "a.b.1.c") == 2
    assert find(content, "a.b") == 3
    assert find(content, "x.y.z") == 4
    for absent in ("a.c", "a.b.2.c", "a.b.-1.c", "a.b.0.c.d", "", "."):
        assert find(content, absent) is None


def test_a_stereo_line_becomes_two_views(tmp_path):
    eye = {"image": {"path": "a.png"}, "tip": [1, 2], "end": {"x": 3.5, "y": -4}, "mask": "a.png"}
    index = StructuredDataset(data_set(tmp_path, {"LL": eye, "LR": {**eye, "mask": None}})).index(STEREO)
    left, right = index.records[0].views
    assert (left.camera, right.camera) == ("LL", "LR")
    assert (left.mask, right.mask) == (tmp_path / "a.png", None)
    assert left.uv_source.tolist() == [[1.0, 2.0], [3.5, -4.0]]
    assert left.labelled.all()


@pytest.mark.parametrize(
    "point", ["null", "[null, null]", "[1, null]", '{"x": null, "y": 2}', "[NaN, 1]", "[1, Infinity]", "[1, 1e999]"]
)
def test_null_and_numbers_without_end_mean_not_labelled(tmp_path, point):
    view = only_view(data_set(tmp_path, f'{{"B": {{"image": "a.png", "tip_point": {point}}}}}'))
    assert not view.labelled.any()
    assert view.uv_source.tolist() == [[0.0, 0.0]]


def test_an_absent_point_is_not_labelled(tmp_path):
    assert not only_view(data_set(tmp_path, {"B": {"image": "a.png"}})).labelled.any()


def test_an_endless_integer_is_not_labelled(tmp_path):
    assert not only_view(data_set(tmp_path, line(tip_point=[10**400, 1]))).labelled.any()


def test_a_label_outside_the_frame_stays_as_it_is(tmp_path):
    assert only_view(data_set(tmp_path, line(tip_point=[-50, 9999]))).uv_source.tolist() == [[-50.0, 9999.0]]


@pytest.mark.parametrize(
    "point", ["1,2", ["1", "2"], [1], [1, 2, 3], [[1, 2]], 7, True, [True, 1], {"x": 1}, {"u": 1, "v": 2}]
)
def test_a_point_that_is_none_is_named_with_file_line_and_datakey(tmp_path, point):
    text = problem(data_set(tmp_path, line(), line(tip_point=point)))
    assert "\n" not in text
    assert f"{tmp_path / 'data.jsonl'}:2 B.tip_point" in text


@pytest.mark.parametrize("image", [7, "", True, ["a.png"], {"path": 3}])
def test_an_image_that_is_no_name_is_refused(tmp_path, image):
    assert "expected a relative path" in problem(data_set(tmp_path, line(image=image)))


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../a.png", "x/../../a.png", "C:\\a.png", "\\\\host\\a.png", "..\\a.png", "a\0.png", "//a"]
)
def test_a_path_that_leaves_the_root_is_refused(tmp_path, name):
    assert "leaves the data set" in problem(data_set(tmp_path, line(image=name)))


def test_links_may_stay_inside_but_not_leave(tmp_path):
    root = data_set(tmp_path / "set", line(image="inner.png"), line(image="outer.png"), line(image="folder/a.png"))
    write_png(tmp_path / "a.png", np.zeros((4, 6), np.uint8))
    (root / "inner.png").symlink_to(root / "a.png")
    (root / "outer.png").symlink_to(tmp_path / "a.png")
    (root / "folder").symlink_to(tmp_path)
    text = problem(root)
    assert [part.split(" ")[0] for part in text.split("data.jsonl:")[1:]] == ["2", "3"]


def test_the_root_itself_may_be_a_link(tmp_path):
    (tmp_path / "link").symlink_to(data_set(tmp_path / "real", line()))
    assert only_view(tmp_path / "link").image == tmp_path / "link" / "a.png"


def test_files_that_are_missing_or_empty_are_found_before_training(tmp_path):
    root = data_set(tmp_path, line(image="gone.png"), line(), line(image="empty.png"), line(image="x" * 300))
    (root / "empty.png").touch()
    first, second, third = problem(root).splitlines()
    assert "does not exist" in first
    assert "is empty" in second
    assert "data.jsonl:4" in third


def test_all_faulty_lines_are_listed_up_to_a_limit(tmp_path):
    root = data_set(tmp_path, line(), "{broken", "[1, 2]", "\xff", line(tip_point="x"), *["nonsense"] * 40)
    (root / "data.jsonl").write_bytes((root / "data.jsonl").read_bytes().replace("\xff".encode(), b"\xff\xfe"))
    lines = problem(root).splitlines()
    assert len(lines) == 21
    assert [f"data.jsonl:{number}" in text for number, text in enumerate(lines[:-1], start=2)] == [True] * 20
    assert "not JSON" in lines[0]
    assert "expected a JSON object, got list" in lines[1]
    assert "expected UTF-8" in lines[2]
    assert lines[-1] == "... and 24 more"


def test_blank_lines_count_but_say_nothing(tmp_path):
    root = data_set(tmp_path, "", line(), "   ", line())
    assert [number for number, _content in read_lines(root)] == [2, 4]


@pytest.mark.parametrize("text", ["[" * 100_000, "1" * 5000])
def test_json_beyond_pythons_limits_is_a_faulty_line(tmp_path, text):
    with pytest.raises(DataError, match="jsonl:1"):
        read_lines(data_set(tmp_path, text))


def test_lines_without_an_image_or_with_a_false_flag_are_left_out_and_told(tmp_path, caplog):
    eye = {"image": "a.png"}
    whole = {"LL": eye, "LR": eye}
    root = data_set(
        tmp_path, whole, {"LL": eye}, whole | {"debug": {"valid": False}}, {"LL": eye, "LR": {"image": None}}, whole
    )
    with caplog.at_level(logging.WARNING, logger="cogkp"):
        index = StructuredDataset(root).index(STEREO)
    assert [record.line for record in index.records] == [1, 5]
    assert index.dropped == {"no LR.image": 2, "debug.valid is false": 1}
    assert "2 of 5 lines left out: no LR.image" in caplog.text


def test_a_flag_that_is_neither_true_nor_false_is_refused(tmp_path):
    eye = {"image": "a.png"}
    assert "debug.valid" in problem(data_set(tmp_path, {"LL": eye, "LR": eye, "debug": {"valid": "no"}}), STEREO)


def test_a_folder_that_is_no_data_set_is_named(tmp_path):
    assert "does not exist" in problem(tmp_path / "nowhere")
    assert "expected a file data.jsonl" in problem(tmp_path)
    (tmp_path / "data.jsonl").mkdir()
    assert "cannot be read" in problem(tmp_path)
