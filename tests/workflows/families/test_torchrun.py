"""How the processes are started that an experiment asks for."""

from __future__ import annotations

import sys

import pytest

from cogkp.config.centerpose.spec import EvaluateSpec, TrainSpec
from cogkp.errors import TrainingError
from cogkp.workflows.families.centerpose.torchrun import ranks_to_start, require_started


@pytest.mark.parametrize(
    ("train", "environment", "visible"),
    [
        (TrainSpec(num_gpus=2), {}, "0,1"),
        (TrainSpec(gpu_ids=(1, 3)), {}, "1,3"),
        (TrainSpec(num_gpus=2, gpu_ids=(1, 0)), {"CUDA_VISIBLE_DEVICES": "4,6,7,9"}, "6,4"),
    ],
)
def test_as_many_processes_are_started_as_gpus_are_asked_for(train, environment, visible):
    start = ranks_to_start(train, "train", environment, present=4)
    assert start.words[:3] == (sys.executable, "-m", "torch.distributed.run")
    assert start.words[-2:] == ("--nproc-per-node", "2")
    assert start.environment == {"CUDA_VISIBLE_DEVICES": visible}
    assert start.advice.startswith(f"CUDA_VISIBLE_DEVICES={visible} torchrun --nproc-per-node 2 ")


@pytest.mark.parametrize("present", [0, 1, 8])
def test_one_process_is_enough_for_one_gpu_and_for_none(present):
    assert ranks_to_start(TrainSpec(), "train", {}, present=present) is None


def test_who_started_the_processes_has_decided():
    assert ranks_to_start(TrainSpec(num_gpus=8, num_nodes=2), "train", {"WORLD_SIZE": "2"}, present=0) is None


@pytest.mark.parametrize(
    ("train", "present", "words"),
    [
        (
            TrainSpec(num_gpus=2),
            0,
            "there is no GPU here @ train.num_gpus: got 2 asked for.*torchrun --nproc-per-node 2 ",
        ),
        (TrainSpec(num_gpus=4), 2, "expected 0 to 1, got 0, 1, 2, 3"),
        (TrainSpec(gpu_ids=(7,)), 2, "expected 0 to 1, got 7"),
        (TrainSpec(num_gpus=4, num_nodes=2), 4, "Start on each machine: torchrun --nnodes 2 .*--nproc-per-node 4 "),
    ],
)
def test_what_cannot_be_started_is_refused_in_one_line_with_what_to_do(train, present, words):
    with pytest.raises(TrainingError, match=words) as caught:
        ranks_to_start(train, "train", {}, present=present)
    assert "\n" not in str(caught.value)


def test_a_training_in_one_process_refuses_several_gpus_with_the_command(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    with pytest.raises(TrainingError, match="Start: CUDA_VISIBLE_DEVICES=0,1 torchrun --nproc-per-node 2 "):
        require_started(TrainSpec(num_gpus=2), "train")
    require_started(TrainSpec(), "train")


@pytest.mark.parametrize("verb", ["evaluate", "inference"])
def test_other_verbs_are_started_by_their_own_words(verb):
    start = ranks_to_start(EvaluateSpec(gpu_ids=(0, 1)), verb, {}, present=2)
    assert start.advice.endswith(f"torchrun --nproc-per-node 2 --no-python s6 cog centerpose {verb} -e SPEC.yaml")
    with pytest.raises(TrainingError, match=f"no GPU here @ {verb}.num_gpus: .*s6 cog centerpose {verb} "):
        ranks_to_start(EvaluateSpec(num_gpus=2), verb, {}, present=0)
