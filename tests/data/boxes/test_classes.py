"""Objects of another class than the experiment's are neither trained nor judged, and told."""

import logging

import numpy as np
import pytest

from cogkp.data.boxes.check import check_root
from cogkp.data.boxes.dataset import ObjectDataset
from cogkp.data.boxes.reader import read_objectron
from cogkp.errors import DataError
from tests.builders.box_files import annotation, box, spoilt, write


def folder(root, *classes):
    """Write one image for each tuple of classes; None leaves the class out."""
    for number, words in enumerate(classes):
        content = annotation(boxes=[box(index) for index in range(len(words))]) if words else annotation()
        content["objects"] = content["objects"][: len(words)]
        for place, word in enumerate(words):
            content = spoilt(content, f"objects.{place}.class", ... if word is None else word)
        write(root, str(number), content)
    return root


def kept(root, category="crate"):
    return [len(record.boxes) for record in read_objectron(root, category=category).records]


def test_other_classes_are_left_out_counted_and_told(tmp_path, caplog):
    root = folder(tmp_path, ("crate", "cup"), ("cup",), ("crate",), ())
    with caplog.at_level(logging.WARNING, "cogkp"):
        index = read_objectron(root, category="crate")
    assert [len(record.boxes) for record in index.records] == [1, 0, 1, 0]
    assert dict(index.dropped) == {"an object of class 'cup', not 'crate'": 2}
    assert "left out 2 times: an object of class 'cup', not 'crate'" in caplog.text
    dataset = ObjectDataset([root], "train", lambda sample: sample, category="crate")
    assert dict(dataset.size_report.labelled) == {"crate": 2}


@pytest.mark.parametrize("word", ["crate", "Crate", "CRATE", None, ""])
def test_case_and_absence_make_no_other_class(tmp_path, word):
    assert kept(folder(tmp_path, (word,))) == [1]


@pytest.mark.parametrize("word", ["cereal_box", "cereal box", "Cereal-Box", "cerealbox", " cereal_box\u00a0"])
def test_blanks_and_dashes_make_no_other_class(tmp_path, word):
    assert kept(folder(tmp_path, (word,)), "cereal_box") == [1]


def test_an_accent_and_a_blank_class_make_no_other_class(tmp_path):
    assert kept(folder(tmp_path, ("cafe\u0301", "  ")), "caf\u00e9") == [2]


def renamed(content, place, name):
    *above, last = place.split(".")
    inner = content
    for part in above:
        inner = inner[int(part) if part.isdecimal() else part]
    inner[name] = inner.pop(last)
    return content


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("objects.0.class", "clas"),
        ("objects.0.class", "category"),
        ("objects.0.class", "class_name"),
        ("objects.0.quaternion_xyzw", "quaternion"),
        ("objects.0.projected_cuboid", "projected_cubiod"),
        ("camera_data", "camera"),
        ("camera_data.intrinsics", "intrinsic"),
        ("AR_data", "ar_data"),
    ],
)
def test_misspelt_keys_are_told(tmp_path, caplog, place, name):
    for number in range(2):
        write(tmp_path, f"{number}", renamed(annotation(number), place, name))
    read_objectron(tmp_path, category="crate")
    wanted = place.rpartition(".")[2]
    assert f"the key {name!r} means nothing, and is there 2 times. Did you mean {wanted!r}?" in caplog.text


@pytest.mark.parametrize(("name", "value"), [("symetric", True), ("num_symetry", 4), ("visiblity", 0.5)])
def test_misspelt_optional_keys_are_told(tmp_path, caplog, name, value):
    content = annotation()
    content["objects"][0].pop("visibility", None)
    write(tmp_path, "a", spoilt(content, f"objects.0.{name}", value))
    read_objectron(tmp_path)
    assert f"the key {name!r} means nothing" in caplog.text


@pytest.mark.parametrize("key", ["provenance", "bounding_box", "instance_id", "keypoints_2d", "notes"])
def test_keys_of_others_are_nobody_s_business(tmp_path, caplog, key):
    write(tmp_path, "a", spoilt(annotation(), f"objects.0.{key}", [1]))
    read_objectron(tmp_path, category="crate")
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("classes", "level"), [((None, None), "INFO"), ((None, "crate"), "WARNING"), ((None, "cup"), "WARNING")]
)
def test_objects_without_a_class_are_counted(tmp_path, caplog, classes, level):
    with caplog.at_level(logging.INFO, "cogkp"):
        read_objectron(folder(tmp_path, classes), category="crate")
    said = [record for record in caplog.records if "state no class" in record.getMessage()]
    assert [record.levelname for record in said] == [level]
    assert f"{classes.count(None)} objects state no class and are taken for 'crate'" in said[0].getMessage()


def test_a_folder_of_only_others_is_refused_with_what_it_holds(tmp_path):
    with pytest.raises(DataError) as caught:
        read_objectron(folder(tmp_path, ("cup", "bowl"), ("cup",)), category="crate")
    text = str(caught.value)
    assert "no object is of the category" in text
    assert "'cup' 2 times, 'bowl' 1 times" in text
    assert "dataset.all_classes" in text


def test_faults_of_other_objects_are_nobody_s_business(tmp_path):
    root = folder(tmp_path, ("crate", "cup"))
    content = annotation(boxes=[box(0), box(1)])
    content = spoilt(spoilt(content, "objects.1.class", "cup"), "objects.1.projected_cuboid", [[0, 0]])
    write(root, "0", content)
    assert kept(root) == [1]
    with pytest.raises(DataError, match="There are 1 where 9 belong"):
        read_objectron(root)


def test_all_classes_are_taken_where_they_are_asked_for(tmp_path):
    assert kept(folder(tmp_path, ("crate", "cup"), ("cup",)), None) == [2, 1]


def test_a_check_counts_the_classes(tmp_path):
    assert "classes: cup 2, crate 1" in check_root(folder(tmp_path, ("crate", "cup"), ("cup",))).text()


def with_pixels(change):
    content = annotation()
    uv = np.array(content["objects"][0]["projected_cuboid"])
    change(uv)
    return {"objects": [{"class": "crate", "scale": [1, 1, 1], "projected_cuboid": uv.tolist()}]}


def put(row, value):
    def change(uv):
        uv[row] = value

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (put(4, (-1.0, -1.0)), "a mark for missing"),
        (put(slice(None), (-1.0, -1.0)), "wholly outside"),
        (put(3, (1e6, 20.0)), "10 image sides outside"),
        (put(3, (20.0, -5000.0)), "10 image sides outside"),
        (put(3, (-40.0, 20.0)), None),
        (put(3, (300.0, 20.0)), None),
        (put(3, (-1.0, 20.0)), None),
        (put(3, (0.0, 0.0)), None),
    ],
)
def test_corners_may_leave_the_image_but_not_be_absurd(tmp_path, change, reason):
    write(tmp_path, "a", with_pixels(change))
    index = read_objectron(tmp_path, category="crate")
    assert [len(record.boxes) for record in index.records] == [0 if reason else 1]
    assert (reason or "") in " ".join(index.dropped)
    assert bool(index.dropped) == bool(reason)


@pytest.mark.parametrize(("classes", "said"), [(("cup", "cup"), ""), (("cup", "crate", "cup"), "cup 2, crate 1")])
def test_a_check_counts_the_classes_where_there_are_several(tmp_path, classes, said):
    summary = check_root(folder(tmp_path, classes)).text().splitlines()[0]
    assert summary.partition("; classes: ")[2] == said
