"""Where results go, what checkpoints are called, and from which a training goes on."""

from pathlib import Path

import pytest

from cogkp.config.centerpose.io import load_experiment, structure_experiment, write_experiment
from cogkp.config.centerpose.results import (
    LATEST_NAME,
    checkpoint_epoch,
    checkpoint_name,
    onnx_path,
    results_of,
    resume_checkpoint,
)
from cogkp.config.centerpose.spec import VERBS, ExportSection
from cogkp.errors import ConfigError


@pytest.mark.parametrize("verb", VERBS)
def test_results_go_to_the_verbs_own_folder_else_below_the_common_one(verb):
    assert results_of(structure_experiment({}), verb).path == Path("/results") / verb
    assert results_of(structure_experiment({"results_dir": "out"}), verb).path == Path("out") / verb
    both = structure_experiment({"results_dir": "out", verb: {"results_dir": "own"}})
    assert results_of(both, verb).path == Path("own")
    with pytest.raises(ConfigError, match=rf"no place for results .* Give results_dir, or {verb}\.results_dir"):
        results_of(structure_experiment({"results_dir": ""}), verb)


def test_every_verb_writes_its_spec_and_its_progress(tmp_path):
    spec = structure_experiment({"results_dir": str(tmp_path), "dataset": {"category": "a: b"}})
    results = results_of(spec, "evaluate")
    assert (results.experiment.name, results.status.name) == ("experiment.yaml", "status.json")
    write_experiment(results.experiment, spec)
    assert load_experiment(tmp_path / "evaluate" / "experiment.yaml") == spec


def test_checkpoints_are_called_as_on_the_page():
    assert [checkpoint_name(epoch) for epoch in range(3)] == [f"model_epoch_00{epoch}.pth" for epoch in range(3)]
    assert checkpoint_name(1234) == "model_epoch_1234.pth"
    assert checkpoint_name(7, 12) == "model_epoch_007_step_00012.pth"


@pytest.mark.parametrize("epoch", [0, 7, 999, 1000, 123456])
@pytest.mark.parametrize("step", [None, 0, 12345, 1234567])
def test_names_tell_the_epoch(epoch, step):
    assert checkpoint_epoch(checkpoint_name(epoch, step)) == epoch


@pytest.mark.parametrize(
    "name", [LATEST_NAME, "model_epoch_1.pth", "model_epoch_001.pth.tmp", "model_epoch_001_step.pth"]
)
def test_other_names_tell_none(name):
    assert checkpoint_epoch(name) is None


class TestGoingOn:
    def test_a_path_that_is_given_holds(self):
        spec = structure_experiment({"train": {"resume_training_checkpoint_path": "a/model_epoch_003.pth"}})
        for present in ((), (LATEST_NAME,)):
            assert resume_checkpoint(spec, present) == Path("a/model_epoch_003.pth")

    def test_else_the_latest_of_the_folder(self):
        spec = structure_experiment({"train": {"results_dir": "own"}})
        assert resume_checkpoint(spec, ["model_epoch_001.pth", LATEST_NAME]) == Path("own") / LATEST_NAME

    def test_else_it_starts_fresh(self):
        assert resume_checkpoint(structure_experiment({}), ["model_epoch_001.pth", "other_latest.pth"]) is None


def test_the_onnx_file_is_named_or_lies_beside_the_checkpoint():
    assert onnx_path(ExportSection(checkpoint="a/m.pth", onnx_file="b/n.onnx")) == Path("b/n.onnx")
    assert onnx_path(ExportSection(checkpoint="a/model.v2.pth")) == Path("a/model.v2.onnx")
    with pytest.raises(ConfigError, match="no name for the ONNX file"):
        onnx_path(ExportSection())
