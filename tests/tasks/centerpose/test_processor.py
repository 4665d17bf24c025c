"""The processor of a CenterPose model: the same input and the same poses as evaluation, and none of it needs torch."""

import json
import subprocess
import sys

import attrs
import cv2
import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cogkp.config.centerpose.spec import DatasetSpec
from cogkp.data.boxes.dataset import ObjectDataset
from cogkp.data.boxes.view import BoxInput
from cogkp.data.images import ImageFile, encode_image, read_colour
from cogkp.errors import ArtifactError, ModelError, NotFiniteError
from cogkp.geometry.camera import PinholeCamera
from cogkp.geometry.camera_frame import CameraFrame
from cogkp.geometry.cuboid import Plane
from cogkp.inference.processor import Prepared
from cogkp.tasks.centerpose.detections import DecodedObjects
from cogkp.tasks.centerpose.poses import find_poses
from cogkp.tasks.centerpose.prediction import inference_record
from cogkp.tasks.centerpose.processor import CenterPoseProcessor, processor_of
from cogkp.tasks.centerpose.task import CenterPoseTask
from tests.builders.box_files import write_set
from tests.builders.placed import SIZE_WH, K
from tests.builders.said_objects import write_said
from tests.builders.tiny_boxes import SIDE, tiny_experiment
from tests.tasks.centerpose.test_poses import CODEC, batch_of, boxes, maps_of

FACTS = {
    "family": "centerpose",
    "category": "crate",
    "input": {"size_wh_px": [256, 256], "mean": [0.4, 0.4, 0.5], "std": [0.2, 0.3, 0.3]},
    "stride_px": 4,
    "scale": "units of the object's height",
}
PROCESSOR = processor_of(FACTS, "crate.onnx")
IMAGE = np.random.default_rng(0).integers(0, 255, (*SIZE_WH[::-1], 3), np.uint8)
FIELDS = ("cuboid_to_camera", "size_xyz", "xyz_camera", "uv", "uv_direct", "box_uv", "relative_size")


def outputs_of(*labels):
    """What an exported network puts out for images of these boxes, by name."""
    return CODEC.decoded(maps_of(batch_of(*labels)))._asdict()


ONE = outputs_of(boxes())
TWO = outputs_of(boxes(), boxes((2.5,)))


def found_in(outputs, prepared=None, **known):
    count = len(outputs["scores"])
    return PROCESSOR.predictions(outputs, prepared or [PROCESSOR.prepare(IMAGE)] * count, **known)


def assert_same(one, other, **close):
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        for name in FIELDS:
            np.testing.assert_allclose(getattr(a, name), getattr(b, name), **({"rtol": 0, "atol": 0} | close))
        assert (a.score, a.metric) == (b.score, b.metric)


# --- without torch ---

FRESH = """
import json, sys
import numpy as np
from cogkp.tasks.centerpose.processor import processor_of
facts, outputs, K = json.loads(sys.argv[1]), dict(np.load(sys.argv[2])), np.array(json.loads(sys.argv[3]))
processor = processor_of(facts, "crate.onnx")
processor.check({"input": ("B", 3, 256, 256)}, {name: values.shape for name, values in outputs.items()})
image = np.zeros((800, 600, 3), np.uint8)
(found,) = processor.predictions(outputs, [processor.prepare(image)], camera=K, height=0.4)
print(json.dumps({"found": found.to_dict(), "drawn": int(found.draw().astype(int).sum()), "repr": repr(found),
                  "html": len(found._repr_html_()), "heavy": sorted({"torch", "onnx"} & set(sys.modules))}))
"""


def test_a_fresh_interpreter_finds_poses_and_draws_them_without_torch(tmp_path):
    np.savez(tmp_path / "outputs.npz", **ONE)
    words = json.dumps(FACTS), str(tmp_path / "outputs.npz"), json.dumps(K.tolist())
    done = subprocess.run([sys.executable, "-c", FRESH, *words], capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    assert told["heavy"] == []
    assert told["drawn"] > 0
    assert told["html"] > 1000
    (here,) = found_in(ONE, camera=K, height=0.4)
    assert told["found"] == json.loads(json.dumps(here.to_dict()))
    assert told["repr"] == repr(here)


# --- the input ---


def test_a_file_is_prepared_as_training_and_evaluation_prepare_it(tmp_path):
    data = ObjectDataset([write_set(tmp_path)], "evaluation", CODEC.encode, view=CODEC.view)
    processor = CenterPoseProcessor(view=CODEC.view, category="crate")
    for k, record in enumerate(data.records):
        rgb = read_colour(record.image)
        as_sample, here, codec = data[k][0].sample, processor.prepare(rgb), CODEC.prepare(rgb)
        for image, source_to_crop in (here[:2], codec):
            assert np.array_equal(image, as_sample.image)
            assert np.array_equal(source_to_crop, as_sample.source_to_crop.matrix.numpy())
        assert here.size_wh == as_sample.source_size_wh
        assert np.array_equal(processor.prepare(cv2.imread(str(record.image))[..., ::-1]).input, here.input)


def test_the_plain_input_is_that_of_a_plain_experiment():
    spec = DatasetSpec()
    assert BoxInput() == BoxInput(side=spec.input_res, mean=spec.mean, std=spec.std)


def test_colours_are_those_the_file_says_and_grey_has_three():
    grey = processor_of(FACTS, "").prepare(np.full((80, 80), 255, np.uint8))
    blue, green, red = grey.input[:, 128, 128]
    assert (blue, green, red) == pytest.approx((0.6 / 0.2, 0.6 / 0.3, 0.5 / 0.3))
    assert grey.size_wh == (80, 80)
    oblong = processor_of(FACTS | {"input": FACTS["input"] | {"size_wh_px": [128, 64]}}, "").prepare(IMAGE)
    assert oblong.input.shape == (3, 64, 128)
    np.testing.assert_allclose(oblong.source_to_crop @ [300, 400, 1], [64, 32, 1])
    assert oblong.input.dtype == np.float32


# --- what is found ---


@pytest.mark.parametrize("known", [{}, {"height": 0.4}, {"ground": ((0.0, 0.5, 2.0), (0.0, -1.0, -0.2))}])
def test_poses_are_those_of_the_codec_and_find_poses(known):
    batch = batch_of(boxes(), boxes((2.5,)))
    detections = CODEC.decode(DecodedObjects(**TWO), batch.source_to_crop)
    wanted = {
        name: Plane(*(np.tile(part, (2, 1)) for part in value)) if name == "ground" else np.full(2, value)
        for name, value in known.items()
    }
    poses = find_poses(detections, K, **wanted)
    found = found_in(TWO, camera=K, **known)
    assert [len(each) for each in found] == [2, 1]
    for row, each in enumerate(found):
        assert_same(each.objects, list(poses.of_image(row)))
        record = inference_record("", poses.of_image(row), "crate", CameraFrame.OBJECTRON)
        assert each.to_dict(CameraFrame.OBJECTRON)["objects"] == record["objects"]
        assert [one.metric for one in each] == [bool(known)] * len(each)


def test_a_network_of_onnx_runtime_says_the_same_as_its_source(tmp_path):
    batch = batch_of(boxes())
    decoded = CODEC.decoded(maps_of(batch))
    said = DecodedObjects(*(torch.from_numpy(field) for field in decoded))
    session = onnxruntime.InferenceSession(str(write_said(tmp_path / "said.onnx", said, 256)))
    prepared = PROCESSOR.prepare(IMAGE)
    rows = session.run(list(DecodedObjects._fields), {"input": prepared.input[None]})
    outputs = dict(zip(DecodedObjects._fields, rows, strict=True))
    (found,) = found_in(outputs, [prepared], camera=K)
    poses = find_poses(CODEC.decode(maps_of(batch), batch.source_to_crop), K)
    assert_same(found.objects, list(poses))
    true = boxes().cuboid_to_camera
    for each, pose, height in zip(
        sorted(found, key=lambda one: one.cuboid_to_camera[2, 3] * one.size_xyz[1]), true, (0.4, 0.35), strict=True
    ):
        np.testing.assert_allclose(each.cuboid_to_camera[:3, 3] * height, pose[:3, 3], atol=2e-3)


def test_a_trained_model_is_asked_through_the_facts_of_its_export(tmp_path):
    config = tiny_experiment(tmp_path, width=0.125)
    task = CenterPoseTask(config)
    spec = task.export_spec(1)
    processor = processor_of(spec.facts, "tiny.onnx")
    prepared = processor.prepare(IMAGE)
    assert prepared.input.shape == (3, SIDE, SIDE)
    with torch.inference_mode():
        decoded = task.export_module()(torch.from_numpy(prepared.input[None]))
    outputs = {name: value.numpy() for name, value in decoded._asdict().items()}
    processor.check({"input": ("batch_size", 3, SIDE, SIDE)}, {name: each.shape for name, each in outputs.items()})
    (found,) = processor.predictions(outputs, [prepared], threshold=0.0)
    codec = attrs.evolve(task.codec, filtering=attrs.evolve(task.codec.filtering, threshold=0.0))
    same = codec.decode(decoded, prepared.source_to_crop[None])
    np.testing.assert_array_equal(np.stack([each.uv_direct for each in found]), same.uv_direct)
    assert processor.names == ("carton",)
    assert processor.metric == config.dataset.use_absolute_scale


def test_a_category_from_a_file_is_shown_and_not_obeyed():
    (found,) = found_in(ONE)
    odd = attrs.evolve(found, category="box\x1b[2J\n")
    none = attrs.evolve(odd, found=odd.found.pick(np.zeros(len(odd), bool)))
    for shown in (repr(odd), repr(none), odd._repr_html_()):
        assert r"box\x1b[2J\n" in shown
        assert "\x1b" not in shown


def test_without_a_camera_there_are_corners_and_no_poses_and_that_is_said():
    (found,) = found_in(ONE)
    posed = found_in(ONE, camera=K)[0]
    assert len(found) == len(posed) == 2
    for one, other in zip(found, posed, strict=True):
        assert one.cuboid_to_camera is one.size_xyz is one.xyz_camera is one.residual_px is None
        assert not one.metric
        assert np.array_equal(one.uv[1:], one.uv_direct)
        np.testing.assert_allclose(one.uv[0], one.uv_direct.mean(0))
        assert np.array_equal(one.uv_direct, other.uv_direct)
    assert "camera is not known" in repr(found)
    assert "camera is not known" in found._repr_html_()
    assert "camera" not in repr(posed)
    assert found.to_dict()["camera_known"] is False
    assert "location" not in found.to_dict()["objects"][0]


def test_numbers_may_come_as_lists():
    ground = ((0.0, 0.5, 2.0), (0.0, -1.0, -0.2))
    plain = found_in(TWO, camera=K, ground=ground)
    for camera, each in ((K.tolist(), [list(part) for part in ground]), ([K.tolist(), K], [ground, np.array(ground)])):
        for one, other in zip(found_in(TWO, camera=camera, ground=each), plain, strict=True):
            assert_same(one.objects, other.objects)
    for known in ({"camera": [K]}, {"height": [0.4, 0.4, 0.4]}, {"ground": []}):
        with pytest.raises(ModelError, match="does not fit the images: expected 2 values"):
            found_in(TWO, **known)


def test_a_list_has_a_value_for_each_image():
    first, second = found_in(TWO, camera=[None, K], height=[0.2, 0.4])
    assert first.camera is None
    assert first.objects[0].cuboid_to_camera is None
    assert second.objects[0].size_xyz[1] == pytest.approx(0.4)
    wide = K * np.array([[0.5], [0.5], [1.0]])
    far, near = found_in(TWO, camera=[K, wide])
    # A fit goes on until the last object of its batch has converged.
    assert_same(far.objects, found_in(TWO, camera=K)[0].objects, rtol=1e-6, atol=1e-6)
    assert_same(near.objects, found_in(TWO, camera=wide)[1].objects, rtol=1e-6, atol=1e-6)


# --- properties ---


@settings(max_examples=20, deadline=None)
@given(st.floats(-80, 80), st.floats(-80, 80), st.floats(0.3, 3.0))
def test_a_moved_and_resized_image_moves_pixels_and_keeps_poses(right, down, scale):
    move = np.array([[scale, 0, right], [0, scale, down], [0, 0, 1.0]])
    plain = PROCESSOR.prepare(IMAGE)
    moved = plain._replace(source_to_crop=plain.source_to_crop @ np.linalg.inv(move))
    (one,), (other,) = found_in(ONE, [plain], camera=K), found_in(ONE, [moved], camera=move @ K)
    for a, b in zip(one, other, strict=True):
        for name in ("uv", "uv_direct"):
            np.testing.assert_allclose(scale * getattr(a, name) + [right, down], getattr(b, name), atol=1e-5)
        np.testing.assert_allclose(a.cuboid_to_camera, b.cuboid_to_camera, atol=1e-5)
        assert scale * a.residual_px == pytest.approx(b.residual_px, rel=1e-3, abs=1e-6)


def test_images_of_a_batch_do_not_touch_each_other():
    together = found_in(TWO, camera=K)
    back = found_in({name: values[::-1] for name, values in TWO.items()}, camera=K)
    for one, other in zip(together, back[::-1], strict=True):
        assert_same(one.objects, other.objects, rtol=1e-6, atol=1e-6)
    for row in range(2):
        (alone,) = found_in({name: values[[row]] for name, values in TWO.items()}, camera=K)
        assert_same(alone.objects, together[row].objects, rtol=1e-6, atol=1e-6)


def test_a_higher_threshold_leaves_out_the_less_likely():
    scores = ONE["scores"].copy()
    scores[0, :2, 0] = 0.9, 0.5
    outputs = ONE | {"scores": scores}
    assert [each.score for each in found_in(outputs, camera=K)[0]] == pytest.approx([0.9, 0.5])
    assert [each.score for each in found_in(outputs, camera=K, threshold=0.6)[0]] == pytest.approx([0.9])
    strict = processor_of(FACTS, "", threshold=0.6)
    assert len(strict.predictions(outputs, [strict.prepare(IMAGE)])[0]) == 1
    (nothing,) = found_in(outputs, threshold=0.95)
    assert nothing.objects == ()
    assert "no crate" in repr(nothing)
    assert nothing.draw().shape == IMAGE.shape


def test_a_camera_with_a_lens_has_its_lens_undone():
    labels, lens = boxes((2.0,)), torch.tensor([-0.25, 0.08, 0.001, -0.002], dtype=torch.float64)
    camera = PinholeCamera(torch.from_numpy(K), torch.eye(4, dtype=torch.float64), SIZE_WH, lens)
    bent = camera.project(torch.from_numpy(labels.xyz_camera if hasattr(labels, "xyz_camera") else points_of(labels)))
    outputs = outputs_of(attrs.evolve(labels, uv_source=bent.uv.numpy()[None]))
    (found,) = found_in(outputs, camera=camera, height=0.4)
    (each,) = found
    np.testing.assert_allclose(each.cuboid_to_camera, labels.cuboid_to_camera[0], atol=3e-3)
    np.testing.assert_allclose(each.uv, bent.uv[0].numpy(), atol=0.02)
    (straight,) = found_in(outputs, camera=K, height=0.4)
    assert straight.objects[0].residual_px > 10 * each.residual_px
    drawn = found.outlines()[0]
    ends = each.cuboid_to_camera[:3, 3] + 0.5 * each.size_xyz[1] * each.cuboid_to_camera[:3, :3].T
    np.testing.assert_allclose(drawn.uv[9:], camera.project(torch.from_numpy(ends)).uv.numpy(), atol=1e-6)
    batch = batch_of(attrs.evolve(labels, uv_source=bent.uv.numpy()[None]))
    detections = CODEC.decode(maps_of(batch), batch.source_to_crop)
    for distortion in (lens.numpy(), lens.numpy()[None]):
        assert_same(list(find_poses(detections, K, distortion=distortion, height=[0.4])), found.objects)
    plain = attrs.evolve(camera, distortion=torch.zeros(5))
    assert_same(found_in(ONE, camera=plain)[0].objects, found_in(ONE, camera=K)[0].objects)


def points_of(labels):
    signs = np.array([[0, 0, 0], *([x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1))], dtype=float)
    local = signs * labels.size_xyz[:, None] / 2
    return local @ labels.cuboid_to_camera[:, :3, :3].swapaxes(1, 2) + labels.cuboid_to_camera[:, None, :3, 3]


def test_objects_without_a_pose_are_counted():
    sizes = ONE["obj_scale"].copy()
    sizes[0, 0, 1] = -1.0
    (found,) = found_in(ONE | {"obj_scale": sizes}, camera=K)
    assert (len(found), found.left_out) == (1, 1)
    assert "1 object left out" in repr(found)
    assert found.to_dict()["left_out"] == 1
    assert len(found_in(ONE | {"obj_scale": sizes})[0]) == 2


def test_flat_boxes_tell_their_second_pose():
    rng = np.random.default_rng(0)
    sizes = ONE["obj_scale"].copy()
    sizes[..., :] = 1.0, 1e-3, 1.2
    told = 0
    for _ in range(10):
        outputs = ONE | {"obj_scale": sizes, "kps_displacement_mean": flat_corners(rng)}
        (found,) = found_in(outputs, camera=K)
        for each, record in zip(found, found.to_dict()["objects"], strict=True):
            assert ("second_pose" in record) == each.ambiguous
            if each.ambiguous:
                told += 1
                assert record["second_pose"]["location"] == each.second_cuboid_to_camera[:3, 3].tolist()
                assert record["second_pose"]["reprojection_error_px"] == each.second_residual_px >= each.residual_px
                assert "ambiguous" in repr(each)
    assert told


def flat_corners(rng):
    """Corners of flat boxes far away as the centre sees them, off by a pixel; cells."""
    labels = boxes((2.0, 3.0))
    far = attrs.evolve(labels, size_xyz=np.tile([0.1, 1e-4, 0.12], (2, 1)))
    seen = points_of(far)[:, 1:] @ K.T
    uv = seen[..., :2] / seen[..., 2:] + rng.normal(size=(2, 8, 2))
    cells = (0.32 * uv + [(256 - 0.32 * 600) / 2, 0]) / 4
    corners = ONE["kps_displacement_mean"].copy()
    corners[0, :2] = cells.reshape(2, 16)
    return corners


# --- drawing and plain values ---


def test_drawings_have_the_size_of_the_image_and_show_its_boxes(tmp_path):
    (found,) = found_in(ONE, camera=K)
    drawn = found.draw()
    assert drawn.shape == IMAGE.shape
    assert (drawn != IMAGE).any(-1).mean() > 0.005
    path = tmp_path / "image.png"
    path.write_bytes(encode_image(IMAGE))
    (again,) = found_in(ONE, [PROCESSOR.prepare(IMAGE)._replace(image=ImageFile(path))], camera=K)
    assert np.array_equal(again.draw(), drawn)
    sixteen = PROCESSOR.prepare(IMAGE.astype(np.uint16) * 257)
    assert np.array_equal(found_in(ONE, [sixteen], camera=K)[0].draw(), drawn)
    assert found.draw(least_side_px=1000).shape == (1600, 1200, 3)
    assert found.draw(least_side_px=800).shape == IMAGE.shape
    assert np.array_equal(found.draw(axis_size=0.5), drawn)
    assert not np.array_equal(found.draw(axis_size=1.0), drawn)
    bare = Prepared(*PROCESSOR.prepare(IMAGE)[:3])
    assert found_in(ONE, [bare])[0].draw().shape == IMAGE.shape
    assert IMAGE.tolist() == np.random.default_rng(0).integers(0, 255, IMAGE.shape, np.uint8).tolist()


def test_plain_values_are_json_and_name_what_was_found():
    (found,) = found_in(ONE, camera=K)
    told = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert told["size_wh"] == list(SIZE_WH)
    assert told["camera_known"] is True
    assert [each["class"] for each in told["objects"]] == ["crate", "crate"]
    assert told["objects"][0]["size"] == found.objects[0].size_xyz.tolist()
    assert repr(found).startswith("<600 x 800 pixels: <crate 1.00 at (")
    assert "up to scale" in repr(found)
    assert "up to scale" not in repr(found_in(ONE, camera=K, height=1.0)[0])


# --- refusals ---


@pytest.mark.parametrize(
    ("known", "message"),
    [
        ({"camera": np.eye(4)}, "not a camera: expected intrinsics"),
        ({"camera": 0 * K}, "focal lengths > 0 px"),
        ({"camera": np.nan * K}, "not a camera"),
        ({"camera": "phone"}, "got 'phone'"),
        ({"camera": K.T}, r"Rows are \(fx, skew, cx\)"),
        ({"camera": 2 * K}, "not a camera"),
        ({"camera": K + np.outer([0, 0.1, 0], [1, 0, 0])}, "not a camera"),
        ({"camera": K * [[1], [-1], [1]]}, "not a camera"),
        ({"height": 0.0}, "not a height: expected a finite number > 0, got 0.0"),
        ({"height": "tall"}, "got 'tall'"),
        ({"height": np.inf}, "not a height"),
        ({"ground": (1, 2)}, "not a ground"),
        ({"ground": ((0, 0, 1), (0, 0, 0))}, "the normal not zero"),
        ({"threshold": 1.5}, "not a threshold: expected a number from 0 to 1, got 1.5"),
    ],
)
def test_what_is_told_beside_an_image_is_checked(known, message):
    with pytest.raises(ModelError, match=message):
        found_in(ONE, **known)


def test_a_camera_of_another_image_size_is_refused():
    camera = PinholeCamera(torch.from_numpy(K), torch.eye(4, dtype=torch.float64), (640, 480))
    with pytest.raises(ModelError, match="640 x 480 pixels, got 600 x 800 pixels"):
        found_in(ONE, camera=camera)


def test_a_network_that_puts_out_no_numbers_is_refused():
    scores = ONE["scores"].copy()
    scores[0, 3] = np.nan
    with pytest.raises(NotFiniteError, match="not a number"):
        found_in(ONE | {"scores": scores})


def without(name):
    facts = json.loads(json.dumps(FACTS))
    *above, last = name.split(".")
    part = facts
    for word in above:
        part = part[word]
    del part[last]
    return facts


@pytest.mark.parametrize("name", ["input", "input.size_wh_px", "input.mean", "input.std", "stride_px", "category"])
def test_facts_that_are_missing_are_named(name):
    with pytest.raises(ArtifactError, match=r"got nothing\. Export the model again") as told:
        processor_of(without(name), "crate.onnx")
    assert name in str(told.value)
    assert "crate.onnx" in str(told.value)


@pytest.mark.parametrize(
    "change",
    [
        {"stride_px": 0},
        {"stride_px": 2.5},
        {"stride_px": [4]},
        {"stride_px": 10**400},
        {"input": FACTS["input"] | {"mean": [0.1, 10**400, 0.1]}},
        {"category": ""},
        {"category": 3},
        {"input": FACTS["input"] | {"size_wh_px": [256]}},
        {"input": FACTS["input"] | {"size_wh_px": [256, -1]}},
        {"input": FACTS["input"] | {"std": [0.1, 0.0, 0.1]}},
        {"input": FACTS["input"] | {"mean": [0.1, None, 0.1]}},
        {"input": "256 x 256"},
    ],
)
def test_facts_that_make_no_sense_are_refused(change):
    with pytest.raises(ArtifactError, match="does not say what its network needs"):
        processor_of(FACTS | change, "crate.onnx")


@pytest.mark.parametrize(
    ("takes", "gives"),
    [
        ({"input": ("B", 1, 256, 256)}, {}),
        ({"input": ("B", 3, 128, 256)}, {}),
        ({}, {}),
        ({"input": ("B", 3, 256, 256)}, {"kps": (1, 20, 18)}),
        ({"input": ("B", 3, 256, 256)}, {"obj_scale": (1, 3)}),
    ],
)
def test_files_that_disagree_with_their_facts_are_refused(takes, gives):
    shapes = {name: values.shape for name, values in ONE.items()}
    PROCESSOR.check({"input": (1, 3, 256, 256)}, shapes)
    with pytest.raises(ArtifactError, match="the model file and its facts disagree"):
        PROCESSOR.check(takes, shapes | gives)
    with pytest.raises(ArtifactError, match="an output bboxes"):
        PROCESSOR.check({"input": (1, 3, 256, 256)}, {})
