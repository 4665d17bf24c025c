"""A model over sources: what comes is what the model says of each frame, in order, whatever overlaps or goes wrong."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import attrs
import cv2
import numpy as np
import pytest

import cogkp
from cogkp.config.images import ImageFiles
from cogkp.data.sources import Frame
from cogkp.errors import DataError, GeometryError, ModelError
from cogkp.workflows.prediction import asking
from tests.builders.keypoint_model import keypoint_config, keypoint_task, save_checkpoint, scene
from tests.builders.model_files import write_onnx
from tests.builders.oriented import write_oriented
from tests.builders.rendered_pair import SIZE_WH, write_calibration, write_folders
from tests.builders.videos import cut, damaged, write_video


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """One network as files: any batch, batch 2, a checkpoint; and one that must be told where to look."""
    folder = tmp_path_factory.mktemp("models")
    task = keypoint_task(keypoint_config())
    write_onnx(folder / "any.onnx", task, None)
    write_onnx(folder / "two.onnx", task, 2)
    save_checkpoint(folder / "model.pth", task)
    write_onnx(folder / "part.onnx", keypoint_task(keypoint_config(region="points", margin=0.3)), None)
    return folder


@pytest.fixture
def images(tmp_path) -> Path:
    """Images of different sizes in a tree."""
    for number, size in enumerate([(120, 90), (64, 64), (200, 50), (120, 90), (90, 120), (33, 47), (120, 90)]):
        path = tmp_path / "images" / f"{number % 2}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), scene(number, size))
    return tmp_path / "images"


def listed(predictions) -> list:
    with predictions:
        return list(predictions)


@pytest.mark.parametrize("file", ["any.onnx", "two.onnx", "model.pth"])
@pytest.mark.parametrize("workers", [1, 3])
def test_each_frame_has_what_the_model_says_of_it(files, images, file, workers):
    with cogkp.load(files / file) as model:
        found = listed(cogkp.predict(model, images, workers=workers, batch_size=3))
        assert [each.frame.name for each in found] == [f"{n % 2}/{n}.png" for n in (0, 2, 4, 6, 1, 3, 5)]
        for each in found:
            alone = model(images / each.frame.name)
            np.testing.assert_allclose(each.found.points, alone.points, atol=2e-3)
            np.testing.assert_allclose(each.found.covariance, alone.covariance, rtol=1e-3, atol=1e-4)


def test_a_video_gives_what_its_frames_give(files, tmp_path):
    shown = [scene(number) for number in range(7)]
    write_video(tmp_path / "v.mkv", fourcc="FFV1", images=shown)
    with cogkp.load(files / "any.onnx") as model:
        found = listed(cogkp.predict(model, tmp_path / "v.mkv", every=2))
        assert [each.frame.number for each in found] == [0, 2, 4, 6]
        for each in found:
            expected = model(shown[each.frame.number], bgr=True)
            np.testing.assert_allclose(each.found.points, expected.points, atol=2e-3)
            assert each.frame.time_s == pytest.approx(each.frame.number / 25)


def test_a_named_file_is_opened_and_closed_and_an_open_model_stays_open(files, images):
    with cogkp.load(files / "any.onnx") as model:
        assert len(listed(cogkp.predict(model, images, limit=2))) == 2
        model(images / "0/0.png")
    predictions = cogkp.predict(files / "any.onnx", images)
    assert predictions.total == 7
    next(predictions)
    predictions.close()
    with pytest.raises(StopIteration):
        next(predictions)


def test_frames_that_cannot_be_used_are_named_and_the_others_stay(files, images, caplog):
    (images / "0" / "1.png").write_bytes(b"no image")
    (images / "1" / "9.png").write_bytes((images / "1" / "1.png").read_bytes()[:60])
    predictions = cogkp.predict(files / "any.onnx", images)
    with caplog.at_level(logging.WARNING):
        found = listed(predictions)
    assert len(found) == 7
    assert [Path(problem.where).name for problem in predictions.problems] == ["1.png", "9.png"]
    assert "1.png" in caplog.text


def test_a_damaged_and_cut_video_is_told_and_predicted_as_far_as_it_goes(files, tmp_path):
    images = [scene(number) for number in range(12)]
    video = cut(damaged(write_video(tmp_path / "v.avi", fourcc="MJPG", images=images), 3), 0.75)
    predictions = cogkp.predict(files / "any.onnx", video)
    found = listed(predictions)
    numbers = [each.frame.number for each in found]
    assert numbers == [number for number in range(numbers[-1] + 1) if number != 3]
    assert [problem.where.rpartition(" ")[2] for problem in predictions.problems] == ["3", str(numbers[-1] + 1)]


def test_an_error_of_a_source_comes_after_what_was_found(files, tmp_path):
    folders = write_folders(tmp_path, 4)
    videos = {
        name: write_video(tmp_path / f"{name}.mkv", fourcc="FFV1", images=[scene(n) for n in range(6 - place)])
        for place, name in enumerate(folders)
    }
    rig = write_calibration(tmp_path / "rig.json")
    predictions = cogkp.predict(files / "any.onnx", videos, calibration=rig)
    found = []
    with predictions, pytest.raises(DataError, match=r"unequal length @ LR=.*LR.mkv frame 5"):
        found.extend(predictions)
    assert len(found) == 5


def test_parts_join_to_the_whole(files, images):
    def names(**part):
        return [each.frame.name for each in listed(cogkp.predict(files / "any.onnx", images, **part))]

    assert [name for part in (1, 2, 3) for name in names(shard=(part, 3))] == names()
    assert names(shard=(9, 9)) == ["1/5.png"]
    assert names(shard=(1, 9)) == []


@pytest.mark.parametrize(
    ("variables", "part"),
    [
        ({"RANK": "1", "WORLD_SIZE": "3", "LOCAL_RANK": "1"}, (2, 3)),
        ({"SLURM_PROCID": "2", "SLURM_STEP_NUM_TASKS": "3"}, (3, 3)),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "8"}, (1, 1)),
        ({}, (1, 1)),
    ],
)
def test_the_rank_of_a_cluster_is_a_part(files, images, monkeypatch, variables, part):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with cogkp.predict(files / "any.onnx", images) as predictions:
        assert predictions.part == part
    with cogkp.predict(files / "any.onnx", images, shard=(1, 1)) as predictions:
        assert predictions.part == (1, 1)


def test_views_are_what_the_model_says_of_them_and_their_points(files, tmp_path):
    folders, rig = write_folders(tmp_path), write_calibration(tmp_path / "rig.json")
    with cogkp.load(files / "any.onnx") as model:
        found = listed(cogkp.predict(model, folders, calibration=rig, min_confidence=0.0))
        assert len(found) == 5
        for number, each in enumerate(found):
            shown = {name: folder / f"{number:03d}.png" for name, folder in folders.items()}
            expected = model.views(shown, rig, min_confidence=0.0)
            for name, view in each.found.views.items():
                np.testing.assert_allclose(view.points, expected.views[name].points, atol=2e-3)
            assert each.found.valid.tolist() == expected.valid.tolist()
        again = model.views(shown, min_confidence=0.0, unit_mm=10.0)
        assert again.unit == "mm"
        np.testing.assert_allclose(again.points, 10 * expected.points, atol=1e-6)


def test_of_three_cameras_one_may_see_something_else(files, tmp_path):
    """The third camera's images are of another scene; a point then rests on the two that agree, or is not valid."""
    names = ("LL", "LR", "UP")
    folders, rig = write_folders(tmp_path, 3, names), write_calibration(tmp_path / "rig.json", names)
    for number in range(3):
        cv2.imwrite(str(folders["UP"] / f"{number:03d}.png"), scene(40 + number, SIZE_WH))
    found = listed(cogkp.predict(files / "any.onnx", folders, calibration=rig, min_confidence=0.0))
    assert [list(each.found.views) for each in found] == [list(names)] * 3
    for each in found:
        space = each.found.space
        assert space.used.shape == (3, 3)
        assert (space.used.sum(0)[space.valid] >= 2).all()
        errors = np.where(space.used, space.reprojection_px, 0.0)
        assert errors.max() < 5.0
    two = {name: folders[name] for name in names[:2]}
    assert len(listed(cogkp.predict(files / "any.onnx", two, calibration=rig))) == 3


def test_images_of_all_kinds_are_used_or_named(files, tmp_path):
    """Depths, channels and sizes are mixed; what is no single image of one, three or four channels is named."""
    (tmp_path / "in").mkdir()
    deep = scene(1).astype(np.uint16) * 257
    cv2.imwrite(str(tmp_path / "in/deep.png"), deep)
    cv2.imwrite(str(tmp_path / "in/grey.png"), scene(1, channels=1))
    cv2.imwrite(str(tmp_path / "in/one.png"), np.full((1, 1), 7, np.uint8))
    cv2.imwrite(str(tmp_path / "in/plain.png"), scene(1))
    cv2.imwrite(str(tmp_path / "in/tall.png"), scene(1, (31, 200)))
    cv2.imwritemulti(str(tmp_path / "in/pages.tif"), [scene(1), scene(2)])
    (tmp_path / "in/empty.png").write_bytes(b"")
    (tmp_path / "in/half.png").write_bytes((tmp_path / "in/plain.png").read_bytes()[:500])
    predictions = cogkp.predict(files / "any.onnx", tmp_path / "in")
    found = {each.frame.name: each.found for each in listed(predictions)}
    named = {Path(problem.where).name for problem in predictions.problems}
    assert found.keys() | named == {path.name for path in (tmp_path / "in").iterdir()}
    assert {"empty.png", "half.png"} <= named
    assert found.keys() >= {"deep.png", "grey.png", "one.png", "plain.png", "tall.png"}
    np.testing.assert_allclose(found["deep.png"].points, found["plain.png"].points, atol=1e-2)


def test_a_recording_of_two_cameras_is_paired_by_its_lines(files, tmp_path):
    folders, rig = write_folders(tmp_path / "r", 3), write_calibration(tmp_path / "rig.json")
    lines = [{name: {"image": f"{name}/{n:03d}.png"} for name in folders} for n in range(3)]
    lines[1]["LR"] = None
    (tmp_path / "r/data.jsonl").write_text("\n".join(map(json.dumps, lines)))
    predictions = cogkp.predict(files / "any.onnx", tmp_path / "r", calibration=rig)
    found = listed(predictions)
    assert [each.frame.number for each in found] == [0, 2]
    assert "data.jsonl:2 LR.image" in predictions.problems[0].where
    plain = listed(cogkp.predict(files / "any.onnx", tmp_path / "r", datakeys=["LL.image"]))
    assert [each.frame.name for each in plain] == [f"LL/{n:03d}.png" for n in range(3)]
    with pytest.raises(DataError, match=r"LL\.image"):
        cogkp.predict(files / "any.onnx", tmp_path / "r", datakeys=["LL.imag"])


def test_names_that_differ_stop_at_the_first_place(files, tmp_path):
    folders, rig = write_folders(tmp_path), write_calibration(tmp_path / "rig.json")
    (folders["LR"] / "002.png").unlink()
    with pytest.raises(DataError, match=r"called the same @ LR=.*expected 002.*got 003"):
        cogkp.predict(files / "any.onnx", folders, calibration=rig)
    with pytest.raises(DataError, match="different numbers of images"):
        cogkp.predict(files / "any.onnx", folders, calibration=rig, pair="number")


def test_images_without_common_names_are_paired_in_their_order_and_that_is_said(files, tmp_path, caplog):
    folders, rig = write_folders(tmp_path, 3), write_calibration(tmp_path / "rig.json")
    for path in sorted(folders["LR"].iterdir()):
        path.rename(path.with_name(f"right-{path.name}"))
    with caplog.at_level(logging.INFO):
        assert len(listed(cogkp.predict(files / "any.onnx", folders, calibration=rig))) == 3
    assert "paired by the number of the frame" in caplog.text


def test_other_frame_rates_are_refused_and_paired_by_time(files, tmp_path):
    rig = write_calibration(tmp_path / "rig.json")
    rates = {"LL": 25.0, "LR": 50.0}
    videos = {
        name: write_video(
            tmp_path / f"{name}.mkv", fourcc="FFV1", fps=fps, images=[scene(n) for n in range(round(8 * fps / 25))]
        )
        for name, fps in rates.items()
    }
    with pytest.raises(DataError, match=r"different frame rates.*LL 25 per second, LR 50"):
        cogkp.predict(files / "any.onnx", videos, calibration=rig)
    found = listed(cogkp.predict(files / "any.onnx", videos, calibration=rig, pair="time"))
    pairs = [[frame.number for frame in each.frame.frames.values()] for each in found]
    assert pairs == [[n, 2 * n] for n in range(8)]
    found = listed(cogkp.predict(files / "any.onnx", videos, calibration=rig, pair="time", every=3, start=1))
    assert [each.frame.number for each in found] == [1, 4, 7]


@pytest.mark.parametrize(
    ("source", "options", "error", "says"),
    [
        ({"LL": "LL", "RR": "LR"}, {}, GeometryError, r"no camera of this name.*expected LL, LR, got RR"),
        ({"LL": "LL", "LR": "LR"}, {"calibration": None}, ModelError, "cameras are not known"),
        ({"LL": "LL"}, {}, ModelError, "points of space need two views"),
        ({"LL": "LL", "LR": "nowhere"}, {}, DataError, "no such source"),
        ({"LL": "LL", "LR": "mixed"}, {}, DataError, "a camera needs one source @ LR"),
    ],
)
def test_cameras_that_do_not_fit_are_said_before_the_work(files, tmp_path, source, options, error, says):
    folders, rig = write_folders(tmp_path), write_calibration(tmp_path / "rig.json")
    write_folders(tmp_path, 1, ["mixed"])
    write_video(tmp_path / "mixed/v.mp4", 2)
    assert folders
    given = {name: tmp_path / place for name, place in source.items()}
    with pytest.raises(error, match=says):
        cogkp.predict(files / "any.onnx", given, **{"calibration": rig, **options})


def test_a_calibration_for_other_images_is_said(files, tmp_path):
    folders, rig = write_folders(tmp_path), write_calibration(tmp_path / "rig.json", size_wh=(SIZE_WH[0], 80))
    with pytest.raises(GeometryError, match="is for other images: expected 120 x 80"):
        listed(cogkp.predict(files / "any.onnx", folders, calibration=rig))


BOX = (20.0, 10.0, 80.0, 70.0)


def test_a_given_box_is_where_the_model_looks(files, images, tmp_path):
    (tmp_path / "boxes.csv").write_text(
        "image,left,top,right,bottom\n"
        + "\n".join(
            f"{path.relative_to(images).as_posix()},1,2,{20 + n},30" for n, path in enumerate(images.rglob("*.png"))
        )
    )
    (tmp_path / "boxes.jsonl").write_text(
        "\n".join(json.dumps({"image": path.name, "box": [1, 2, 25, 30]}) for path in images.rglob("*.png"))
    )
    with cogkp.load(files / "part.onnx") as model:
        for boxes in (BOX, "20,10,80,70"):
            (found,) = listed(cogkp.predict(model, images / "0/0.png", boxes=boxes))
            np.testing.assert_allclose(found.found.points, model(images / "0/0.png", box=BOX).points, atol=2e-3)
        for each in listed(cogkp.predict(model, images, boxes=tmp_path / "boxes.csv")):
            path = images / each.frame.name
            row = [*images.rglob("*.png")].index(path)
            np.testing.assert_allclose(each.found.points, model(path, box=(1, 2, 20 + row, 30)).points, atol=2e-3)
        assert len(listed(cogkp.predict(model, images, boxes=tmp_path / "boxes.jsonl"))) == 7


def test_a_frame_without_a_box_is_told(files, images):
    predictions = cogkp.predict(files / "part.onnx", images, boxes={"0/0.png": BOX, "1/1.png": (1, 1, 30, 30)})
    assert [each.frame.name for each in listed(predictions)] == ["0/0.png", "1/1.png"]
    assert "no box for this frame" in str(predictions.problems[0])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("image,left\na,1\n", "not a table of boxes"),
        ('{"image": "a.png", "box": [1, 2, 3]}', "not a box @ .*:1"),
        ('{"image": "a.png"', "the line is not JSON"),
        ("", "not a table of boxes"),
    ],
)
def test_a_file_that_holds_no_boxes_is_refused(files, images, tmp_path, text, says):
    (tmp_path / "boxes.txt").write_text(text)
    with pytest.raises(DataError, match=says):
        cogkp.predict(files / "part.onnx", images, boxes=tmp_path / "boxes.txt")


def test_a_locator_says_where_to_look(files, images, monkeypatch):
    monkeypatch.setattr(asking, "LEAST", 0.02)  # nobody trained these networks
    with cogkp.load(files / "part.onnx") as model, cogkp.load(files / "any.onnx") as locator:
        found = listed(cogkp.predict(model, images, locator=locator, batch_size=3))
        assert found
        for each in found:
            path = images / each.frame.name
            coarse = locator(path)
            sure = coarse.points[coarse.confidence >= 0.02]
            expected = model(path, box=(*sure.min(0), *sure.max(0)))
            np.testing.assert_allclose(each.found.points, expected.points, atol=5e-3)


def test_a_locator_looks_at_images_as_the_model_reads_them(tmp_path, monkeypatch):
    """A model that turns images as their files note finds the same by a locator as by the box of that locator."""
    monkeypatch.setattr(asking, "LEAST", 0.0)
    turned = ImageFiles(apply_exif_orientation=True)
    tasks = {
        name: keypoint_task(attrs.evolve(keypoint_config(**crop), images=turned))
        for name, crop in (("whole", {}), ("part", {"region": "points", "margin": 0.3}))
    }
    files = {name: write_onnx(tmp_path / f"{name}.onnx", task, None) for name, task in tasks.items()}
    write_oriented(tmp_path / "a.jpg", scene(3, (120, 70)), 6)
    with cogkp.load(files["whole"]) as locator, cogkp.load(files["part"]) as model:
        coarse = locator(tmp_path / "a.jpg")
        assert coarse.size_wh == (70, 120)
        expected = model(tmp_path / "a.jpg", box=coarse.box(model.names, 0.0))
        for options in ({"locator": locator}, {"locator": locator, "track": True}):
            (found,) = listed(cogkp.predict(model, tmp_path / "a.jpg", **options))
            assert found.found.size_wh == (70, 120)
            np.testing.assert_allclose(found.found.points, expected.points, atol=5e-3)


def test_a_place_outside_of_the_frame_is_none_to_look_at(files, images):
    """A locator's points may lie in the border of its crop, beyond the image; that ends no work."""
    frame = Frame(source="s", where="w", name="n", number=0, time_s=None, image=scene())
    with cogkp.load(files / "part.onnx") as model:
        assert asking._looked(model, frame, (500.0, 500.0, 600.0, 600.0)) is None
        assert asking._looked(model, frame, None) is None
        assert asking._looked(model, frame, BOX) is not None


def test_tracking_looks_where_points_were_found_before(files, tmp_path):
    shown = [np.roll(scene(1), 2 * number, 1) for number in range(5)]
    write_video(tmp_path / "v.mkv", fourcc="FFV1", images=shown)
    with cogkp.load(files / "part.onnx") as model:
        found = listed(cogkp.predict(model, tmp_path / "v.mkv", boxes=BOX, track=True))
        assert len(found) == 5
        box = BOX
        for each in found:
            expected = model(shown[each.frame.number], bgr=True, box=box)
            np.testing.assert_allclose(each.found.points, expected.points, atol=2e-3)
            box = expected.box(model.names, 0.3)
            if box is None:
                return


@pytest.mark.parametrize(
    ("model", "options", "says"),
    [
        ("part.onnx", {}, r"needs to know where to look.*expected boxes"),
        ("any.onnx", {"boxes": BOX}, r"needs no telling where.*got boxes"),
        ("any.onnx", {"track": True}, r"needs no telling where.*got track"),
        ("part.onnx", {"locator": "part.onnx"}, "a locator must look at whole images"),
    ],
)
def test_where_to_look_must_fit_to_the_model(files, images, model, options, says):
    if "locator" in options:
        options = {"locator": files / options["locator"]}
    with pytest.raises(ModelError, match=says):
        cogkp.predict(files / model, images, **options)


def test_no_thread_is_left(files, images):
    import threading

    before = {thread.name for thread in threading.enumerate()}
    listed(cogkp.predict(files / "any.onnx", images))
    predictions = cogkp.predict(files / "any.onnx", images)
    next(predictions)
    predictions.close()
    assert not [t.name for t in threading.enumerate() if t.name.startswith("cogkp") and t.name not in before]
