"""Batches reach a GPU without the process waiting for them."""

from __future__ import annotations

import time

import attrs
import pytest
import torch

from cogkp.data.loader import build_loader
from cogkp.tasks.registry import build_task
from tests.builders.tiny_keypoints import tiny_config
from tests.builders.training import OPTIONS, run_training

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")


def tensors(batch) -> list[torch.Tensor]:
    return [batch.image, *batch.targets, batch.source_to_crop, batch.source_size_wh, batch.pairs]


def test_every_tensor_of_a_batch_moves(tmp_path):
    batch = next(iter(build_loader(build_task(tiny_config(tmp_path)).datasets("train"), batch_size=4)))
    assert {tensor.device.type for tensor in tensors(batch.to("meta"))} == {"meta"}
    assert batch.to("meta").ids == batch.ids
    assert [tuple(t.shape) for t in tensors(batch.to("meta"))] == [tuple(t.shape) for t in tensors(batch)]


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("workers", [0, 1])
def test_a_batch_is_page_locked_and_copied_without_waiting(tmp_path, workers):
    dataset = build_task(tiny_config(tmp_path)).datasets("train")
    batch = next(iter(build_loader(dataset, batch_size=4, num_workers=workers, pin=True)))
    assert all(tensor.is_pinned() for tensor in tensors(batch) if tensor.numel())
    batch.to("cuda")
    torch.cuda.synchronize()
    torch.cuda._sleep(2_000_000_000)  # a second or so of work before the copies
    started = time.perf_counter()
    there = batch.to("cuda")
    assert time.perf_counter() - started < 0.2
    torch.cuda.synchronize()
    assert all(torch.equal(a.cpu(), b) for a, b in zip(tensors(there), tensors(batch), strict=True))


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_training_on_a_gpu_learns_in_each_precision(tmp_path, precision):
    config, options = tiny_config(tmp_path), attrs.evolve(OPTIONS, precision=precision)
    _, short = run_training(config, tmp_path / "a", options=attrs.evolve(options, epochs=1))
    _, long = run_training(config, tmp_path / "b", options=attrs.evolve(options, epochs=15))
    assert long.scalars["loss"] < 0.6 * short.scalars["loss"]
