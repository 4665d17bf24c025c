"""Every kind of mistake gives one clear line with its place, and none hides another."""

import pytest

from cogkp.config.keypoint.io import structure, template
from cogkp.errors import ConfigError

CROP = {"type": "crop"}


def lines(document):
    with pytest.raises(ConfigError) as caught:
        structure(document)
    assert caught.value.exit_code == 2
    return [str(problem) for problem in caught.value.problems]


def places(document):
    with pytest.raises(ConfigError) as caught:
        structure(document)
    return [problem.where.removesuffix(" in config") for problem in caught.value.problems]


SINGLE = [
    # unknown and misspelt
    ({"sampeling": {}}, "sampeling", "unknown key", "Did you mean 'sampling'?"),
    ({"targets": {"sgementation": True}}, "targets.sgementation", "'segmentation'", "Did you mean 'segmentation'?"),
    ({"targets": {"zzz": 1}}, "targets.zzz", "one of 'keypoints', 'segmentation'", "'zzz'"),
    ({"a b\n": 1}, '["a b\\n"]', "unknown key", "'a b\\n'"),
    ({3: 1}, "3", "unknown key", "'3'"),
    ({"augmentations": [{"type": "crp"}]}, "augmentations[0].type", "unknown type", "Did you mean 'crop'?"),
    ({"augmentations": [CROP, {"type": "zzzz"}]}, "augmentations[1].type", "'crop', 'affine', 'flip'", "'zzzz'"),
    ({"augmentations": [CROP, {"scale": [1, 1]}]}, "augmentations[1].type", "missing type", "one of 'crop'"),
    ({"augmentations": [CROP, {"type": ["crop"]}]}, "augmentations[1].type", "unknown type", "['crop']"),
    ({"augmentations": [{"type": "crop", "marign": 0}]}, "augmentations[0].marign", "unknown key", "'margin'?"),
    ({"augmentations": [{"type": "crop", "region": "points "}]}, "augmentations[0].region", "'box'", "'points'?"),
    # wrongly typed: nothing is coerced
    ({"prefix": 3}, "prefix", "expected a string", "got 3"),
    ({"prefix": None}, "prefix", "expected a string", "got None"),
    ({"targets": {"keypoints": 1}}, "targets.keypoints", "expected true or false", "got 1"),
    ({"targets": {"keypoints": "true"}}, "targets.keypoints", "expected true or false", "got 'true'"),
    ({"targets": []}, "targets", "expected an object", "got []"),
    ({"sampling": None}, "sampling", "expected an object", "got None"),
    ({"sampling": {"samples_per_epoch": True}}, "sampling.samples_per_epoch", "an integer or null", "got True"),
    ({"sampling": {"samples_per_epoch": 1.0}}, "sampling.samples_per_epoch", "an integer or null", "got 1.0"),
    ({"sampling": {"samples_per_epoch": "5"}}, "sampling.samples_per_epoch", "an integer or null", "got '5'"),
    ({"num_segmentation_classes": "2"}, "num_segmentation_classes", "an integer or null", "got '2'"),
    ({"segmentation_loss_weight": "1"}, "segmentation_loss_weight", "expected a number", "got '1'"),
    ({"segmentation_loss_weight": False}, "segmentation_loss_weight", "expected a number", "got False"),
    ({"calibration_file": ["a"]}, "calibration_file", "a string or null", "got ['a']"),
    ({"base_dir": 5}, "base_dir", "a list of strings", "got 5"),
    ({"base_dir": ["a", 5]}, "base_dir[1]", "expected a string", "got 5"),
    ({"data_mappings": {"x": "B.image"}}, "data_mappings.x", "a list of strings", "got 'B.image'"),
    ({"data_mappings": {"y": ["B.tip"]}}, "data_mappings.y[0]", "a list of strings", "got 'B.tip'"),
    ({"data_mappings": {"y": [["B.tip", 7]]}}, "data_mappings.y[0][1]", "expected a string", "got 7"),
    ({"data_mappings": {"y": {"0": []}}}, "data_mappings.y", "a list of lists of strings", "got {'0': []}"),
    ({"data_mappings": {"mask": "m"}}, "data_mappings.mask", "a list of strings or null", "got 'm'"),
    ({"augmentations": CROP}, "augmentations", "a list of objects", "got {'type': 'crop'}"),
    ({"augmentations": [CROP, "blur"]}, "augmentations[1]", "an object with a 'type'", "got 'blur'"),
    ({"$schema": 3}, "$schema", "expected a string", "got 3"),
    # lengths
    ({"augmentations": [CROP, {"type": "affine", "scale": [1]}]}, "augmentations[1].scale", "wrong length", "got [1]"),
    ({"augmentations": [CROP, {"type": "affine", "scale": "ab"}]}, "augmentations[1].scale", "2 numbers", "'ab'"),
    ({"augmentations": [{"type": "crop", "box": [1, 2, 3]}]}, "augmentations[0].box", "4 numbers or null", "[1, 2, 3]"),
    # numbers out of range or not finite
    ({"segmentation_loss_weight": -1}, "segmentation_loss_weight", "a number >= 0.0", "got -1"),
    ({"segmentation_loss_weight": float("nan")}, "segmentation_loss_weight", "a finite number", "got nan"),
    ({"segmentation_loss_weight": float("inf")}, "segmentation_loss_weight", "a finite number", "got inf"),
    ({"segmentation_loss_weight": 10**400}, "segmentation_loss_weight", "a finite number", "got 1000"),
    ({"segmentation_loss_weight": 10**6000}, "segmentation_loss_weight", "a finite number", "too long to show"),
    ({"augmentations": [{"type": "crop", "output_size": 9}]}, "augmentations[0].output_size", "multiple of", "got 9"),
    ({"augmentations": [CROP, {"type": "blur", "probability": 2}]}, "augmentations[1].probability", "0.0 to 1.0", "2"),
    ({"augmentations": [CROP, {"type": "blur", "sigma_px": [2, 1]}]}, "augmentations[1].sigma_px", "low <= high", "[2"),
    ({"base_dir": "a", "sampling": {"weights": [-1]}}, "sampling.weights", "a number >= 0.0", "got [-1]"),
    # texts that no file can have as its name
    ({"prefix": ""}, "prefix", "part of a file name", "got ''"),
    ({"prefix": "a/b"}, "prefix", "part of a file name", "got 'a/b'"),
    ({"prefix": "model\n"}, "prefix", "part of a file name", "got 'model\\n'"),
    ({"calibration_file": "a\0"}, "calibration_file", "without NUL", "got 'a\\x00'"),
    ({"base_dir": "\ud800"}, "base_dir[0]", "Unicode text", "got '\\ud800'"),
]  # fmt: skip


@pytest.mark.parametrize(("document", "where", "words", "more"), SINGLE, ids=[row[1] for row in SINGLE])
def test_one_mistake_gives_one_line_with_its_place(document, where, words, more):
    (line,) = lines(document)
    assert f" @ {where} in config: expected " in line or f" @ {where} in config: got " in line
    assert words in line
    assert more in line
    assert "\n" not in line


@pytest.mark.parametrize("document", [None, [], "text", 3])
def test_a_document_is_an_object(document):
    (line,) = lines(document)
    assert line.startswith("wrong type @ config: expected an object, got ")


def test_long_values_are_shortened():
    (line,) = lines({"base_dir": {f"key{i}": "x" * 1000 for i in range(1000)}})
    assert len(line) < 600


def test_all_mistakes_are_reported_at_once_in_the_order_of_the_document():
    document = {
        "sampling": {"weights": "heavy", "enabled": "no"},
        "prefix": 3,
        "targets": {"sgementation": True},
        "augmentations": [{"type": "blur", "sigma_px": [1], "probability": 2}, {"type": "crp"}],
        "data_mappings": {"x": [1, "a", 2]},
    }
    assert places(document) == [
        "sampling.weights",
        "sampling.enabled",
        "prefix",
        "targets.sgementation",
        "augmentations[0].sigma_px",
        "augmentations[0].probability",
        "augmentations[1].type",
        "data_mappings.x[0]",
        "data_mappings.x[2]",
    ]


def test_rules_are_checked_although_other_fields_are_wrong():
    document = {
        "prefix": 3,
        "targets": {"segmentation": True},
        "augmentations": [{"type": "crp"}, {"type": "flip", "swap": [[0, 9]]}, {"type": "noise", "sigma": 1}],
    }
    assert places(document) == [
        "prefix",
        "augmentations[0].type",
        "augmentations[2].sigma",
        "augmentations[1].swap[0]",
        "data_mappings.mask",
        "num_segmentation_classes",
    ]


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        # the rows cannot be counted against images that cannot be read
        ({"data_mappings": {"x": [1], "y": [["a"], ["b"]]}}, ["data_mappings.x[0]"]),
        # the misspelt stage may have been the crop
        ({"augmentations": [{"type": "corp"}]}, ["augmentations[0].type"]),
        ({"augmentations": ["crop"]}, ["augmentations[0]"]),
        # a stage of known type cannot have been the crop, whatever else is wrong in it
        ({"augmentations": [{"type": "blur", "sigma_px": 1}]}, ["augmentations[0].sigma_px", "augmentations"]),
        ({"augmentations": [{"type": "crop", "region": "bx", "box": [0, 0, 1, 1]}]}, ["augmentations[0].region"]),
        ({"targets": {"segmentation": 1}, "num_segmentation_classes": 1}, ["targets.segmentation"]),
        ({"base_dir": 3, "sampling": {"weights": [1.0]}}, ["base_dir"]),
        ({"base_dir": ["a"], "sampling": {"weights": [1, 2], "enabled": 0}}, ["sampling.enabled", "sampling.weights"]),
    ],
)
def test_rules_are_silent_where_they_looked_at_something_refused(document, expected):
    assert places(document) == expected


def test_mistakes_inside_a_complete_document():
    document = template()
    document["loss_terms"]["segmentation_loss"] = {"wieght": 1, "weight": -2}
    assert places(document) == ["loss_terms.segmentation_loss.wieght", "loss_terms.segmentation_loss.weight"]


def test_the_document_is_left_as_it_was():
    document = {"base_dir": "a", "segmentation_loss_weight": 2, "targets": {"keypoints": 1}}
    with pytest.raises(ConfigError):
        structure(document)
    assert document == {"base_dir": "a", "segmentation_loss_weight": 2, "targets": {"keypoints": 1}}
