"""What is written holds what was found, whole at any moment, over nothing of others."""

from __future__ import annotations

import io
import json
import resource
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import cogkp
from cogkp.data.images import read_image, read_mask
from cogkp.data.keypoint.structured import read_lines
from cogkp.errors import DataError, OutputError
from cogkp.workflows.prediction.output import planned
from cogkp.workflows.prediction.tally import Tally
from tests.builders.keypoint_model import keypoint_config, keypoint_task, scene
from tests.builders.model_files import write_onnx
from tests.builders.rendered_pair import SIZE_WH, write_calibration, write_folders
from tests.builders.tiny_keypoints import tiny_config, write_recording
from tests.builders.videos import write_video


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    return write_onnx(folder / "any.onnx", keypoint_task(keypoint_config(masks=True)), None)


@pytest.fixture
def images(tmp_path) -> Path:
    for number in range(5):
        path = tmp_path / "images" / f"{number % 2}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), scene(number))
    return tmp_path / "images"


def lines_of(path: Path) -> list:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_lines_say_what_the_model_says(file, images, tmp_path):
    result = cogkp.write_predictions(cogkp.predict(file, images), tmp_path / "out.jsonl", least=0.0)
    lines = lines_of(tmp_path / "out.jsonl")
    assert result.files == (tmp_path / "out.jsonl",)
    assert result.counts == {"frames": 5, "points": 15, "sure": 15, "frames_without": 0}
    assert result.explanation == ()
    with cogkp.load(file) as model:
        for line in lines:
            expected = model(images / line["name"]).to_dict()
            assert (line["source"], line["time_s"]) == (str(images), None)
            for name in expected:
                if name != "points":
                    assert line[name] == expected[name]
            uv = [[point["uv"] for point in each["points"]] for each in (line, expected)]
            np.testing.assert_allclose(*uv, atol=2e-3)
    assert [line["frame"] for line in lines] == [0, 1, 2, 3, 4]


def test_a_stream_takes_lines(file, images):
    stream = io.StringIO()
    result = cogkp.write_predictions(cogkp.predict(file, images, limit=2), stream)
    assert len(stream.getvalue().splitlines()) == 2
    assert result.files == ()


def test_parts_join_by_concatenation(file, images, tmp_path):
    for part in (1, 2, 3):
        cogkp.write_predictions(cogkp.predict(file, images, shard=(part, 3)), tmp_path / "p.jsonl")
    cogkp.write_predictions(cogkp.predict(file, images), tmp_path / "whole.jsonl")
    parts = [tmp_path / f"p-{part}of3.jsonl" for part in (1, 2, 3)]
    joined = [json.loads(line)["name"] for part in parts for line in part.read_text().splitlines()]
    assert joined == [line["name"] for line in lines_of(tmp_path / "whole.jsonl")]


@pytest.mark.parametrize(
    ("given", "wanted", "labels", "part", "found"),
    [
        ("a.jsonl", None, False, (1, 1), ("a.jsonl", "jsonl", "a-drawn")),
        ("a.csv", None, False, (1, 1), ("a.csv", "csv", "a-drawn")),
        ("a.csv", "deeplabcut", False, (2, 12), ("a-02of12.csv", "deeplabcut", "a-02of12-drawn")),
        ("a.json", None, False, (1, 1), ("a.json", "coco", "a-drawn")),
        ("folder", None, False, (1, 1), ("folder/predictions.jsonl", "jsonl", "folder/predictions-drawn")),
        ("folder", "coco", False, (1, 1), ("folder/predictions.json", "coco", "folder/predictions-drawn")),
        ("set", None, True, (1, 1), ("set", "labels", "set-drawn")),
        ("set", None, True, (3, 4), ("set-3of4", "labels", "set-3of4-drawn")),
    ],
)
def test_names_follow_the_output(given, wanted, labels, part, found):
    plan = planned(given, wanted, labels, part)
    assert (plan.output.as_posix(), plan.format, plan.drawings.as_posix()) == found


@pytest.mark.parametrize(
    ("given", "wanted", "labels", "part", "says"),
    [
        ("a.txt", None, False, (1, 1), "ending is not that of the format @ a.txt"),
        ("a.csv", "jsonl", False, (1, 1), "ending is not that of the format"),
        ("a.jsonl", "jsonn", False, (1, 1), "unknown format"),
        ("a.json", None, False, (1, 2), "cannot be written in parts"),
        (io.StringIO(), "csv", False, (1, 1), "only lines of JSON"),
        (io.StringIO(), None, True, (1, 1), "only lines of JSON"),
    ],
)
def test_outputs_that_cannot_be_are_refused(given, wanted, labels, part, says):
    with pytest.raises(OutputError, match=says):
        planned(given, wanted, labels, part)


def test_what_others_wrote_stays_and_what_we_wrote_is_replaced(file, images, tmp_path):
    path = tmp_path / "out.jsonl"
    path.write_text('{"mine": 1}\n')
    with pytest.raises(OutputError, match="will not replace"):
        cogkp.write_predictions(cogkp.predict(file, images), path)
    assert path.read_text() == '{"mine": 1}\n'
    path.write_text("")
    for limit in (3, 2):
        cogkp.write_predictions(cogkp.predict(file, images, limit=limit), path)
        assert len(lines_of(path)) == limit


def test_drawings_of_images_keep_their_tree_and_never_lie_among_them(file, images, tmp_path):
    result = cogkp.write_predictions(cogkp.predict(file, images), tmp_path / "out.jsonl", draw=True)
    drawn = tmp_path / "out-drawn"
    assert result.files == (tmp_path / "out.jsonl", drawn)
    names = sorted(path.relative_to(drawn).as_posix() for path in drawn.rglob("*.jpg"))
    assert names == ["0/0.jpg", "0/2.jpg", "0/4.jpg", "1/1.jpg", "1/3.jpg"]
    shown = read_image(drawn / "0/0.jpg")
    assert shown.shape == (90, 120, 3)
    assert (shown != read_image(images / "0/0.png")).any()
    with pytest.raises(OutputError, match="among the images"):
        cogkp.write_predictions(cogkp.predict(file, images), images / "out.jsonl", draw=True)
    assert not (images / "out-drawn").exists()


def test_a_refusal_leaves_older_results_as_they_are(file, images):
    older = images / "out.jsonl"
    cogkp.write_predictions(cogkp.predict(file, images), older)
    before = older.read_text()
    with pytest.raises(OutputError, match="among the images"):
        cogkp.write_predictions(cogkp.predict(file, images, limit=1), older, draw=True)
    assert older.read_text() == before


def test_a_drawing_does_not_take_the_place_of_the_video_it_is_of(file, tmp_path):
    video = write_video(tmp_path / "v.mkv", fourcc="FFV1", images=[scene(n) for n in range(3)])
    cogkp.write_predictions(cogkp.predict(file, video), tmp_path / "out.jsonl", draw=True)
    drawn = tmp_path / "out-drawn" / "v.mp4"
    before = drawn.read_bytes()
    with pytest.raises(OutputError, match="among the images"):
        cogkp.write_predictions(cogkp.predict(file, drawn), tmp_path / "out.jsonl", draw=True)
    assert drawn.read_bytes() == before


def test_images_that_differ_in_their_endings_have_a_drawing_each(file, tmp_path):
    (tmp_path / "in").mkdir()
    for ending in ("png", "jpg"):
        cv2.imwrite(str(tmp_path / "in" / f"a.{ending}"), scene())
    cogkp.write_predictions(cogkp.predict(file, tmp_path / "in"), tmp_path / "out.jsonl", draw=True)
    assert sorted(path.name for path in (tmp_path / "out-drawn").iterdir()) == ["a.jpg", "a.png.jpg"]


def test_the_drawing_of_a_video_has_its_frames_and_their_rate(file, tmp_path):
    video = write_video(tmp_path / "v.mkv", fourcc="FFV1", fps=30.0, images=[scene(n) for n in range(9)])
    for _ in range(2):  # ours is replaced
        cogkp.write_predictions(cogkp.predict(file, video, every=2), tmp_path / "out.jsonl", draw=True)
    capture = cv2.VideoCapture(str(tmp_path / "out-drawn" / "v.mp4"))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 5
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(15.0)
    done, frame = capture.read()
    assert done
    assert frame.shape == (90, 120, 3)
    other = tmp_path / "else-drawn" / "v.mp4"
    other.parent.mkdir()
    other.write_bytes(b"a video of somebody")
    with pytest.raises(OutputError, match="will not replace"):
        cogkp.write_predictions(cogkp.predict(file, video), tmp_path / "else.jsonl", draw=True)
    assert other.read_bytes() == b"a video of somebody"


def test_a_moment_of_views_is_one_line_and_one_drawing(file, tmp_path):
    folders, rig = write_folders(tmp_path, 3), write_calibration(tmp_path / "rig.json")
    predictions = cogkp.predict(file, folders, calibration=rig, min_confidence=0.0, unit_mm=2.0)
    cogkp.write_predictions(predictions, tmp_path / "out.jsonl", draw=True)
    for line in lines_of(tmp_path / "out.jsonl"):
        assert [*line["views"]] == ["LL", "LR"]
        assert line["unit"] == "mm"
        assert [point["name"] for point in line["points_world"]] == ["tip", "turn", "end"]
        for point in line["points_world"]:
            assert (point["xyz"] is not None) == point["valid"]
            assert point["used"] == (["LL", "LR"] if point["valid"] else [])
    drawn = read_image(tmp_path / "out-drawn" / "000.jpg")
    assert drawn.shape[1] > 2 * SIZE_WH[0]


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit on the size of files")
def test_a_full_disk_leaves_whole_lines_and_says_so(file, images, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    predictions = cogkp.predict(file, [images] * 40)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
        with pytest.raises(OutputError, match=r"out\.jsonl"):
            cogkp.write_predictions(predictions, tmp_path / "out.jsonl")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert len(lines_of(tmp_path / "out.jsonl")) >= 2


def test_what_was_found_before_an_error_of_the_source_is_written(file, tmp_path):
    rig = write_calibration(tmp_path / "rig.json")
    videos = {
        name: write_video(tmp_path / f"{name}.mkv", fourcc="FFV1", images=[scene(n) for n in range(count)])
        for name, count in (("LL", 5), ("LR", 4))
    }
    with pytest.raises(DataError, match="unequal length"):
        cogkp.write_predictions(cogkp.predict(file, videos, calibration=rig), tmp_path / "out.jsonl")
    assert [line["frame"] for line in lines_of(tmp_path / "out.jsonl")] == [0, 1, 2, 3]


def test_labels_of_one_camera_train(file, images, tmp_path):
    result = cogkp.write_predictions(cogkp.predict(file, images), tmp_path / "set", as_labels=0.0)
    assert {path.name for path in result.files} == {"data.jsonl", "keypoint.json"}
    lines = [line.content for line in read_lines(tmp_path / "set")]
    with cogkp.load(file) as model:
        for number, line in enumerate(lines):
            stored = read_image(tmp_path / "set" / line["image"])
            found = model(stored)
            np.testing.assert_allclose([*line["points"].values()], found.points, atol=2e-3)
            mask = read_mask(tmp_path / "set" / line["mask"], SIZE_WH)
            assert (mask == found.mask).mean() > 0.99
            assert [*line["points"]] == ["tip", "turn", "end"], number
    config = cogkp.load_config(tmp_path / "set" / "keypoint.json")
    assert cogkp.dry_run(config, cogkp.TrainOptions(batch_size=2, num_workers=0)).loss > 0


def test_points_below_the_confidence_are_no_labels(file, images, tmp_path):
    cogkp.write_predictions(cogkp.predict(file, images), tmp_path / "set", as_labels=1.0)
    for line in read_lines(tmp_path / "set"):
        assert set(line.content["points"].values()) == {None}
        assert all(0 <= sure <= 1 for sure in line.content["debug"]["confidence"].values())
    with pytest.raises(OutputError, match="data set already"):
        cogkp.write_predictions(cogkp.predict(file, images), tmp_path / "set", as_labels=0.5)


def test_a_pair_is_recorded_as_a_pipeline_does_and_the_page_s_config_trains_on_it(file, tmp_path):
    folders, rig = write_folders(tmp_path, 4), write_calibration(tmp_path / "rig.json")
    predictions = cogkp.predict(file, folders, calibration=rig)
    cogkp.write_predictions(predictions, tmp_path / "set", as_labels=0.0)
    (line, *_) = read_lines(tmp_path / "set")
    targets = line.content["debug"]["training_targets"]["keypoint3_mask"]
    assert targets["valid"] is True
    for name in ("LL", "LR"):
        assert [*targets[name]] == ["tip", "turn", "end", "mask"]
        assert line.content[name]["image"].startswith(f"{name}.image/")
    page = Path(__file__).parents[3] / "examples/configs/cog/data/T1-v3m-3kp-mask.json"
    config = json.loads(page.read_text())
    config |= {"base_dir": [str(tmp_path / "set")], "calibration_file": str(rig)}
    (tmp_path / "t1.json").write_text(json.dumps(config))
    options = cogkp.TrainOptions(batch_size=4, num_workers=0)
    assert cogkp.dry_run(cogkp.load_config(tmp_path / "t1.json"), options).loss > 0
    own = cogkp.load_config(tmp_path / "set" / "keypoint.json")
    assert own.data_mappings.y == cogkp.load_config(tmp_path / "t1.json").data_mappings.y


@pytest.mark.parametrize("least", [0.0, 0.05, 1.0])
def test_empties_are_explained_with_counts(file, images, tmp_path, least):
    result = cogkp.write_predictions(cogkp.predict(file, images), tmp_path / "out.jsonl", least=least)
    sure = sum(point["confidence"] >= least for line in lines_of(tmp_path / "out.jsonl") for point in line["points"])
    assert result.counts["sure"] == sure
    if sure >= 0.25 * 15:
        assert result.explanation == ()
    else:
        assert f"{15 - sure} of 15 points have a confidence below {least:g}" in result.explanation[0]
        assert "of 5 frames" in result.explanation[0]


@pytest.mark.parametrize(("value", "said"), [(2000, False), (40, True)])
def test_brightness_is_judged_by_the_levels_of_the_training(tmp_path, value, said):
    """Half of 12 bits is not dark to a model that was trained on 12 bits."""
    cv2.imwrite(str(tmp_path / "a.png"), np.full((64, 64), value, np.uint16))
    tally = Tally(1.1, {"size_wh": [64, 64], "bits": 16, "brightness": 0.5}, (0, 4095))
    model = write_onnx(tmp_path / "m.onnx", keypoint_task(keypoint_config()), None)
    with cogkp.predict(model, tmp_path / "a.png") as predictions:
        tally.add(next(predictions))
    assert ("darker" in "\n".join(tally.explanation())) == said


def test_a_crop_that_cuts_most_of_the_image_away_is_said(tmp_path):
    task = keypoint_task(keypoint_config(region="box", box=(0, 0, 40, 40)))
    file = write_onnx(tmp_path / "box.onnx", task, None)
    cv2.imwrite(str(tmp_path / "a.png"), scene(0, (400, 300)))
    result = cogkp.write_predictions(cogkp.predict(file, tmp_path / "a.png"), tmp_path / "o.jsonl", least=1.0)
    assert "cut away (1 of 1 such frame looked at): the network looks at 1 %" in "\n".join(result.explanation)


def test_images_unlike_those_of_the_training_are_said(tmp_path):
    """Dark, small, 16-bit images, after a training on bright ones of 8 bits, through checkpoint and export."""
    (tmp_path / "in").mkdir()
    write_recording(tmp_path / "set", frames=6, seed=0)
    config = tiny_config(tmp_path / "set")
    options = cogkp.TrainOptions(epochs=1, batch_size=2, num_workers=0)
    result = cogkp.train(config, options, checkpoint_root=tmp_path / "runs", log_dir=None, report=False)
    exported = cogkp.export(
        config,
        cogkp.ExportOptions(path=str(tmp_path / "m.onnx"), engine=False),
        checkpoint=str(result.checkpoint),
        checkpoint_root=tmp_path / "runs",
    )
    images = [path for path in sorted((tmp_path / "set").rglob("*.png")) if "mask" not in path.name]
    size = read_image(images[0]).shape[1::-1]
    for file in (result.checkpoint, exported.onnx):
        with cogkp.load(file) as model:
            seen = model.facts["training_images"]
        assert (tuple(seen["size_wh"]), seen["bits"]) == (size, 8)
        mean = np.mean([read_image(path).mean() / 255 for path in images])
        assert seen["brightness"] == pytest.approx(mean, abs=0.02)
    dark = np.full((size[1] * 2, size[0] * 2), int(65535 * seen["brightness"] / 10), np.uint16)
    cv2.imwrite(str(tmp_path / "in" / "a.png"), dark)
    summary = cogkp.write_predictions(cogkp.predict(file, tmp_path / "in"), tmp_path / "o.jsonl", least=1.0)
    said = "\n".join(summary.explanation)
    wide, high = size
    assert f"another size (1 of 1 such frame looked at): {2 * wide} x {2 * high} pixels" in said
    assert "images of 16 bits" in said
    assert "much darker images" in said
    like = cogkp.write_predictions(cogkp.predict(file, images[0]), tmp_path / "p.jsonl", least=1.0)
    assert len(like.explanation) == 1
