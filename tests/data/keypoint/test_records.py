"""A data set held in arrays says of each line what a reader of that line alone would say, in little memory."""

import hashlib
import json
import math
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cogkp.config.keypoint.spec import DataMappings
from cogkp.data.images import write_png
from cogkp.data.keypoint.dataset import fingerprint
from cogkp.data.keypoint.records import RecordingSize, Records
from cogkp.data.keypoint.structured import StructuredDataset

MAPPINGS = DataMappings(
    x=("LL.image", "kamera-ä.image"),
    y=(("LL.tip", "LL.end"), ("kamera-ä.tip", "kamera-ä.end")),
    mask=("LL.mask", "kamera-ä.mask"),
    xyz_world=("t.tip", "t.end"),
)
EYES = ("LL", "kamera-ä")
NUMBERS = st.one_of(st.floats(), st.integers(-(10**400), 10**400), st.none(), st.just(-1))
POINTS = st.one_of(
    st.none(), st.lists(NUMBERS, min_size=2, max_size=2), st.lists(st.floats(0, 9), min_size=2, max_size=2)
)
PLACES = st.one_of(st.none(), st.lists(NUMBERS, min_size=3, max_size=3))
NAMES = st.sampled_from(["a.png", "./a.png", "sub//b.png", "sub/./b.png", "sub/ü.png"])
VIEWS = st.fixed_dictionaries(
    {"image": st.one_of(NAMES, NAMES.map(lambda name: {"path": name})), "tip": POINTS, "end": POINTS},
    optional={"mask": st.one_of(st.none(), NAMES)},
)
LINES = st.fixed_dictionaries(
    {"LL": VIEWS, "kamera-ä": VIEWS, "t": st.fixed_dictionaries({"tip": PLACES, "end": PLACES})}
)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("set")
    (folder / "sub").mkdir()
    for name in ("a.png", "sub/b.png", "sub/ü.png"):
        write_png(folder / name, np.zeros((4, 6), np.uint8))
    return folder


def said(value, width):
    """Say what a point is by the rules of the documentation; None where it is not labelled."""
    if value is None or any(number is None for number in value):
        return None
    try:
        numbers = [float(number) for number in value]
    except OverflowError:
        return None
    if not all(map(math.isfinite, numbers)) or (width == 2 and numbers == [-1, -1]):
        return None
    return numbers


def named(value):
    return value["path"] if isinstance(value, dict) else value


def hashes(root: Path, lines):
    """Work out both hashes line by line, as the format of checkpoints has fixed them."""
    files, labels = hashlib.sha256(), hashlib.sha256()
    for line in lines:
        for eye in EYES:
            view = line[eye]
            for name in filter(None, [named(view["image"]), view.get("mask")]):
                short = Path(name).as_posix()
                files.update(f"{len(short)} {short} {(root / name).stat().st_size}\n".encode())
            points = [said(view[key], 2) for key in ("tip", "end")]
            labels.update(eye.encode())
            labels.update(np.array([point or (0.0, 0.0) for point in points]).tobytes())
            labels.update(bytes(point is not None for point in points) + bytes([view.get("mask") is not None]))
        places = [said(line["t"][key], 3) for key in ("tip", "end")]
        labels.update(np.array([place or (0.0,) * 3 for place in places]).tobytes())
        labels.update(bytes(place is not None for place in places))
    return files.hexdigest(), labels.hexdigest()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(lines=st.lists(LINES, min_size=1, max_size=4))
def test_every_line_and_the_fingerprint_are_what_the_file_says(root, lines):
    (root / "data.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    index = StructuredDataset(root).index(MAPPINGS)
    assert len(index) == len(index.records) == len(lines)
    for record, line in zip(index.records, lines, strict=True):
        for view, eye in zip(record.views, EYES, strict=True):
            assert view.camera == eye
            assert view.image == root / named(line[eye]["image"])
            mask = line[eye].get("mask")
            assert view.mask == (None if mask is None else root / mask)
            wanted = [said(line[eye][key], 2) for key in ("tip", "end")]
            assert view.labelled.tolist() == [point is not None for point in wanted]
            assert view.uv_source.tolist() == [point or [0.0, 0.0] for point in wanted]
        places = [said(line["t"][key], 3) for key in ("tip", "end")]
        assert record.located.tolist() == [place is not None for place in places]
        assert record.xyz_world.tolist() == [place or [0.0] * 3 for place in places]
    (found,) = fingerprint([index])
    assert (found["files_sha256"], found["labels_sha256"]) == hashes(root, lines)
    assert (found["lines"], found["images"]) == (len(lines), 2 * len(lines))


def test_several_sets_are_one_sequence_in_their_order(root):
    (root / "data.jsonl").write_text("\n".join(json.dumps(one(number)) for number in range(3)))
    index = StructuredDataset(root).index(MAPPINGS)
    records = Records([index, index])
    assert len(records) == 6
    assert [record.line for record in records] == [1, 2, 3, 1, 2, 3]
    assert [record.line for record in records[1:-1:2]] == [2, 1]
    assert records[-1].views[0].uv_source[0].tolist() == [2.0, 2.0]
    with pytest.raises(IndexError):
        records[6]
    assert RecordingSize.of([index, index], ("tip", "end")).labelled == {"tip": 12, "end": 0}


def one(number):
    view = {"image": "a.png", "tip": [number + 0.0, 2.0], "end": None}
    return {"LL": view, "kamera-ä": view, "t": {"tip": None, "end": None}}


def test_a_line_takes_a_hundred_bytes_not_kilobytes(root):
    """A million lines of two images and two points fit into 300 MB with room to spare."""
    count = 4000
    (root / "data.jsonl").write_text("\n".join(json.dumps(one(number)) for number in range(count)))
    tracemalloc.start()
    try:
        index = StructuredDataset(root).index(MAPPINGS)
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(index) == count
    assert kept / count < 250
    assert peak / count < 600
