"""A command that several GPUs are asked for starts itself again, once on each."""

from __future__ import annotations

import os
import sys

import pytest
from cogkp_cli.ranks import on_every_gpu

from cogkp.config.centerpose.spec import CenterPoseConfig, TrainSpec


class BecameError(Exception):
    """In place of another program."""


@pytest.fixture
def became(monkeypatch) -> list[list[str]]:
    """What the process became, on a machine with two GPUs."""
    seen: list[list[str]] = []

    def become(program: str, words: list[str]) -> None:
        seen.append([program, *words])
        raise BecameError

    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr(os, "execv", become)
    monkeypatch.setattr(sys, "argv", ["s6", "cog", "centerpose", "train", "-e", "spec.yaml", "train.num_gpus=2"])
    return seen


def test_the_words_of_the_command_stay(became):
    with pytest.raises(BecameError):
        on_every_gpu(CenterPoseConfig(train=TrainSpec(num_gpus=2)), "train")
    (words,) = became
    assert words[:4] == [sys.executable, sys.executable, "-m", "torch.distributed.run"]
    assert words[-8:] == ["-m", "cogkp_cli", "cog", "centerpose", "train", "-e", "spec.yaml", "train.num_gpus=2"]
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0,1"


def test_one_process_stays_what_it_is(became, monkeypatch):
    on_every_gpu(CenterPoseConfig(), "train")
    monkeypatch.setenv("WORLD_SIZE", "2")
    on_every_gpu(CenterPoseConfig(train=TrainSpec(num_gpus=2)), "train")
    assert not became
