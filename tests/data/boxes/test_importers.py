"""An import keeps every pixel and every number where it was, follows the source's own split, and is whole or absent."""

import json

import cv2
import numpy as np
import pytest

from cogkp.config.images import ImageFiles
from cogkp.data.boxes.check import check_root
from cogkp.data.boxes.importers import BOX_IMPORTERS, TAMPAR_ORDER, import_boxes
from cogkp.data.boxes.reader import read_objectron
from cogkp.errors import DataError, OutputError
from cogkp.geometry.camera_frame import CameraFrame
from tests.builders.box_files import K, annotation, box, spoilt, write
from tests.builders.oriented import write_oriented
from tests.builders.shared_data import shared


@pytest.fixture
def opengl(tmp_path):
    source = tmp_path / "source"
    for part, count in (("train", 3), ("val", 2)):
        for index in range(count):
            content = spoilt(annotation(index, CameraFrame.OPENGL), "camera_data.camera_frame")
            write(source / part, f"{index:04d}", content)
    return source


def test_only_the_name_of_the_axes_is_added(opengl, tmp_path):
    result = import_boxes(opengl, tmp_path / "out", format="cuboid-opengl")
    assert result.counts == {"train": 3, "val": 2}
    for part, folder in result.folders.items():
        for path in sorted((opengl / part).iterdir()):
            copied = folder / path.name
            if path.suffix == ".png":
                assert copied.read_bytes() == path.read_bytes()
            else:
                content = json.loads(copied.read_text())
                assert content["camera_data"].pop("camera_frame") == "opengl"
                assert content == json.loads(path.read_text())
    np.testing.assert_allclose(read_objectron(result.folders["val"]).records[1].boxes[0].uv_source, box(1).uv_source)


def test_pictures_without_a_split_are_divided_by_the_seed(tmp_path):
    for index in range(10):
        write(tmp_path / "source" / f"video_{index % 2}", f"{index}", annotation(index, CameraFrame.OPENGL))
    result = import_boxes(tmp_path / "source", tmp_path / "out", format="cuboid-opengl", validation=0.3, seed=1)
    assert result.counts == {"train": 7, "val": 3}
    assert {path.parent.name for path in (tmp_path / "out").rglob("*.json")} == {"video_0", "video_1"}


def test_wrong_sources_leave_nothing(opengl, tmp_path):
    wrong = spoilt(json.loads((opengl / "train" / "0000.json").read_text()), "objects.0.scale", [0, 1, 1])
    (opengl / "train" / "0000.json").write_text(json.dumps(wrong))
    record = opengl / "val" / "0001.png"
    record.write_bytes(record.read_bytes()[:-30])
    with pytest.raises(DataError) as caught:
        import_boxes(opengl, tmp_path / "out", format="cuboid-opengl")
    assert len(str(caught.value).splitlines()) == 2
    assert not (tmp_path / "out").exists()


def parcel_source(folder, **changes):
    """A parcel seen by a camera, written as its source would: corners in its own order, counted from the edge."""
    folder.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(folder / "p.jpg"), np.zeros((72, 96, 3), np.uint8))
    corners = np.zeros((8, 3))
    corners[list(TAMPAR_ORDER), :2] = box().uv_source[1:] + 0.5
    corners[:, 2] = 2
    entry = {"id": 1, "image_id": 7, "keypoints": corners.ravel().tolist(), **changes}
    content = {"images": [{"id": 7, "file_name": "p.jpg"}], "annotations": [entry]}
    (folder / "annotations.json").write_text(json.dumps(content))
    return folder


def test_corners_of_parcels_are_renumbered_and_counted_from_pixel_centres(tmp_path):
    result = import_boxes(parcel_source(tmp_path / "s"), tmp_path / "out", format="tampar", validation=0)
    (record,) = read_objectron(result.folders["train"]).records
    (found,) = record.boxes
    np.testing.assert_allclose(found.uv_source[1:], box().uv_source[1:], atol=1e-9)
    np.testing.assert_allclose(found.uv_source[0], box().uv_source[0], atol=1e-6)  # where the diagonals meet
    assert (record.K, found.size_xyz) == (None, None)
    with_camera = read_objectron(result.folders["train"], intrinsics=K)
    assert with_camera.records[0].K is K


@pytest.mark.parametrize("mark", [[0.0, 0.0, 0.0], [-1, -1, 0], [-1.0, -1.0, 2.0], [40.0, 30.0, 0.0]])
def test_parcels_with_a_corner_that_nobody_labelled_are_left_out_and_told(tmp_path, caplog, mark):
    source = parcel_source(tmp_path / "s")
    content = json.loads((source / "annotations.json").read_text())
    whole = content["annotations"][0]
    content["annotations"].append({**whole, "keypoints": [*whole["keypoints"][:-3], *mark]})
    (source / "annotations.json").write_text(json.dumps(content))
    result = import_boxes(source, tmp_path / "out", format="tampar", validation=0)
    (record,) = read_objectron(result.folders["train"]).records
    assert len(record.boxes) == 1
    assert "left out 1 times: a parcel with a corner that nobody labelled, e.g." in caplog.text
    assert "annotations[1]" in caplog.text


def changed_source(folder, change):
    source = parcel_source(folder)
    content = json.loads((source / "annotations.json").read_text())
    change(content)
    (source / "annotations.json").write_text(json.dumps(content))
    return source


def test_objects_of_other_categories_are_no_parcels(tmp_path, caplog):
    def change(content):
        names = ("normal box", "damaged box", "person")
        content["categories"] = [{"id": number, "name": name} for number, name in enumerate(names)]
        content["annotations"] = [{**content["annotations"][0], "category_id": number} for number in range(3)]

    result = import_boxes(changed_source(tmp_path / "s", change), tmp_path / "out", format="tampar", validation=0)
    assert len(read_objectron(result.folders["train"]).records[0].boxes) == 2
    assert "left out 1 times: an object of category 'person', e.g." in caplog.text
    assert "annotations[2]" in caplog.text


@pytest.mark.parametrize(("value", "reason"), [(1e5, "10 image sides outside"), (-1e4, "10 image sides outside")])
def test_parcels_far_outside_are_told_at_import(tmp_path, caplog, value, reason):
    def change(content):
        content["annotations"][0]["keypoints"][0] = value

    result = import_boxes(changed_source(tmp_path / "s", change), tmp_path / "out", format="tampar", validation=0)
    assert not read_objectron(result.folders["train"]).records[0].boxes
    assert reason in caplog.text


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda content: content["annotations"][0].update(keypoints=[40, 30, 2] * 8), "face each other are one point"),
        (lambda content: content["images"][0].update(width=960, height=720), "96, as the image has"),
    ],
)
def test_a_parcel_that_is_no_box_or_of_another_size_is_one_line(tmp_path, change, what):
    with pytest.raises(DataError, match=what) as caught:
        import_boxes(changed_source(tmp_path / "s", change), tmp_path / "out", format="tampar")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("oriented", [True, False])
def test_labels_made_on_turned_images_are_imported_where_that_is_said(tmp_path, caplog, oriented):
    """The image is stored lying, and noted to be shown as it was labelled."""
    write(tmp_path / "s" / "train", "a", annotation(0, CameraFrame.OPENGL))
    path = tmp_path / "s" / "train" / "a.png"
    stored = np.ascontiguousarray(np.rot90(cv2.imread(str(path))))
    path.unlink()
    write_oriented(path.with_suffix(".jpg"), stored, 6)
    files = ImageFiles(apply_exif_orientation=oriented)
    if not oriented:
        with pytest.raises(DataError, match=r"notes an orientation.*--apply-exif-orientation"):
            import_boxes(tmp_path / "s", tmp_path / "out", format="cuboid-opengl")
        assert len(check_root(tmp_path / "s").problems) == 1
        return
    result = import_boxes(tmp_path / "s", tmp_path / "out", format="cuboid-opengl", apply_exif_orientation=True)
    (record,) = read_objectron(result.folders["train"], files=files).records
    assert record.pixels().shape[:2] == (72, 96)
    assert not check_root(result.folders["train"], files=files).problems


@pytest.mark.parametrize("oriented", [True, False])
def test_parcels_of_turned_images_have_the_size_that_is_shown(tmp_path, oriented):
    source = parcel_source(tmp_path / "s")
    write_oriented(
        source / "p.jpg", np.zeros((96, 72, 3), np.uint8) if oriented else np.zeros((72, 96, 3), np.uint8), 6
    )
    result = import_boxes(source, tmp_path / "out", format="tampar", validation=0, apply_exif_orientation=oriented)
    content = json.loads((result.folders["train"] / "p.json").read_text())
    assert (content["camera_data"]["width"], content["camera_data"]["height"]) == (96, 72)


def test_what_reading_will_leave_out_is_told_at_import(opengl, tmp_path, caplog):
    path = next(opengl.rglob("*.json"))
    content = json.loads(path.read_text())
    content["objects"].append({"class": "crate", "projected_cuboid": [[-1, -1]] * 9})
    path.write_text(json.dumps(content))
    import_boxes(opengl, tmp_path / "out", format="cuboid-opengl")
    assert "to be left out 1 times: a box wholly outside its image" in caplog.text


WRONG = {
    "seven corners": ({"keypoints": [0.0] * 21}, "There are 21 where 24 belong"),
    "an image that is not there": ({"image_id": "7"}, 'expected the id of an image of this file, got "7"'),
    "no corners": ({"keypoints": None}, "expected x, y and v of eight corners"),
    "NaN": ({"keypoints": [float("nan")] * 24}, "NaN and infinity are not labels"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_parcels_are_named(tmp_path, name):
    changes, words = WRONG[name]
    with pytest.raises(DataError, match=words) as caught:
        import_boxes(parcel_source(tmp_path / "s", **changes), tmp_path / "out", format="tampar")
    assert "annotations.json" in str(caught.value)


@pytest.mark.parametrize("name", ["../p.jpg", "absent.jpg", 5])
def test_pictures_of_parcels_lie_in_their_folder(tmp_path, name):
    source = parcel_source(tmp_path / "s")
    content = json.loads((source / "annotations.json").read_text())
    content["images"][0]["file_name"] = name
    (source / "annotations.json").write_text(json.dumps(content))
    with pytest.raises(DataError):
        import_boxes(source, tmp_path / "out", format="tampar")


def test_wrong_use_is_refused(opengl, tmp_path):
    with pytest.raises(DataError, match=r"unknown format.*Did you mean 'tampar'"):
        import_boxes(opengl, tmp_path / "out", format="tamper")
    with pytest.raises(DataError, match="share is out of range"):
        import_boxes(opengl, tmp_path / "out", format="tampar", validation=1.0)
    with pytest.raises(DataError, match="the source does not exist"):
        import_boxes(tmp_path / "absent", tmp_path / "out", format="tampar")
    with pytest.raises(OutputError, match="not empty"):
        import_boxes(opengl, opengl, format="cuboid-opengl")


@pytest.mark.real_data
def test_the_real_cabinet_divides_and_agrees_as_its_source_says(tmp_path):
    assert "cuboid-opengl" in BOX_IMPORTERS
    result = import_boxes(shared("cabinet-cuboid"), tmp_path / "cabinet", format="cuboid-opengl")
    assert result.counts == {"train": 44, "val": 14}
    report = check_root(tmp_path / "cabinet")
    assert report.problems == ()
    boxes = [each for file in report.checked for each in file.boxes]
    assert max(each.reprojection_px for each in boxes) < 1e-3
    assert max(each.pnp_px for each in boxes) < 1e-3
    assert max(each.turn_deg for each in boxes) < 0.01


@pytest.mark.real_data
def test_real_parcels_become_boxes_of_pixels(tmp_path):
    result = import_boxes(shared("parcel-box-sample"), tmp_path / "parcels", format="tampar", validation=0)
    assert result.counts == {"train": 2}
    for record in read_objectron(result.folders["train"]).records:
        (found,) = record.boxes
        hull = cv2.convexHull(found.uv_source.astype(np.float32))
        assert cv2.pointPolygonTest(hull, found.uv_source[0].astype(np.float32).tolist(), True) > 50
        assert cv2.contourArea(hull) > 1.5e5
