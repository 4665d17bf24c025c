"""Trainings of an experiment in processes of their own: killed ones, and two that train one network."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import attrs
import pytest
import torch

from cogkp.artifacts.checkpoint import load_checkpoint
from cogkp.config.centerpose.io import write_experiment
from cogkp.config.centerpose.results import results_of
from cogkp.config.centerpose.spec import OptimSpec, TrainSpec
from cogkp.workflows.train import train
from tests.builders.tiny_boxes import tiny_experiment

REPOSITORY = Path(__file__).parents[2]
TORCHRUN = str(Path(sys.executable).with_name("torchrun"))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),  # half a minute of work, but it may get a small share of a busy machine
    pytest.mark.skipif(sys.platform != "linux", reason="torchrun with gloo is used on Linux"),
]


def job(folder: Path, config, *before: str, after: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    spec = folder / "spec.yaml"
    write_experiment(spec, config)
    return subprocess.run(
        [*before, "-m", "tests.builders.experiment_jobs", str(spec), *after],
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def history(config, kind: str) -> list[dict]:
    lines = (results_of(config, "train").path / "metrics.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in lines]
    return [
        {k: v for k, v in line.items() if not k.startswith(("time", "event"))}
        for line in found
        if line["event"] == kind
    ]


def state_of(config):
    return load_checkpoint(results_of(config, "train").checkpoint).state


def test_a_training_killed_within_an_epoch_goes_on_bit_by_bit(tmp_path):
    """SIGKILL after the fifth of six steps; the last save was after the fourth, the first of the second epoch."""
    section = TrainSpec(num_epochs=2, checkpoint_interval=2, checkpoint_interval_unit="step", optim=OptimSpec(lr=1e-3))
    config = attrs.evolve(
        tiny_experiment(tmp_path, pictures=6, width=0.25), results_dir=str(tmp_path / "killed"), train=section
    )
    config = attrs.evolve(config, dataset=attrs.evolve(config.dataset, batch_size=2))
    killed = job(tmp_path, config, sys.executable, after=("5",))
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert state_of(config).position == (1, 1)
    assert train(config).epochs == 2
    whole = attrs.evolve(config, results_dir=str(tmp_path / "whole"))
    train(whole)
    found, wanted = state_of(config), state_of(whole)
    assert [name for name in wanted.weights if not torch.equal(found.weights[name], wanted.weights[name])] == []
    assert found.best == wanted.best
    assert [history(config, kind) for kind in ("step", "epoch")] == [history(whole, kind) for kind in ("step", "epoch")]
    names = {path.name for path in results_of(config, "train").path.glob("model_*.pth")}
    steps = ("000_step_00002", "001_step_00004", "001_step_00006")
    assert names == {f"model_epoch_{step}.pth" for step in steps}


def test_two_ranks_train_as_one_process_with_all_pictures(tmp_path):
    section = TrainSpec(num_epochs=2, num_gpus=2, optim=OptimSpec(lr=1e-4))
    both = attrs.evolve(tiny_experiment(tmp_path, width=0.25), results_dir=str(tmp_path / "both"), train=section)
    both = attrs.evolve(both, dataset=attrs.evolve(both.dataset, batch_size=2))
    done = job(tmp_path, both, TORCHRUN, "--nproc-per-node", "2")
    assert done.returncode == 0, done.stderr
    alone = attrs.evolve(both, results_dir=str(tmp_path / "alone"), train=attrs.evolve(section, num_gpus=1))
    alone = attrs.evolve(alone, dataset=attrs.evolve(alone.dataset, batch_size=4))
    train(alone)
    (one,), (two,) = history(alone, "step"), history(both, "step")
    # Torch's BatchNorm sums in float32, that of ranks in float64; in float64 both are equal, see test_ranks. The first
    # layer's gradient feels it, and Adam divides small gradients by themselves.
    norms = [line.pop("gradient_norm") for line in (one, two)]
    assert two == pytest.approx(one, rel=1e-3)
    assert norms[1] == pytest.approx(norms[0], rel=0.05)
    losses = [[line["loss"] for line in history(config, "epoch")] for config in (alone, both)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-2)
    status = [json.loads(line)["status"] for line in results_of(both, "train").status.read_text().splitlines()]
    assert status == ["STARTED", "RUNNING", "RUNNING", "SUCCESS"]
    assert load_checkpoint(results_of(both, "train").checkpoint).provenance.options["batch_size"] == 4
