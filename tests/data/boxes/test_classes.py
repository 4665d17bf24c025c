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


@pytest.mark.parametrize("word", ["cereal_box", "cereal box", "Cereal-Box", "cerealbox"])
def test_blanks_and_dashes_make_no_other_class(tmp_path, word):
    assert kept(folder(tmp_path, (word,)), "cereal_box") == [1]


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
