"""Writing data sets: what is read equals what was written, and a failure leaves the old state."""

import errno
import json
import math
import tempfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cogkp.data.keypoint.structured import find, read_lines, write_structured
from cogkp.errors import DataError, OutputError
from cogkp.files.partial import partial_name

IMAGE = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
MASK = np.random.default_rng(1).integers(0, 3, (5, 7), dtype=np.uint8)

names = st.text("abcXYZ_ é-0", min_size=1, max_size=6)
plain = (
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
images = st.integers(0, 2**32 - 1).map(
    lambda seed: np.random.default_rng(seed).integers(0, 256, (4, 3, 3) if seed % 2 else (4, 3), dtype=np.uint8)
)
records = st.dictionaries(
    names,
    st.recursive(plain | images, lambda inner: st.dictionaries(names, inner, max_size=3) | st.lists(inner, max_size=3)),
    max_size=4,
)


def same(read, written, root):
    """Compare leaf by leaf; an image is compared by its pixels, as OpenCV reads them."""
    if isinstance(written, np.ndarray):
        stored = cv2.imread(str(root / read), cv2.IMREAD_UNCHANGED)
        return np.array_equal(stored if stored.ndim == 2 else stored[..., ::-1], written)
    if isinstance(written, dict):
        return read.keys() == written.keys() and all(same(read[key], written[key], root) for key in written)
    if isinstance(written, list):
        return len(read) == len(written) and all(same(r, w, root) for r, w in zip(read, written, strict=True))
    return read == written and type(read) is type(written)


@settings(max_examples=40, deadline=None)
@given(st.lists(records, min_size=1, max_size=3))
def test_what_is_read_is_what_was_written(lines):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "set"
        assert write_structured(root, lines) == len(lines)
        read = [content for _number, content in read_lines(root)]
        assert len(read) == len(lines)
        assert all(same(content, line, root) for content, line in zip(read, lines, strict=True))


def test_each_datakey_has_a_folder_of_its_own(tmp_path):
    write_structured(tmp_path, [{"LL": {"image": IMAGE, "mask": MASK}, "LR": {"image": IMAGE}}] * 2)
    files = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*") if path.is_file()}
    folders = ("LL.image", "LL.mask", "LR.image")
    assert files == {"data.jsonl"} | {f"{name}/00000{i}.png" for name in folders for i in range(2)}
    assert find(read_lines(tmp_path)[1].content, "LL.mask") == "LL.mask/000001.png"


def test_files_are_copied_byte_for_byte(tmp_path):
    source = tmp_path / "frame.JPG"
    cv2.imwrite(str(tmp_path / "frame.jpg"), IMAGE)
    (tmp_path / "frame.jpg").rename(source)
    write_structured(tmp_path / "set", [{"B": {"image": source}}])
    assert (tmp_path / "set" / "B.image" / "000000.JPG").read_bytes() == source.read_bytes()


def test_numbers_of_numpy_become_json_and_endless_ones_null(tmp_path):
    values = {
        "a": np.float32(1.5),
        "b": np.int64(3),
        "c": np.array([1.0, math.nan]),
        "d": (math.inf, 2),
        "e": np.eye(2),
    }
    write_structured(tmp_path, [values])
    text = (tmp_path / "data.jsonl").read_text()
    assert json.loads(text) == {"a": 1.5, "b": 3, "c": [1.0, None], "d": [None, 2], "e": [[1.0, 0.0], [0.0, 1.0]]}


def test_colour_images_may_have_another_format_masks_stay_exact(tmp_path):
    write_structured(tmp_path, [{"image": IMAGE, "mask": MASK}], suffix=".jpg")
    assert {path.parent.name + path.suffix for path in tmp_path.glob("*/*")} == {"image.jpg", "mask.png"}


@pytest.mark.parametrize(
    "value",
    [
        IMAGE.astype(np.uint16),
        MASK.astype(bool),
        np.zeros((2, 2, 4), np.uint8),
        np.zeros((0, 4), np.uint8),
        object(),
        {1: 2},
        {"a/b": MASK},
        {"..": MASK},
        Path("no-such-file.png"),
    ],
)
def test_what_cannot_be_stored_is_refused_and_leaves_nothing(tmp_path, value):
    root = tmp_path / "set"
    with pytest.raises(DataError) as caught:
        write_structured(root, [{"B": IMAGE}, {"": value}])
    assert "\n" not in str(caught.value)
    assert not root.exists()


def test_no_lines_are_no_data_set(tmp_path):
    with pytest.raises(DataError, match="no lines"):
        write_structured(tmp_path / "set", [])
    assert not (tmp_path / "set").exists()


def test_a_literal_name_and_a_path_of_the_same_name_collide_loudly(tmp_path):
    with pytest.raises(OutputError):
        write_structured(tmp_path, [{"LL.image": IMAGE, "LL": {"image": IMAGE}}])
    assert not list(tmp_path.iterdir())


def test_an_existing_data_set_is_kept_unless_replacement_is_asked_for(tmp_path):
    write_structured(tmp_path, [{"B": IMAGE, "n": i} for i in range(3)])
    (tmp_path / "calibration.json").write_text("{}")
    with pytest.raises(OutputError, match="already"):
        write_structured(tmp_path, [{"n": 9}])
    assert len(read_lines(tmp_path)) == 3
    write_structured(tmp_path, [{"B": IMAGE, "n": 9}], replace=True)
    assert [content["n"] for _number, content in read_lines(tmp_path)] == [9]
    assert [path.name for path in (tmp_path / "B").iterdir()] == ["000000.png"]
    assert (tmp_path / "calibration.json").exists()


@pytest.mark.parametrize("replace", [False, True])
def test_a_folder_that_is_of_no_data_set_stays(tmp_path, replace):
    (tmp_path / "B").mkdir()
    (tmp_path / "B" / "holiday.png").write_bytes(b"mine")
    with pytest.raises(OutputError, match=r"no data set @ .*B\."):
        write_structured(tmp_path, [{"B": IMAGE}], replace=replace)
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")) == ["B", "B/holiday.png"]


def test_what_a_killed_process_left_is_removed(tmp_path):
    (tmp_path / partial_name("files", "")).mkdir()
    write_structured(tmp_path, [{"B": IMAGE}])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["B", "data.jsonl"]


def full_disk_after(count):
    yield from ({"B": IMAGE, "n": i} for i in range(count))
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_leaves_the_old_data_set_or_none(tmp_path):
    with pytest.raises(OutputError, match="No space left"):
        write_structured(tmp_path / "new", full_disk_after(3))
    assert not (tmp_path / "new").exists()
    write_structured(tmp_path / "old", [{"B": IMAGE, "n": 0}])
    before = {path: path.read_bytes() for path in (tmp_path / "old").rglob("*") if path.is_file()}
    with pytest.raises(OutputError):
        write_structured(tmp_path / "old", full_disk_after(3), replace=True)
    assert {path: path.read_bytes() for path in (tmp_path / "old").rglob("*") if path.is_file()} == before


def test_a_root_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=str(tmp_path / "file" / "set")):
        write_structured(tmp_path / "file" / "set", [{"n": 1}])
