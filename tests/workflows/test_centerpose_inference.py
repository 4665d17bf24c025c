"""Images without labels: what is found in them, where it is written, and whose camera saw it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import attrs
import cv2
import numpy as np
import pytest
import torch

from cogkp.data.sample import collate
from cogkp.errors import ConfigError, DataError, OutputError
from cogkp.geometry.camera_frame import CameraFrame, frame_to_frame
from cogkp.tasks.centerpose.ground_truth import ObjectTruth
from cogkp.tasks.centerpose.poses import find_poses
from cogkp.tasks.centerpose.task import CenterPoseTask
from cogkp.workflows.families.centerpose.inference import find_inference_images
from cogkp.workflows.predict import infer
from tests.builders.experiment_model import with_section
from tests.builders.said_objects import truth_of, write_said
from tests.builders.tiny_boxes import SIDE, tiny_experiment

PICTURES = 3
SIZE_WH = (96, 72)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """An experiment on labelled images, and a model that says their truth in their order."""
    folder = tmp_path_factory.mktemp("labelled")
    config = tiny_experiment(folder, pictures=PICTURES)
    return config, write_said(folder / "said.onnx", truth_of(config), SIDE)


@pytest.fixture
def experiment(labelled, tmp_path):
    """The same on a copy of the images alone."""
    config, model = labelled
    shutil.copytree(config.dataset.test_data, tmp_path / "in")
    return attrs.evolve(
        with_section(config, "inference", trt_engine=str(model), batch_size=PICTURES),
        results_dir=str(tmp_path / "out"),
        dataset=attrs.evolve(config.dataset, inference_data=str(tmp_path / "in")),
    )


def pictures_of(experiment):
    return Path(experiment.dataset.inference_data)


def without_labels(experiment):
    for path in pictures_of(experiment).rglob("*.json"):
        path.unlink()


def camera_of(experiment):
    """The camera of the first image as an experiment names it; each has its own."""
    said = json.loads(min(pictures_of(experiment).rglob("*.json")).read_text())["camera_data"]["intrinsics"]
    names = {"fx": "focal_length_x", "fy": "focal_length_y", "cx": "principle_point_x", "cy": "principle_point_y"}
    return {names[key]: said[key] for key in names}


def objects_of(folder, name):
    return json.loads((folder / f"{name}.json").read_text())["objects"]


def test_files_say_what_the_evaluation_judges(experiment):
    found = infer(experiment)
    assert (found.images, found.counts["objects"], found.problems) == (PICTURES, PICTURES, ())
    task = CenterPoseTask(experiment)
    dataset = task.datasets("evaluation")
    batch = collate([dataset[index] for index in range(PICTURES)])
    truth = ObjectTruth(*batch.targets.truth)
    poses = find_poses(task.codec.decode(truth_of(experiment), batch.source_to_crop), truth.K.numpy())
    turn = frame_to_frame(CameraFrame.OPENCV, CameraFrame.OBJECTRON)
    for index in range(PICTURES):
        (said,) = objects_of(found.folder, f"{index:05d}")
        wanted = poses.of_image(index)
        np.testing.assert_allclose(said["projected_keypoints_2d"][1:], wanted.uv[0, 1:], atol=1e-6)
        np.testing.assert_allclose(said["projected_keypoints_2d"][1:], truth.uv_source[index, 0, 1:], atol=1.0)
        # The ground is known: where the object is, is known in metres, in the axes of the labels.
        assert not said["up_to_scale"]
        true = torch.as_tensor(turn) @ truth.cuboid_to_camera[index, 0, :3, 3]
        assert np.linalg.norm(np.array(said["location"]) - true.numpy()) < 0.05 * np.linalg.norm(true)
        assert said["class"] == "carton"
        assert said["score"] > 0.99
    turned = infer(with_section(experiment, "inference", opencv=True))
    for index in range(PICTURES):
        (said,) = objects_of(turned.folder, f"{index:05d}")
        assert said["location"][2] > 0
        np.testing.assert_allclose(said["location"], poses_location(poses, index, said), rtol=1e-6)
    status = [json.loads(line) for line in (found.folder / "status.json").read_text().splitlines()]
    assert [line["status"] for line in status] == ["STARTED", "SUCCESS"] * 2
    assert status[-1]["kpi"] == {"pictures": PICTURES, "objects": PICTURES, "unusable": 0}


def poses_location(poses, index, said):
    """Take the place that is known up to scale to the size that the file tells."""
    (pose,) = poses.of_image(index)
    return pose.cuboid_to_camera[:3, 3] * np.array(said["size"][1]) / pose.size_xyz[1]


def test_results_mirror_the_pictures_and_drawings_show_the_boxes(experiment):
    folder = pictures_of(experiment)
    for number, place in enumerate(("a/b", "a/c")):
        (folder / place).mkdir(parents=True)
        for path in folder.glob(f"0000{number}.*"):
            path.rename(folder / place / f"0{path.suffix}")
    found = infer(experiment)  # in the order of paths, as the model's rows
    names = {path.relative_to(found.folder).as_posix() for path in found.folder.rglob("*") if path.is_file()}
    each = {f"{name}{suffix}" for name in ("00002", "a/b/0", "a/c/0") for suffix in (".json", ".jpg")}
    assert names == each | {"experiment.yaml", "status.json"}
    drawn = cv2.imread(str(found.folder / "00002.jpg"))
    plain = cv2.imread(str(folder / "00002.jpg"))
    factor = len(drawn) // len(plain)
    assert drawn.shape[:2] == (factor * SIZE_WH[1], factor * SIZE_WH[0])
    (said,) = objects_of(found.folder, "00002")
    corner = (np.array(said["projected_keypoints_2d"][1:5]) + 0.5) * factor - 0.5
    for first, second in ((0, 1), (2, 3)):
        u, v = np.round((corner[first] + corner[second]) / 2).astype(int)
        blue, green, red = drawn[v, u].astype(int)
        assert red > max(blue, green) + 60, "an edge is red"


def test_pictures_with_one_stem_keep_their_whole_names(experiment):
    folder = pictures_of(experiment)
    pixels = cv2.imread(str(folder / "00001.jpg"))
    for path in folder.glob("0000[12].*"):
        path.unlink()
    cv2.imwrite(str(folder / "00000.png"), pixels)
    cv2.imwrite(str(folder / "status.png"), pixels)
    shutil.copy(folder / "00000.json", folder / "status.json")
    found = infer(experiment)
    names = {path.name for path in found.folder.glob("*.json")}
    assert names == {"00000.jpg.json", "00000.png.json", "status.png.json", "status.json"}


def test_the_experiments_camera_serves_pictures_without_labels(experiment):
    camera = camera_of(experiment)
    (before,) = objects_of(infer(experiment).folder, "00000")
    without_labels(experiment)
    found = infer(with_section(experiment, "inference", **camera))
    assert found.counts["up_to_scale"] == PICTURES
    (after,) = objects_of(found.folder, "00000")
    assert (before["up_to_scale"], after["up_to_scale"]) == (False, True)
    np.testing.assert_allclose(before["quaternion_xyzw"], after["quaternion_xyzw"], atol=1e-6)
    np.testing.assert_allclose(np.array(before["location"]) / before["size"][1], after["location"], rtol=1e-6)
    tall = infer(with_section(experiment, "inference", object_height=0.3, **camera))
    assert tall.counts["up_to_scale"] == 0
    assert objects_of(tall.folder, "00000")[0]["size"][1] == pytest.approx(0.3)


def test_a_file_beside_a_picture_may_tell_the_height(experiment):
    for path in pictures_of(experiment).glob("*.json"):
        camera = json.loads(path.read_text())["camera_data"]
        path.write_text(json.dumps({"camera_data": camera, "object_height": 0.25}))
    found = infer(with_section(experiment, "inference", object_height=0.3))
    assert found.counts["up_to_scale"] == 0
    assert objects_of(found.folder, "00001")[0]["size"][1] == pytest.approx(0.25)


def test_no_camera_is_assumed(experiment):
    without_labels(experiment)
    with pytest.raises(DataError, match=r"camera is not known.*focal_length_x") as refused:
        infer(experiment)
    assert "\n" not in str(refused.value)
    flat = infer(with_section(experiment, "inference", use_pnp=False))
    (said,) = objects_of(flat.folder, "00000")
    assert said.keys() == {"id", "relative_scale", "keypoints_2d", "class", "score", "bbox"}
    assert (flat.folder / "00000.jpg").is_file()
    with pytest.raises(ConfigError, match="unusable camera"):
        infer(with_section(experiment, "inference", **dict.fromkeys(camera_keys(), 0.0)))


def camera_keys():
    return ("focal_length_x", "focal_length_y", "principle_point_x", "principle_point_y")


def test_what_cannot_be_used_is_left_out_and_told(experiment):
    folder = pictures_of(experiment)
    (folder / "00000.jpg").write_bytes((folder / "00000.jpg").read_bytes()[:200])
    content = json.loads((folder / "00001.json").read_text())
    content["camera_data"]["intrinsics"]["fx"] = 0
    (folder / "00001.json").write_text(json.dumps(content))
    found = infer(experiment)
    assert found.images == 1
    assert sorted(path.name for path in found.folder.glob("0*.json")) == ["00002.json"]
    told = "\n".join(found.problems)
    assert "00000.jpg" in told
    assert "00001.json camera_data.intrinsics.fx: expected a number > 0" in told
    assert "no camera is assumed" in told
    (folder / "00002.jpg").write_bytes(b"")
    none = infer(experiment)
    assert (none.images, len(none.problems)) == (0, PICTURES)
    (folder / "00000.jpg").write_bytes(b"")
    with pytest.raises(DataError, match="empty"):
        infer(experiment)


def test_folders_that_cannot_be_meant_are_refused(experiment, tmp_path):
    def at(folder):
        return attrs.evolve(experiment, dataset=attrs.evolve(experiment.dataset, inference_data=str(folder)))

    with pytest.raises(DataError, match="does not exist"):
        infer(at(tmp_path / "none"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="there are no images"):
        infer(at(tmp_path / "empty"))


@pytest.mark.parametrize("place", [".", "..", "results", "../in/a/b"])
def test_results_stay_apart_from_the_pictures_and_a_refusal_writes_nothing(experiment, place):
    """What lies above the images is refused too: it would hold both, and both are trees of images."""
    images = pictures_of(experiment)
    before = sorted(images.parent.rglob("*"))
    with pytest.raises(OutputError, match="among the images"):
        infer(with_section(experiment, "inference", results_dir=str(images / place)))
    assert sorted(images.parent.rglob("*")) == before


def test_neither_files_nor_drawings_where_none_are_wanted(experiment):
    found = infer(with_section(experiment, "inference", save_json=False, save_visualization=False))
    assert {path.name for path in found.folder.iterdir()} == {"experiment.yaml", "status.json"}
    few = infer(with_section(experiment, "inference", visualization_threshold=1.0))
    assert few.counts["objects"] == 0
    assert objects_of(few.folder, "00000") == []


def test_a_misspelt_camera_is_told_where_another_takes_its_place(experiment, caplog):
    camera = camera_of(experiment)
    for path in pictures_of(experiment).rglob("*.json"):
        content = json.loads(path.read_text())
        content["camera_dta"] = content.pop("camera_data")
        path.write_text(json.dumps(content))
    find_inference_images(with_section(experiment, "inference", **camera))
    assert (
        f"the key 'camera_dta' means nothing, and is there {PICTURES} times. Did you mean 'camera_data'?" in caplog.text
    )
