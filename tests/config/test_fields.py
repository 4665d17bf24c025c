import attrs
import pytest

from cogkp.config.augment import STAGES, default_stages
from cogkp.config.fields import at_least, between, describe, interval, matching, more_than, multiple_of, one_of
from cogkp.config.issues import Finding, dotted, overlap
from cogkp.config.keypoint.spec import DataMappings, KeypointConfig
from cogkp.config.train import ExportOptions
from cogkp.errors import ConfigError


@pytest.mark.parametrize(
    ("check", "inside", "outside"),
    [
        (at_least(2), [2, 3.5, None, (2, 9), ()], [1.9, (2, 1)]),
        (more_than(0.0), [1e-9, 10**400], [0.0, -1]),
        (between(0.0, 1.0), [0.0, 1.0, None], [-0.1, 1.1]),
        (multiple_of(32, 32, 512), [32, 256, 512], [0, 33, -32, 544]),
        (one_of("a", "b"), ["a", None], ["c", ""]),
        (interval(0.0, 1.0), [(0.0, 1.0), (0.5, 0.5)], [(1.0, 0.0), (-0.1, 1.0), (0.0, 1.1)]),
        (matching(r"[a-z]+", "letters"), ["abc"], ["", "abc\n", "a1"]),
    ],
)
def test_ranges(check, inside, outside):
    assert all(check.accepts(value) for value in inside)
    assert not any(check.accepts(value) for value in outside)


def test_types_in_words():
    assert describe(int) == "an integer"
    assert describe(float | None) == "a number or null"
    assert describe(tuple[float, float]) == "a list of 2 numbers"
    assert describe(tuple[tuple[int, int, float], ...]) == "a list of lists of 3 numbers"
    assert describe(DataMappings) == "an object"


def test_paths():
    assert dotted(()) == ""
    assert dotted(("a", 0, "b", "c d", 'q"')) == 'a[0].b["c d"]["q\\""]'
    assert overlap(("a",), ("a", 0))
    assert overlap(("a", 0), ())
    assert not overlap(("a", 1), ("a", 0))


def test_findings_depend_on_what_they_read():
    finding = Finding(("list",), "wrong", reads=(("list", 0, "type"), ("other",)))
    assert finding.depends_on([("list",)])
    assert finding.depends_on([("list", 0)])
    assert finding.depends_on([("other", "inner")])
    assert not finding.depends_on([("list", 0, "size"), ("list", 1)])


def test_a_value_outside_its_range_names_class_and_field():
    with pytest.raises(ConfigError) as caught:
        ExportOptions(precision="fp16")
    assert str(caught.value) == "out of range @ ExportOptions.precision: expected one of 'fp32', 'bf16', got 'fp16'"


def test_configurations_are_frozen_and_have_defaults_throughout():
    config = KeypointConfig.default()
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        config.prefix = "other"
    assert {type(stage) for stage in default_stages()} <= set(STAGES.values())
    assert config.crop.output_size == 256


def test_points_are_named_by_the_last_part_where_that_is_clear():
    def names(*keys):
        return KeypointConfig(data_mappings=DataMappings(y=(keys,))).point_names

    assert names("LL.tip", "LL.end") == ("tip", "end")
    assert names("a.tip", "b.tip") == ("a.tip", "b.tip")


def test_classes_count_only_where_masks_are_trained():
    assert KeypointConfig(num_segmentation_classes=3).num_classes is None
    assert KeypointConfig().num_keypoints == 1
