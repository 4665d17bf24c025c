import attrs
import pytest

from cogkp.config.augment import Crop
from cogkp.config.keypoint.io import structure
from cogkp.config.keypoint.rules import check, check_training
from cogkp.config.keypoint.spec import DataMappings, KeypointConfig, StereoPairing, Validation
from cogkp.config.train import TrainOptions
from cogkp.errors import ConfigError

CROP = {"type": "crop"}
VIEWS = {"x": ["LL.image", "LR.image"], "y": [["LL.tip", "LL.turn", "LL.end"], ["LR.tip", "LR.turn", "LR.end"]]}
TERMS = {"triangulation_reprojection_loss": {"weight": 0.1}, "triangulation_rigidity_loss": {"weight": 0.1}}
STEREO = {
    "data_mappings": VIEWS,
    "stereo_pairing": {"enabled": True},
    "calibration_file": "configs/calibration.config.json",
    "loss_terms": TERMS,
}
MASKED = {**VIEWS, "mask": ["LL.mask", "LR.mask"]}


def rigidity(segments, weight=0.1):
    return {"loss_terms": {"triangulation_rigidity_loss": {"weight": weight, "segments": segments}}}


def segmentation(count, **more):
    return {"targets": {"segmentation": True, **more}, "data_mappings": MASKED, "num_segmentation_classes": count}


ACCEPTED = [
    {"num_segmentation_classes": 1},
    {"num_segmentation_classes": -7, "targets": {"segmentation": False}},
    segmentation(2),
    segmentation(255),
    segmentation(2, keypoints=False),
    {"base_dir": ["a", "b"], "sampling": {"weights": [0, 1]}},
    {"augmentations": [{**CROP, "region": "box", "box": [-5, 0, 10, 10.5]}]},
    {"data_mappings": VIEWS, "augmentations": [CROP, {"type": "flip", "swap": [[0, 2]]}]},
    {"data_mappings": VIEWS},
    {"data_mappings": VIEWS, "stereo_pairing": {"enabled": True}},
    {"data_mappings": MASKED},
    STEREO,
    {**STEREO, "augmentations": [CROP, {"type": "flip"}]},
    {"data_mappings": {**VIEWS, "xyz_world": ["truth.tip", "truth.turn", "truth.end"]}},
    {**STEREO, "loss_terms": {**TERMS, "supervised_keypoint_loss": {"weight": 0}}},
    {
        **STEREO,
        "data_mappings": {"x": ["debug.LL.image", "debug.LR.image"], "y": [["labels.left.tip"], ["labels.right.tip"]]},
        "loss_terms": {"triangulation_reprojection_loss": {"weight": 1}},
    },
    {"validation": {"base_dir": "held"}, "base_dir": "train"},
    {**STEREO, "data_mappings": {"x": ["top.image", "low.image"], "y": [["top.a", "top.b", "c"], ["low.a", "d", "c"]]}},
    {
        **STEREO,
        "data_mappings": {"x": ["LR.image", "LL.image"], "y": VIEWS["y"][::-1]},
        "stereo_pairing": {"enabled": True, "cameras": ["right one", "left one"]},
    },
]


@pytest.mark.parametrize("document", ACCEPTED, ids=range(len(ACCEPTED)))
def test_accepted(document):
    assert check(structure(document)) == []


REFUSED = [
    ({"data_mappings": {"x": [], "y": []}}, ["data_mappings.x", "data_mappings.y"], "at least one datakey"),
    ({"data_mappings": {"x": ["a", "b"]}}, ["data_mappings.y"], "one row per entry of data_mappings.x, so 2, got 1"),
    ({"data_mappings": {"y": [["a"], ["b"]]}}, ["data_mappings.y"], "so 1, got 2"),
    ({"data_mappings": {"x": ["a", "b"], "y": [["p", "q"], ["r"]]}}, ["data_mappings.y[1]"], "so 2, got 1"),
    ({"data_mappings": {"y": [[]]}}, ["data_mappings.y[0]"], "no points"),
    ({"data_mappings": {"y": [["p", "q", "p"]]}}, ["data_mappings.y[0]"], "datakey given twice"),
    ({"data_mappings": {"mask": ["a", "b"]}}, ["data_mappings.mask"], "so 1, got 2"),
    ({"data_mappings": {"x": [""]}}, ["data_mappings.x[0]"], "empty name"),
    ({"stereo_pairing": {"cameras": ["a", "a"]}}, ["stereo_pairing.cameras"], "one camera twice"),
    ({"data_mappings": {"y": [["a", " "]]}}, ["data_mappings.y[0][1]"], "empty name"),
    ({"data_mappings": {"valid": ""}, "calibration_file": ""}, ["data_mappings.valid", "calibration_file"], "empty"),
    ({"base_dir": ""}, ["base_dir[0]"], "empty name"),
    ({"augmentations": []}, ["augmentations"], "exactly one, got 0"),
    ({"augmentations": [CROP, CROP]}, ["augmentations"], "exactly one, got 2"),
    ({"augmentations": [{**CROP, "region": "box"}]}, ["augmentations[0].box"], "missing box"),
    ({"augmentations": [{**CROP, "box": [0, 0, 1, 1]}]}, ["augmentations[0].box"], "null for region 'frame'"),
    ({"augmentations": [{**CROP, "region": "box", "box": [0, 0, 0, 1]}]}, ["augmentations[0].box"], "height > 0"),
    ({"augmentations": [CROP, {"type": "flip", "swap": [[0, 1]]}]}, ["augmentations[1].swap[0]"], "from 0 to 0"),
    ({"augmentations": [CROP, {"type": "flip", "swap": [[0, 0]]}]}, ["augmentations[1].swap[0]"], "twice"),
    (
        {"data_mappings": VIEWS, "augmentations": [{"type": "flip", "swap": [[0, 1], [1, -1]]}, CROP]},
        ["augmentations[0].swap[1]", "augmentations[0].swap[1]"],
        "indices from 0 to 2",
    ),
    ({"targets": {"keypoints": False}}, ["targets"], "keypoints or segmentation"),
    ({"loss_terms": {"supervised_keypoint_loss": {"weight": 0}}}, ["loss_terms"], "nothing to train"),
    ({**segmentation(2, keypoints=False), "segmentation_loss_weight": 0}, ["loss_terms"], "nothing to train"),
    (
        {"targets": {"segmentation": True}},
        ["data_mappings.mask", "num_segmentation_classes"],
        "when targets.segmentation is on",
    ),
    (segmentation(1), ["num_segmentation_classes"], "2 to 255 classes"),
    (segmentation(256), ["num_segmentation_classes"], "2 to 255 classes"),
    ({"base_dir": ["a"], "sampling": {"weights": [1, 1]}}, ["sampling.weights"], "so 1, got 2"),
    ({"base_dir": ["a"], "sampling": {"weights": [0]}}, ["sampling.weights"], "at least one weight > 0"),
    (
        {"base_dir": "d/a", "validation": {"base_dir": ["b", "./d//x/../a/"]}},
        ["validation.base_dir[1]"],
        "training data",
    ),
    # stereo
    ({"stereo_pairing": {"enabled": True}}, ["data_mappings.x"], "exactly two for stereo pairs, got 1"),
    ({**STEREO, "stereo_pairing": {"enabled": False}}, ["stereo_pairing.enabled"], "true for the triangulation losses"),
    ({**STEREO, "calibration_file": None}, ["calibration_file"], "a file for the triangulation losses"),
    (
        {**STEREO, **segmentation(2, keypoints=False)},
        ["targets.keypoints"],
        "true for the triangulation losses",
    ),
    (
        {"loss_terms": {"triangulation_reprojection_loss": {"weight": 1}}},
        ["data_mappings.x", "stereo_pairing.enabled", "calibration_file"],
        "exactly two",
    ),
    (
        {**STEREO, "data_mappings": {"x": ["LR.image", "LL.image"], "y": VIEWS["y"]}},
        ["data_mappings.x[0]", "data_mappings.x[1]"],
        "a datakey of camera 'LL', got 'LR.image'",
    ),
    (
        {**STEREO, "data_mappings": {"x": ["top.a", "low.a"], "y": [["top.p", "q", "r"], ["low.p", "top.q", "r"]]}},
        ["data_mappings.y[1][1]"],
        "camera 'low', got 'top.q'",
    ),
    ({**STEREO, "data_mappings": {**VIEWS, "x": ["L.image", "LR.image"]}}, ["data_mappings.x[0]"], "camera 'LL'"),
    (
        {**STEREO, "data_mappings": {**VIEWS, "y": [["LL.tip", "LL.turn", "LR.end"], VIEWS["y"][1]]}},
        ["data_mappings.y[0][2]"],
        "camera 'LL', got 'LR.end'",
    ),
    (
        {**STEREO, "data_mappings": {**VIEWS, "mask": ["LL.mask", "LL.mask"]}},
        ["data_mappings.mask[1]"],
        "camera 'LR', got 'LL.mask'",
    ),
    (
        {**STEREO, **rigidity([[0, 3, 1]])},
        ["loss_terms.triangulation_rigidity_loss.segments[0]"],
        "point indices from 0 to 2, got [0, 3]",
    ),
    (
        {**STEREO, "augmentations": [CROP, {"type": "flip", "swap": [[0, 2]]}]},
        ["augmentations[1].swap"],
        "expected [] with stereo pairs",
    ),
    (
        {"data_mappings": {**VIEWS, "xyz_world": ["truth.tip"]}},
        ["data_mappings.xyz_world"],
        "one datakey per point of data_mappings.y[0], so 3, got 1",
    ),
    ({"data_mappings": {"xyz_world": [" "]}}, ["data_mappings.xyz_world[0]"], "at least one letter"),
    ({**STEREO, **rigidity([])}, ["loss_terms.triangulation_rigidity_loss.segments"], "at least one segment"),
    (rigidity([[0, 1, 0]], 0), ["loss_terms.triangulation_rigidity_loss.segments[0]"], "length > 0"),
    (rigidity([[1, 1, 1]], 0), ["loss_terms.triangulation_rigidity_loss.segments[0]"], "another point"),
    (rigidity([[-1, 1, 1]], 0), ["loss_terms.triangulation_rigidity_loss.segments[0]"], "[point, another point"),
]


@pytest.mark.parametrize(("document", "places", "words"), REFUSED, ids=range(len(REFUSED)))
def test_refused(document, places, words):
    with pytest.raises(ConfigError) as caught:
        structure(document)
    problems = caught.value.problems
    assert [problem.where.removesuffix(" in config") for problem in problems] == places
    assert words in str(caught.value)


def test_a_configuration_built_in_python_can_be_checked_too():
    config = KeypointConfig(augmentations=(Crop(), Crop()), data_mappings=DataMappings(x=()))
    assert [problem.where for problem in check(config)] == ["data_mappings.x", "data_mappings.y", "augmentations"]


def test_a_validation_root_is_recognised_however_it_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="validation on training data"):
        structure({"base_dir": "a", "validation": {"base_dir": str(tmp_path / "a")}})


class TestTraining:
    def test_needs_data(self):
        (problem,) = check_training(KeypointConfig(), TrainOptions())
        assert str(problem) == "no training data @ base_dir: expected at least one root, got []. Name a data set root."

    def test_needs_whole_pairs(self):
        config = attrs.evolve(KeypointConfig(base_dir=("a",)), stereo_pairing=StereoPairing(enabled=True))
        (problem,) = check_training(config, TrainOptions(batch_size=3))
        assert (problem.where, problem.got) == ("batch_size", "3")
        assert check_training(config, TrainOptions(batch_size=4)) == []

    def test_needs_an_image_for_each_part(self):
        config = KeypointConfig(base_dir=("a",))
        assert check_training(config, TrainOptions(batch_size=3, accumulate=3)) == []
        (problem,) = check_training(config, TrainOptions(batch_size=3, accumulate=4))
        assert (problem.where, problem.got) == ("accumulate", "4")

    def test_patience_needs_validation_data(self):
        config = KeypointConfig(base_dir=("a",))
        (problem,) = check_training(config, TrainOptions(patience=3))
        assert problem.where == "validation.base_dir"
        validated = attrs.evolve(config, validation=Validation(base_dir=("b",)))
        assert check_training(validated, TrainOptions(patience=3)) == []

    def test_takes_odd_batches_of_single_views(self):
        assert check_training(KeypointConfig(base_dir=("a",)), TrainOptions(batch_size=3)) == []


@pytest.mark.parametrize("value", [0, -3])
def test_options_outside_their_range_are_refused_as_configurations_are(value):
    with pytest.raises(ConfigError) as caught:
        TrainOptions(batch_size=value)
    assert str(caught.value) == f"out of range @ TrainOptions.batch_size: expected a number >= 1, got {value}"
