"""A fresh network whose encoder comes from elsewhere, through the whole way of training and deployment."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path

import attrs
import pytest
import torch

from cogkp.artifacts.checkpoint import load_checkpoint
from cogkp.config.keypoint.io import structure
from cogkp.config.keypoint.spec import KeypointConfig, Network
from cogkp.config.train import ExportOptions
from cogkp.errors import CheckpointError, ConfigError, ModelError
from cogkp.tasks.registry import build_task
from cogkp.workflows.export import export
from cogkp.workflows.families.keypoint import start_encoder
from cogkp.workflows.train import dry_run, train
from tests.builders.published import published_resnet18
from tests.builders.tiny_keypoints import tiny_config
from tests.builders.training import OPTIONS

SHORT = attrs.evolve(OPTIONS, epochs=1)


def preset(config: KeypointConfig, name: str) -> KeypointConfig:
    return attrs.evolve(config, model=Network(preset=name))


def with_weights(source: object) -> object:
    return attrs.evolve(SHORT, encoder_weights=str(source))


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of one point and a mask that was trained before."""
    folder = tmp_path_factory.mktemp("earlier")
    config = tiny_config(folder, segmentation=True)
    mappings = attrs.evolve(config.data_mappings, y=(config.data_mappings.y[0][:1],))
    config = attrs.evolve(config, data_mappings=mappings)
    return train(config, SHORT, checkpoint_root=folder / "runs", log_dir=None).checkpoint


@pytest.fixture
def config(tmp_path: Path) -> KeypointConfig:
    return tiny_config(tmp_path)


def trained(config: KeypointConfig, root: Path, options: object = SHORT, **more: object):
    return train(config, options, checkpoint_root=root / "runs", log_dir=None, **more)


def test_the_encoder_of_another_recording_is_what_training_starts_from(config, earlier, caplog):
    torch.manual_seed(0)
    fresh, task = build_task(config).model.state_dict(), None
    torch.manual_seed(0)
    task = build_task(config)
    with caplog.at_level(logging.INFO, "cogkp"):
        start_encoder(task, with_weights(earlier))
    there = load_checkpoint(earlier).state.weights
    for name, tensor in task.model.state_dict().items():
        encoder = name.startswith(("stem.", "stages."))
        assert torch.equal(tensor, there[name] if encoder else fresh[name]), name
    assert "trained for 1 points" in caplog.text
    assert "not used from there: decoder, heatmap_head, mask_head" in caplog.text
    assert "decoder, heatmap_head start from random weights" in caplog.text


def test_it_changes_what_is_learnt_and_stays_in_the_checkpoint(config, earlier, tmp_path):
    plain = load_checkpoint(trained(config, tmp_path / "a").checkpoint)
    begun = trained(config, tmp_path / "b", with_weights(earlier))
    saved = load_checkpoint(begun.checkpoint)
    assert not torch.equal(saved.state.weights["stem.0.0.weight"], plain.state.weights["stem.0.0.weight"])
    assert saved.provenance.options["encoder_weights"] == str(earlier)
    assert begun.plan.endswith(f"encoder from {earlier}")


def test_a_restored_training_does_not_ask_for_the_file_again(config, earlier, tmp_path):
    copy = tmp_path / "moved.pth"
    copy.write_bytes(earlier.read_bytes())
    trained(config, tmp_path, with_weights(copy))
    copy.unlink()
    result = trained(config, tmp_path, restore="latest", given=frozenset({"epochs"}))
    assert result.epochs == 2


def test_weights_and_a_checkpoint_exclude_each_other(config, earlier, tmp_path):
    trained(config, tmp_path)
    with pytest.raises(ConfigError, match="--encoder-weights or --restore, not both"):
        trained(config, tmp_path, with_weights(earlier), restore="latest", given=frozenset({"encoder_weights"}))


def test_a_misfit_is_told_before_anything_is_written(config, earlier, tmp_path):
    with pytest.raises(ModelError, match=str(earlier)):
        trained(preset(config, "large"), tmp_path, with_weights(earlier))
    with pytest.raises(CheckpointError, match="no such file of weights"):
        dry_run(config, with_weights(tmp_path / "none.pth"), log_dir=None)
    assert not (tmp_path / "runs").exists()


def test_published_weights_come_from_the_cache(config, tmp_path, monkeypatch):
    """The published file cannot be had here, so a drawn one takes its place under a name with its own hash."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    with pytest.raises(CheckpointError, match="Copy it to"):
        trained(preset(config, "resnet18"), tmp_path, with_weights("imagenet"))
    drawn, cache = tmp_path / "drawn.pth", tmp_path / "torch" / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    torch.save(published_resnet18(), drawn)
    name = f"resnet18-{hashlib.sha256(drawn.read_bytes()).hexdigest()[:8]}.pth"
    drawn.rename(cache / name)
    monkeypatch.setattr("cogkp.workflows.families.keypoint.RESNET18_WEIGHTS", name)
    task = build_task(preset(config, "resnet18"))
    loaded = start_encoder(task, with_weights("imagenet"))
    assert loaded is not None
    assert loaded.passed_over == ("fc",)
    published = published_resnet18()["layer4.0.conv2.weight"]
    assert torch.equal(task.model.state_dict()["encoder.layer4.0.conv2.weight"], published)


@pytest.mark.parametrize("name", ["large", "resnet18"])
def test_a_preset_is_trained_restored_and_deployed(config, tmp_path, name):
    config = preset(config, name)
    run = trained(config, tmp_path)
    checkpoint = load_checkpoint(run.checkpoint)
    assert structure(checkpoint.provenance.config).model.preset == name
    result = export(
        config, ExportOptions(engine=False), checkpoint=str(run.checkpoint), models_root=tmp_path / "models"
    )
    assert max(result.parity.values()) < 0.02
    assert json.loads(result.manifest.read_text())["facts"]["preset"] == name
    small = preset(config, "small")
    with pytest.raises(CheckpointError, match=f"with the preset '{name}'"):
        export(small, ExportOptions(engine=False), checkpoint=str(run.checkpoint), models_root=tmp_path / "models")
    with pytest.raises(CheckpointError, match=rf"model\.preset.*{name}"):
        trained(small, tmp_path, restore="latest")


def test_a_checkpoint_from_before_presets_goes_on_as_small(config, tmp_path):
    run = trained(config, tmp_path)
    checkpoint = load_checkpoint(run.checkpoint)
    older = {key: value for key, value in checkpoint.provenance.config.items() if key != "model"}
    checkpoint = attrs.evolve(checkpoint, provenance=attrs.evolve(checkpoint.provenance, config=older))
    run.checkpoint.write_bytes(checkpoint.to_bytes())
    assert trained(config, tmp_path, restore=str(run.checkpoint), given=frozenset({"epochs"})).epochs == 2
