"""Images to the input of a keypoint network and back, without torch: the same as training and evaluation do."""

import logging
import pickle
from itertools import pairwise

import attrs
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cogkp.config.augment import Affine, Crop, Flip, Noise
from cogkp.data.images import read_image
from cogkp.data.keypoint.dataset import AugmentedKeypointDataset
from cogkp.errors import ArtifactError, ModelError, NotFiniteError
from cogkp.geometry.warp import ImageWarp
from cogkp.models.keypoint import KeypointMaskOutputs, KeypointOutputs
from cogkp.tasks.keypoint.codec import KeypointCodec
from cogkp.tasks.keypoint.processor import KeypointProcessor, processor_of
from cogkp.tasks.keypoint.task import KeypointTask
from tests.builders.keypoint_model import POINTS, SIDE, keypoint_config, scene
from tests.builders.tiny_keypoints import tiny_config

FACTS = KeypointTask(keypoint_config())._facts()
PROCESSOR = processor_of(FACTS, "x")
LOOKING = processor_of(FACTS | {"crop": FACTS["crop"] | {"region": "points", "margin": 0.5}}, "x")
REGIONS = {
    "frame": Crop(output_size=64),
    "box": Crop(output_size=64, region="box", box=(20.0, 10.0, 70.5, 66.0)),
    "points": Crop(output_size=64, region="points", margin=0.3, min_size_px=20.0),
}


def outputs(rng, count=2, classes=None, dtype=np.float32):
    maps = rng.random((count, len(POINTS), 16, 16)) ** 8
    found = {
        "keypoints": rng.uniform(0, SIDE - 1, (count, len(POINTS), 2)).astype(dtype),
        "heatmaps": (maps / maps.sum((-2, -1), keepdims=True)).astype(dtype),
    }
    return found | ({"mask_logits": rng.normal(size=(count, classes, SIDE, SIDE)).astype(dtype)} if classes else {})


@pytest.mark.parametrize("region", REGIONS)
@pytest.mark.parametrize("split", ["validation", "evaluation"])
def test_an_image_is_prepared_as_evaluation_does(tmp_path, region, split):
    """Bit for bit, whatever training does beside."""
    config = tiny_config(tmp_path, validation=3)
    config = attrs.evolve(config, augmentations=(Affine(), REGIONS[region], Flip(), Noise()))
    codec = KeypointCodec.of(config)
    dataset = AugmentedKeypointDataset(config, split, codec.encode)
    for item in range(len(dataset)):
        (encoded,), (_, (view,)) = dataset[item], dataset._item(item)
        box = (*view.uv_source.min(0), *view.uv_source.max(0)) if region == "points" else None
        image, source_to_crop = codec.prepare(read_image(view.image), box=box)
        assert np.array_equal(image, encoded.sample.image)
        assert np.array_equal(source_to_crop, encoded.sample.source_to_crop.matrix.numpy())


@settings(max_examples=20)
@given(st.integers(0, 2**31), st.sampled_from([None, 2, 5]))
def test_outputs_are_read_as_the_codec_reads_them(seed, classes):
    rng = np.random.default_rng(seed)
    codec = KeypointCodec(SIDE, POINTS, segmentation=classes is not None, kernel_sigma_px=6.0, noise_px=0.7)
    processor = KeypointProcessor(
        crop=Crop(output_size=SIDE), names=POINTS, num_classes=classes, kernel_sigma_px=6.0, noise_px=0.7
    )
    seen = [processor.prepare(scene(seed, size)) for size in ((90, 70), (40, 300))]
    found = outputs(rng, classes=classes)
    tensors = [torch.from_numpy(each) for each in found.values()]
    named = KeypointMaskOutputs(*tensors) if classes else KeypointOutputs(*tensors)
    source_to_crop = torch.from_numpy(np.stack([each.source_to_crop for each in seen]))
    truth, covariance = codec.decode(named, source_to_crop), codec.covariance_source(named, source_to_crop)
    together = processor.predictions(found, seen)
    alone = [
        processor.predictions({name: values[row : row + 1] for name, values in found.items()}, [seen[row]])[0]
        for row in range(2)
    ]
    for predictions in (together, alone):
        for row, each in enumerate(predictions):
            np.testing.assert_allclose(each.points, truth.uv_source[row], rtol=1e-5, atol=1e-3)
            np.testing.assert_allclose(each.confidence, truth.confidence[row], atol=1e-5)
            np.testing.assert_allclose(each.covariance, covariance[row], rtol=1e-4, atol=1e-3)
            assert each.points.dtype == each.confidence.dtype == each.covariance.dtype == np.float32
            if classes:
                assert np.array_equal(each.mask_crop, truth.mask[row])
            else:
                assert each.mask_crop is each.mask is None


def test_numbers_of_few_bits_are_read():
    found = outputs(np.random.default_rng(0), 1, dtype=np.float16)
    assert PROCESSOR.predictions(found, [PROCESSOR.prepare(scene())])[0].points.dtype == np.float32


def test_a_class_that_is_as_likely_as_an_earlier_one_is_the_earlier_one():
    processor = attrs.evolve(PROCESSOR, num_classes=3)
    found = outputs(np.random.default_rng(0), 1, 3)
    found["mask_logits"][:] = np.array([1.0, 2.0, 2.0])[None, :, None, None]
    assert (processor.predictions(found, [processor.prepare(scene())])[0].mask_crop == 1).all()


def test_the_mask_lies_in_pixels_of_the_image():
    """The left half of the crop is class 1; what the network did not see is 255."""
    processor = attrs.evolve(PROCESSOR, num_classes=2, crop=REGIONS["box"])
    found = outputs(np.random.default_rng(0), 1, 2)
    found["mask_logits"][:, 0] = 0.0
    found["mask_logits"][:, 1] = np.where(np.arange(SIDE) < SIDE // 2, 1.0, -1.0)
    mask = processor.predictions(found, [processor.prepare(scene(0, (120, 90)))])[0].mask
    assert mask.shape == (90, 120)
    assert mask.dtype == np.uint8
    assert (mask[:, :19] == 255).all()
    assert (mask[:8] == 255).all()
    assert (mask[12:74, 21:54] == 1).all()
    assert (mask[12:74, 57:89] == 0).all()
    assert (mask[:, 92:] == 255).all()


def test_a_box_gives_the_crop_that_evaluation_would_cut_round_such_points():
    image, uv = scene(), np.array([[30.0, 20.0], [60.0, 50.0]])
    given_box = LOOKING.prepare(image, box=(30, 20, 60, 50))
    middle = ImageWarp(torch.from_numpy(given_box.source_to_crop)).apply(torch.from_numpy(uv)).mean(0)
    assert torch.allclose(middle, torch.full((2,), 0.5 * (SIDE - 1)).double())
    assert given_box.source_to_crop[0, 0] == SIDE / 60
    for same in ([30, 20, 60, 50], np.array([30, 20, 60, 50]), np.float32([30, 20, 60, 50])):
        assert np.array_equal(LOOKING.prepare(image, box=same).input, given_box.input)


BOXES = {
    "none": (
        None,
        r"needs to know where to look @ x: expected box=\(left, top, right, bottom\).*got no box.*box=\.\.\.",
    ),
    "three numbers": ((1, 2, 3), r"not a box @ x: expected \(left, top, right, bottom\) in pixels .* got \(1, 2, 3\)"),
    "several": ([(1, 2, 3, 4), (1, 2, 3, 4)], r"not a box.*give a list of boxes"),
    "text": ("left", "not a box"),
    "words": (["a", "b", "c", "d"], "not a box"),
    "NaN": ((1, 2, np.nan, 4), "not a box"),
    "complex": ((1, 2, 3j, 4), "not a box"),
    "beyond all numbers": ((1, 2, 10**400, 4), "not a box"),
    "ragged": ([1, [2, 3], 4, 5], "not a box"),
    "right before left": ((30, 20, 29, 50), "not a box"),
    "bottom above top": ((30, 20, 60, 19), "not a box"),
    "beyond the right": ((120, 20, 130, 50), r"lies outside the image @ x: expected 120 x 90 pixels, got \(120, 20"),
    "above": ((10, -20, 30, -1), "lies outside the image"),
    "below": ((10, 90, 30, 100), "lies outside the image"),
}


@pytest.mark.parametrize(("box", "said"), BOXES.values(), ids=BOXES)
def test_a_wrong_box_is_refused_in_one_line(box, said):
    with pytest.raises(ModelError, match=said) as caught:
        LOOKING.prepare(scene(), box=box)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("box", [(119.5, 0, 200, 10), (-10, -10, -0.5, -0.5), (5, 5, 5, 5)])
def test_a_box_may_reach_beyond_the_image_or_be_a_point(box):
    assert LOOKING.prepare(scene(), box=box).input.shape == (1, SIDE, SIDE)


def test_a_model_of_whole_images_takes_no_box():
    with pytest.raises(ModelError, match=r"takes no box @ x: expected the whole image, got box=\(1, 2, 3, 4\)"):
        PROCESSOR.prepare(scene(), box=(1, 2, 3, 4))
    fixed = attrs.evolve(PROCESSOR, crop=REGIONS["box"])
    with pytest.raises(ModelError, match=r"expected the rectangle \(20\.0, 10\.0, 70\.5, 66\.0\) of every image"):
        fixed.prepare(scene(), box=(1, 2, 3, 4))


@pytest.mark.parametrize("size_wh", [(1, 1), (1, 900), (5000, 2)])
def test_images_of_any_size_are_prepared(size_wh):
    prepared = PROCESSOR.prepare(np.full(size_wh[::-1], 255, np.uint8))
    assert prepared.input.shape == (1, SIDE, SIDE)
    assert prepared.input.dtype == np.float32
    assert prepared.size_wh == size_wh


def test_a_network_that_has_left_the_numbers_is_told():
    found = outputs(np.random.default_rng(0), 1)
    found["keypoints"][0, 0, 0] = np.nan
    with pytest.raises(NotFiniteError, match="output is NaN or infinite @ x"):
        PROCESSOR.predictions(found, [PROCESSOR.prepare(scene())])


def test_a_prediction_is_plain_values_and_survives_pickling():
    processor = attrs.evolve(PROCESSOR, num_classes=3)
    found = outputs(np.random.default_rng(0), 1, 3)
    prediction = processor.predictions(found, [processor.prepare(scene())])[0]
    again = pickle.loads(pickle.dumps(prediction))
    assert len({prediction, prediction, again}) == 2, "predictions are told apart by identity"
    assert again.to_dict() == prediction.to_dict()
    plain = prediction.to_dict()
    assert plain["size_wh"] == [120, 90]
    assert [point["name"] for point in plain["points"]] == list(POINTS)
    assert [point["uv"] for point in plain["points"]] == prediction.points.tolist()
    assert [point["confidence"] for point in plain["points"]] == prediction.confidence.tolist()
    assert [point["covariance"] for point in plain["points"]] == prediction.covariance.tolist()
    classes, lengths = zip(*plain["mask"], strict=True)
    assert np.array_equal(np.repeat(classes, lengths), prediction.mask.ravel())
    assert all(one != other for one, other in pairwise(classes))


def test_a_prediction_shows_itself():
    found = outputs(np.random.default_rng(0), 1)
    found["keypoints"][0] = [[31.5, 31.5], [0.0, 31.5], [63.0, 31.5]]
    processor = attrs.evolve(PROCESSOR, names=("<tip>", "turn", "end"))
    prediction = processor.predictions(found, [processor.prepare(np.zeros((200, 200, 3), np.uint8))])[0]
    drawn = prediction.draw()
    assert drawn.shape == (200, 200, 3)
    assert drawn.dtype == np.uint8
    assert drawn[95:105, 95:105].max() > 200
    assert drawn[120:, :].max() == 0
    assert repr(prediction).startswith("<200 x 200 pixels: <tip> (99.5, 99.5) 0.")
    page = prediction._repr_html_()
    assert page.startswith('<img src="data:image/png;base64,')
    assert "<td>&lt;tip&gt;</td><td>99.5</td><td>99.5</td>" in page
    alone = processor.predictions(found, [processor.prepare(np.zeros((200, 200), np.uint16))._replace(image=None)])[0]
    assert alone.draw().shape == (200, 200, 3)


def test_names_from_a_file_are_shown_and_not_obeyed():
    processor = attrs.evolve(PROCESSOR, names=("tip\x1b[2J\nerror", "turn", "end"))
    found = outputs(np.random.default_rng(0), 1)
    prediction = processor.predictions(found, [processor.prepare(np.zeros((64, 64), np.uint8))])[0]
    for shown in (repr(prediction), prediction._repr_html_()):
        assert r"tip\x1b[2J\nerror" in shown
        assert "\x1b" not in shown


def changed(path, value):
    """Change or drop (None) one of the facts."""
    facts, *keys = FACTS, *path.split(".")
    if len(keys) == 1:
        return {
            name: fact
            for name, fact in {**facts, keys[0]: value}.items()
            if fact is not None or name in ("num_segmentation_classes",)
        }
    inner = {**facts[keys[0]], keys[1]: value}
    return {**facts, keys[0]: {name: fact for name, fact in inner.items() if fact is not None or name == "box"}}


FAULTS = {
    "no crop": ("crop", None, r"expected facts\.crop, got nothing"),
    "a crop of text": ("crop", "frame", r"expected facts\.crop, got 'frame'"),
    "no margin": ("crop.margin", None, "expected facts.crop with region, box, margin, min_size_px, got no margin"),
    "a word for a margin": ("crop.margin", "wide", r"expected crop\.margin: a number, got 'wide'"),
    "an unknown region": (
        "crop.region",
        "faces",
        r"expected crop\.region: one of 'frame', 'points', 'box', got 'faces'",
    ),
    "no place for the box": ("crop.region", "box", r"expected a rectangle in facts\.crop\.box, got None"),
    "no input": ("input", None, r"expected facts\.input, got nothing"),
    "no size": ("input.size_px", None, r"expected crop\.output_size: an integer, got None"),
    "a size that is none": ("input.size_px", 50, r"expected crop\.output_size: .*32.*got 50"),
    "no points": ("points", None, r"expected facts\.points, got nothing"),
    "no names": ("points.names", None, r"expected names: .*, got None"),
    "a text of names": ("points.names", "abc", "expected names: .*got 'abc'"),
    "no name": ("points.names", [], "expected names of points, got none"),
    "numbers as names": ("points.names", [1, 2], r"expected names\[0\]: a string, got 1"),
    "one class": ("num_segmentation_classes", 1, "expected num_classes: .*got 1"),
    "more classes than a mask holds": ("num_segmentation_classes", 256, "expected num_classes: .*got 256"),
    "classes in words": ("num_segmentation_classes", "two", "expected num_classes: .*got 'two'"),
    "noise below nothing": ("uncertainty.noise_px", -1.0, "expected noise_px: .*got -1.0"),
    "uncertainty in words": ("uncertainty", "high", r"expected facts\.uncertainty, got 'high'"),
}


@pytest.mark.parametrize(("path", "value", "said"), FAULTS.values(), ids=FAULTS)
def test_facts_that_make_no_sense_are_refused_in_one_line(path, value, said):
    with pytest.raises(ArtifactError, match=f"does not say what its network needs @ x: {said}") as caught:
        processor_of(changed(path, value), "x")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("missing", ["uncertainty", "uncertainty.noise_px", "uncertainty.kernel_sigma_px"])
def test_an_older_file_states_no_covariance_and_says_what_to_give(missing, caplog):
    facts, found = changed(missing, None), outputs(np.random.default_rng(0), 1)
    with caplog.at_level(logging.WARNING):
        processor = processor_of(facts, "old.onnx")
    assert "old.onnx does not say how uncertain its points are" in caplog.text
    assert "cogkp.load(path, noise_px=..., kernel_sigma_px=...)" in caplog.text
    prediction = processor.predictions(found, [processor.prepare(scene())])[0]
    assert prediction.covariance is None
    assert prediction.to_dict()["points"][0]["covariance"] is None
    assert "<td></td>" in prediction._repr_html_()
    caplog.clear()
    told = processor_of(facts, "old.onnx", noise_px=0.5, kernel_sigma_px=0.0)
    assert not caplog.records
    assert (told.noise_px, told.kernel_sigma_px) == (0.5, 0.0)
    assert told.predictions(found, [told.prepare(scene())])[0].covariance.shape == (3, 2, 2)


def test_what_the_caller_says_wins():
    assert processor_of(FACTS, "x", noise_px=3.0).noise_px == 3.0
    with pytest.raises(ArtifactError, match="expected noise_px"):
        processor_of(FACTS, "x", noise_px=-3.0)


TAKES = {"input": (1, 1, SIDE, SIDE)}
GIVES = {"keypoints": (1, 3, 2), "heatmaps": (1, 3, 16, 16), "mask_logits": (1, 2, SIDE, SIDE)}
MASKED = attrs.evolve(PROCESSOR, num_classes=2)


def test_a_file_that_agrees_with_its_facts_passes():
    MASKED.check(TAKES, GIVES)
    MASKED.check({"image": ("N", 1, "height", "width")}, GIVES | {"more": (7,)})
    PROCESSOR.check(TAKES, {name: shape for name, shape in GIVES.items() if name != "mask_logits"})


@pytest.mark.parametrize(
    ("takes", "gives", "said"),
    [
        ({"input": (1, 1, SIDE, 32)}, GIVES, r"expected an input \(B, 1, 64, 64\), got input \(1, 1, 64, 32\)"),
        ({"input": (1, 1, 32, SIDE)}, GIVES, "an input"),
        ({"input": (1, 3, SIDE, SIDE)}, GIVES, "an input"),
        ({"input": (1, SIDE, SIDE)}, GIVES, "an input"),
        ({}, GIVES, "got none"),
        (TAKES | {"other": (1,)}, GIVES, "an input"),
        (TAKES, GIVES | {"keypoints": (1, 4, 2)}, r"expected an output keypoints \(B, 3, 2\)"),
        (TAKES, GIVES | {"keypoints": (1, 3, 3)}, "an output keypoints"),
        (TAKES, GIVES | {"heatmaps": (1, 3, 256)}, r"an output heatmaps \(B, 3, h, w\)"),
        (TAKES, GIVES | {"mask_logits": (1, 3, SIDE, SIDE)}, r"an output mask_logits \(B, 2, 64, 64\)"),
        (TAKES, {name: GIVES[name] for name in ("keypoints", "heatmaps")}, "an output mask_logits"),
    ],
)
def test_a_file_that_disagrees_with_its_facts_is_refused_in_one_line(takes, gives, said):
    with pytest.raises(ArtifactError, match=f"the model file and its facts disagree @ x: .*{said}") as caught:
        MASKED.check(takes, gives)
    assert "\n" not in str(caught.value)
