import logging

import pytest

from cogkp.config.keypoint.io import migrate, overruled, structure, template
from cogkp.errors import ConfigError


def test_a_single_root_is_a_list_of_one():
    config = structure({"base_dir": "data/a", "validation": {"base_dir": "data/b"}})
    assert config.base_dir == ("data/a",)
    assert config.validation.base_dir == ("data/b",)
    assert structure({"base_dir": ["data/a"], "validation": {"base_dir": ["data/b"]}}) == config


def test_the_old_weight_counts_where_loss_terms_is_absent(caplog):
    config = structure({"segmentation_loss_weight": 0.25})
    assert config.loss_terms.segmentation_loss.weight == 0.25
    assert config.loss_terms.supervised_keypoint_loss.weight == 1.0
    assert not caplog.records


@pytest.mark.parametrize("terms", [{"segmentation_loss": {"weight": 2}}, {"segmentation_loss": {}}, {}])
def test_loss_terms_wins_and_says_so(caplog, terms):
    config = structure({"segmentation_loss_weight": 0.25, "loss_terms": terms}, where="old.json")
    used = config.loss_terms.segmentation_loss.weight
    assert used == (2.0 if terms.get("segmentation_loss") else 1.0)
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("cogkp", logging.WARNING)
    assert record.message.startswith("old.json: segmentation_loss_weight is 0.25 but ")
    assert record.message.endswith(": loss_terms is used")


@pytest.mark.parametrize(
    "raw",
    [
        template(),
        {"segmentation_loss_weight": 1, "loss_terms": {}},
        {"loss_terms": {"segmentation_loss": {"weight": 2}}},
        {"segmentation_loss_weight": 2},
        {"segmentation_loss_weight": "2", "loss_terms": {}},
        {"segmentation_loss_weight": 2, "loss_terms": 3},
        {"segmentation_loss_weight": 2, "loss_terms": {"segmentation_loss": 3}},
        {"segmentation_loss_weight": 2, "loss_terms": {"segmentation_loss": {"weight": None}}},
    ],
)
def test_nothing_is_said_where_nothing_disagrees(raw):
    assert overruled(raw) == ""


@pytest.mark.parametrize("weight", ["2", -1, True, float("nan"), float("inf"), 10**400, None])
def test_an_unusable_old_weight_is_reported_once_where_it_stands(weight):
    with pytest.raises(ConfigError) as caught:
        structure({"segmentation_loss_weight": weight})
    (problem,) = caught.value.problems
    assert problem.where == "segmentation_loss_weight in config"


def test_migration_leaves_its_argument_alone_and_settles():
    raw = {"base_dir": "a", "validation": {"base_dir": "b"}, "segmentation_loss_weight": 2}
    once = migrate(raw)
    assert raw == {"base_dir": "a", "validation": {"base_dir": "b"}, "segmentation_loss_weight": 2}
    assert migrate(once) == once
