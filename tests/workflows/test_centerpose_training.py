"""An experiment is trained by the trainer of all families, into the documented files."""

from __future__ import annotations

import json

import attrs
import pytest
import torch

from cogkp.artifacts.checkpoint import TrainingState, load_checkpoint
from cogkp.config.centerpose.io import load_experiment
from cogkp.config.centerpose.results import results_of
from cogkp.config.centerpose.spec import OptimSpec, TrainSpec
from cogkp.errors import CheckpointError, TrainingError
from cogkp.workflows.families.centerpose.training import ExperimentCheckpointer
from cogkp.workflows.train import train
from tests.builders.ranks import Curve
from tests.builders.tiny_boxes import tiny_experiment
from tests.builders.tiny_keypoints import tiny_config
from tests.builders.training import OPTIONS, provenance


@pytest.fixture
def experiment(tmp_path):
    tiny = tiny_experiment(tmp_path, width=0.25)
    return attrs.evolve(
        tiny,
        dataset=attrs.evolve(tiny.dataset, test_data=None),
        results_dir=str(tmp_path / "results"),
        train=TrainSpec(num_epochs=2, optim=OptimSpec(lr=1e-3, lr_steps=(1,)), seed=5),
    )


def with_train(config, **changes):
    return attrs.evolve(config, train=attrs.evolve(config.train, **changes))


def status_of(config):
    return [json.loads(line) for line in results_of(config, "train").status.read_text().splitlines()]


def test_a_training_that_goes_on_by_itself_equals_one_in_a_single_go(experiment, tmp_path):
    alone = with_train(experiment, results_dir=str(tmp_path / "whole"), validation_interval=2)
    whole = train(alone)
    first = train(with_train(experiment, num_epochs=1))
    second = train(experiment)
    assert (first.epochs, second.epochs, whole.epochs) == (1, 2, 2)
    assert second.report is not None
    assert second.report.parent == second.run_dir / "best"
    page = second.report.read_text(encoding="utf-8")
    assert "3-D IoU" in page
    assert "evaluation on validation data" in page  # the experiment names no other images to judge by
    assert json.loads(second.report.with_name("evaluation.json").read_text())["split"] == "validation"
    told = json.loads(second.report.with_name("status.json").read_text().splitlines()[-1])
    assert "val_3DIoU" in told["kpi"]
    assert "go on from" in second.plan
    wanted, found = (load_checkpoint(result.checkpoint).state for result in (whole, second))
    assert all(torch.equal(wanted.weights[name], found.weights[name]) for name in wanted.weights)
    assert wanted.position == found.position
    moments = [[slot["exp_avg"] for slot in state.optimizer["state"].values()] for state in (wanted, found)]
    assert all(torch.equal(one, other) for one, other in zip(*moments, strict=True))
    folder = results_of(experiment, "train").path
    names = {path.name for path in folder.glob("*.pth")}
    latest, best = "centerpose_model_latest.pth", "centerpose_model_best.pth"
    assert names == {latest, best, "model_epoch_000.pth", "model_epoch_001.pth"}
    assert second.best == folder / best
    pictures = f"dataset.test_data={experiment.dataset.val_data}"
    assert second.to_evaluate == (f"evaluate.checkpoint={folder / best}", pictures)
    assert load_checkpoint(second.best).state.best["epoch"] == load_checkpoint(second.best).state.epoch
    assert [row.split(",")[:2] for row in (folder / "metrics.csv").read_text().splitlines()[1:]] == [
        ["1", "1"],
        ["2", "2"],
    ]
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 3  # the first step, and two epochs
    assert list((folder / "tensorboard" / "epochs").glob("events.*"))
    assert load_experiment(folder / "experiment.yaml") == experiment
    lines = status_of(experiment)
    assert [line["status"] for line in lines] == ["STARTED", "RUNNING", "SUCCESS"] * 2
    epoch = lines[4]
    assert (epoch["epoch"], epoch["step"], epoch["max_epoch"], epoch["max_step"]) == (1, 2, 2, 2)
    assert epoch["kpi"].keys() >= {"train_loss", "val_3DIoU"}
    assert epoch["kpi"]["learning_rate"] == pytest.approx(1e-4)
    said = {name: value for name, value in epoch["kpi"].items() if name != "learning_rate"}
    assert lines[5]["kpi"] == said  # the end is told as the last epoch was
    assert ["val_3DIoU" in line["kpi"] for line in status_of(alone)[1:-1]] == [False, True]


def test_a_dry_run_keeps_nothing(experiment):
    result = train(with_train(experiment, is_dry_run=True))
    assert result.checkpoint is None
    assert not list(result.run_dir.glob("*.pth"))
    assert status_of(experiment)[-1]["status"] == "SUCCESS"
    assert "train_loss" in status_of(experiment)[-1]["kpi"]
    assert result.to_evaluate == ()


def test_ctrl_c_keeps_the_position(experiment):
    result = train(experiment, sinks=[Curve(stop_after=1)])
    assert result.interrupted
    assert result.checkpoint.name == "centerpose_model_latest.pth"
    assert load_checkpoint(result.checkpoint).state.position in {(0, 1), (1, 0)}
    assert status_of(experiment)[-1]["message"] == "the training was interrupted; the next one goes on here"


def test_what_cannot_be_done_is_said_before_anything_is_written(experiment, tmp_path, monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with pytest.raises(TrainingError, match="GPU"):
        train(with_train(experiment, num_gpus=64))
    assert not (tmp_path / "results").exists()


def test_a_missing_checkpoint_is_a_failure_in_the_file_of_status(experiment, tmp_path):
    with pytest.raises(CheckpointError):
        train(with_train(experiment, resume_training_checkpoint_path=str(tmp_path / "none.pth")))
    assert [line["status"] for line in status_of(experiment)] == ["STARTED", "FAILURE"]


@pytest.mark.parametrize(
    ("interval", "unit", "position", "name"),
    [
        (1, "epoch", (1, 0), "model_epoch_000.pth"),
        (2, "epoch", (1, 0), None),
        (2, "epoch", (2, 0), "model_epoch_001.pth"),
        (2, "epoch", (5, 0), "model_epoch_004.pth"),
        (1, "epoch", (1, 3), None),
        (5, "step", (0, 5), "model_epoch_000_step_00005.pth"),
        (5, "step", (1, 0), "model_epoch_000_step_00010.pth"),
        (7, "step", (1, 0), None),
        (7, "step", (1, 4), "model_epoch_001_step_00014.pth"),
        (7, "step", (5, 0), "model_epoch_004_step_00050.pth"),
    ],
)
def test_checkpoints_have_the_documented_names(experiment, tmp_path, interval, unit, position, name):
    train = TrainSpec(num_epochs=5, checkpoint_interval=interval, checkpoint_interval_unit=unit)
    keeper = ExperimentCheckpointer(results_of(experiment, "train"), train, provenance_of(tmp_path), 10)
    epoch, step = position
    state = TrainingState(weights={}, optimizer={}, schedule={}, rng={}, epoch=epoch, step=step, target_epochs=5)
    assert keeper.save(state).name == "centerpose_model_latest.pth"
    found = {path.name for path in keeper.results.path.glob("model_*.pth")}
    assert found == ({name} if name else set())
    assert load_checkpoint(keeper.results.checkpoint).state.position == position


def provenance_of(folder):
    return provenance(tiny_config(folder / "points", frames=1), OPTIONS)
