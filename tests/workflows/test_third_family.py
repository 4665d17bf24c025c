"""A family of somebody else's goes through every verb, without a change in the library."""

from __future__ import annotations

import json
import signal

import attrs
import numpy as np
import pytest
import torch

import cogkp
from cogkp import families
from cogkp.artifacts.checkpoint import load_checkpoint
from cogkp.data.images import write_png
from tests.builders.toy_family import DOTS, SIDE, DotConfig, Dots

OPTIONS = cogkp.TrainOptions(epochs=4, batch_size=8, num_workers=0, learning_rate=3e-3, seed=5)


@pytest.fixture(autouse=True)
def dots(monkeypatch):
    """The registry as it was comes back afterwards."""
    monkeypatch.setattr(families, "_FAMILIES", dict(families._FAMILIES))
    families.register(DOTS)


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "config.dots"
    path.write_text(json.dumps({"dots": {"train": 24, "validation": 6}}))
    return cogkp.load_config(path)


def trained(config, root, options=OPTIONS, **asked):
    return cogkp.train(config, options, checkpoint_root=root, log_dir=None, **asked)


def test_it_is_read_by_its_suffix(config):
    assert config == DotConfig(24, 6)


def test_it_trains_validates_and_reports(config, tmp_path):
    run = trained(config, tmp_path / "runs")
    assert run.epochs == OPTIONS.epochs
    assert run.best is not None
    assert run.scalars["validation/error_mean_px"] < SIDE
    assert run.report is not None
    assert "dots: evaluation on validation data" in run.report.read_text()
    assert load_checkpoint(run.checkpoint).family == "dots"
    shown = next(iter(cogkp.preview_data(config, batch_size=4)))
    assert shown.ndim == 3


def test_it_resumes_bit_for_bit(config, tmp_path):
    whole = trained(config, tmp_path / "whole")
    half = trained(config, tmp_path / "parts", attrs.evolve(OPTIONS, epochs=4), sinks=[_StopAfter(2)])
    assert half.interrupted
    rest = trained(config, tmp_path / "parts", restore="latest")
    one, other = (load_checkpoint(run.checkpoint).state.weights for run in (whole, rest))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_it_is_evaluated_exported_compared_and_asked(config, tmp_path):
    run = trained(config, tmp_path / "runs", report=False)
    source = cogkp.evaluate(config, model=str(run.checkpoint), output_dir=tmp_path / "source")
    model = cogkp.export(
        config, cogkp.ExportOptions(engine=False), checkpoint=str(run.checkpoint), models_root=tmp_path
    )
    assert model.parity["uv"] < 1e-3
    assert model.samples == 6
    exported = cogkp.evaluate(config, model=str(model.onnx), output_dir=tmp_path / "exported")
    key = "error_mean_px"
    assert exported.report["overall"][key] == pytest.approx(source.report["overall"][key], abs=1e-4)
    compared = cogkp.compare(str(tmp_path / "source"), str(tmp_path / "exported"))
    assert compared.paired
    (sample,) = Dots(1, 1000)[0]
    found = [cogkp.load(path)(sample.sample.image[0]).to_dict()["uv"] for path in (run.checkpoint, model.onnx)]
    np.testing.assert_allclose(*found, atol=1e-3)
    write_png(tmp_path / "images" / "a.png", sample.sample.image[0])
    asked = cogkp.infer(config, tmp_path / "images", model=str(model.onnx), output_dir=tmp_path / "predictions")
    assert asked.images == 1
    written = json.loads((asked.folder / "a.json").read_text())
    np.testing.assert_allclose(written["uv"], found[1], atol=0.05)  # the PNG file has 8 bits
    assert (asked.folder / "a.jpg").is_file()


def test_a_dry_run_takes_one_step(config):
    assert cogkp.dry_run(config, OPTIONS, log_dir=None).parts.keys() == {"squared"}


def test_another_family_s_checkpoint_is_refused(config, tmp_path):
    run = trained(config, tmp_path / "runs", report=False)
    with pytest.raises(cogkp.CogkpError, match=r"of another family.*expected keypoint, got dots"):
        cogkp.evaluate(
            attrs.evolve(cogkp.KeypointConfig.default(), base_dir=(str(tmp_path),)), model=str(run.checkpoint)
        )


class _StopAfter:
    """A logger that presses Ctrl-C after an epoch."""

    def __init__(self, epochs: int) -> None:
        self.left = epochs

    def start(self, model, example) -> None: ...

    def step(self, event) -> None: ...

    def epoch(self, event) -> None:
        self.left -= 1
        if not self.left:
            signal.raise_signal(signal.SIGINT)

    def flush(self) -> None: ...

    def close(self) -> None: ...
