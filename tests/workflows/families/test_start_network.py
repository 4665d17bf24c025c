"""Where a fresh network of an experiment gets its first weights."""

from __future__ import annotations

import logging

import attrs
import pytest
import torch

from cogkp.artifacts.checkpoint import Checkpoint, Provenance, TrainingState
from cogkp.config.centerpose.io import dump_experiment
from cogkp.config.centerpose.spec import BackboneSpec
from cogkp.config.keypoint.io import dump
from cogkp.errors import CheckpointError, CogkpError
from cogkp.models.dla import DLA34
from cogkp.tasks.registry import build_task
from cogkp.training.seeding import seed_everything
from cogkp.workflows.families.centerpose.training import start_network
from tests.builders.tiny_boxes import tiny_experiment
from tests.builders.tiny_keypoints import tiny_config


@pytest.fixture
def experiment(tmp_path):
    return tiny_experiment(tmp_path, pictures=1)


def with_backbone(config, path, kind="DLA34"):
    backbone = BackboneSpec(model_type=kind, pretrained_backbone_path=None if path is None else str(path))
    return attrs.evolve(config, model=attrs.evolve(config.model, use_pretrained=True, backbone=backbone))


def with_network(config, path):
    return attrs.evolve(config, train=attrs.evolve(config.train, pretrained_model_path=str(path)))


def written(path, dumped, weights, points=("tip",), network=""):
    state = TrainingState(weights=weights, optimizer={}, schedule={}, rng={}, epoch=1, step=0, target_epochs=1)
    known = Provenance(config=dumped, options={}, points=points, num_classes=None, data=(), network=network)
    path.write_bytes(Checkpoint(state=state, provenance=known).to_bytes())
    return path


def refusal(task, config) -> str:
    before = {name: tensor.clone() for name, tensor in task.model.state_dict().items()}
    with pytest.raises(CogkpError) as caught:
        start_network(task, config)
    assert all(torch.equal(tensor, before[name]) for name, tensor in task.model.state_dict().items())
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("prefix", ["", "model.net."])
def test_a_backbone_begins_with_the_weights_of_a_file(experiment, tmp_path, prefix, caplog):
    """A state dict, and the whole network inside a checkpoint of PyTorch Lightning."""
    seed_everything(1)
    weights = {prefix + name: tensor for name, tensor in DLA34().state_dict().items()}
    torch.save({"state_dict": {**weights, "model.hm.bias": torch.ones(1)}} if prefix else weights, tmp_path / "w.pth")
    task = build_task(experiment)
    with caplog.at_level(logging.INFO, "cogkp"):
        start_network(task, with_backbone(experiment, tmp_path / "w.pth"))
    found = task.model.backbone.state_dict()
    assert all(torch.equal(found[name.removeprefix(prefix)], tensor) for name, tensor in weights.items())
    assert "222 tensors; neck and heads start from random weights" in caplog.text


def test_a_whole_network_begins_where_another_experiment_ended(experiment, tmp_path):
    seed_everything(1)
    source, task = build_task(experiment), build_task(experiment)
    path = written(tmp_path / "own.pth", dump_experiment(experiment), source.model.state_dict())
    start_network(task, with_network(with_backbone(experiment, "nothing is read here"), path))
    found = task.model.state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in source.model.state_dict().items())


def test_files_that_are_not_there_are_told_in_one_line(experiment, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    task = build_task(experiment)
    said = refusal(task, with_backbone(experiment, None))
    assert "nothing is downloaded" in said
    assert f"Copy it to {tmp_path / 'hub' / 'checkpoints' / 'dla34-ba72cf86.pth'}" in said
    assert "there is no such file of weights @ none.pth" in refusal(task, with_backbone(experiment, "none.pth"))
    said = refusal(task, with_backbone(experiment, None, "fan_small"))
    assert "no file is named @ model.backbone.pretrained_backbone_path" in said
    assert "no such file of weights @ none.pth" in refusal(task, with_backbone(experiment, "none.pth", "fan_small"))
    assert "there is no such checkpoint @ none.pth" in refusal(task, with_network(experiment, "none.pth"))


def test_weights_of_another_network_are_told_in_one_line(experiment, tmp_path):
    task = build_task(experiment)
    torch.save({"patch_embed.weight": torch.zeros(1)}, tmp_path / "other.pth")
    said = refusal(task, with_backbone(experiment, tmp_path / "other.pth"))
    assert "weights of the backbone are missing" in said
    assert "this one begins with 'patch_embed.weight'" in said
    points = tiny_config(tmp_path / "points", frames=1)
    path = written(tmp_path / "points.pth", dump(points), {}, points.point_names)
    assert "the checkpoint is of another family" in refusal(task, with_network(experiment, path))
    torch.save({"state_dict": {}, "epoch": 3}, tmp_path / "lightning.pth")
    said = refusal(task, with_network(experiment, tmp_path / "lightning.pth"))
    assert "not a checkpoint of this library" in said
    assert "PyTorch Lightning" in said


def test_a_network_of_another_backbone_is_named(experiment, tmp_path):
    fan = attrs.evolve(experiment.model, backbone=BackboneSpec(model_type="fan_small"))
    dumped = dump_experiment(attrs.evolve(experiment, model=fan))
    path = written(
        tmp_path / "fan.pth", dumped, {"backbone.stem.0.weight": torch.zeros(1)}, network="the backbone 'fan_small'"
    )
    with pytest.raises(CheckpointError, match="the backbone 'fan_small'"):
        start_network(build_task(experiment), with_network(experiment, path))
