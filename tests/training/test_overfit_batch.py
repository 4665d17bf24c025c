from __future__ import annotations

import attrs
import torch

from cogkp.artifacts.checkpoint import load_checkpoint
from cogkp.tasks.registry import build_task
from cogkp.training.sanity import OneBatch
from tests.builders.tiny_keypoints import tiny_config
from tests.builders.training import OPTIONS, loaders, run_training
from tests.training.test_trainer import Stopper

ALONE = attrs.evolve(OPTIONS, overfit_one_batch=True)


class Seen(Stopper):
    """A sink that keeps the images of every step."""

    def __init__(self, after: int = -1) -> None:
        super().__init__(after)
        self.images: list[torch.Tensor] = []

    def step(self, event):
        self.images.append(event.batch.image)
        super().step(event)


def test_every_step_of_every_epoch_is_the_first_batch_pixel_by_pixel(tmp_path):
    config = tiny_config(tmp_path)
    loader = loaders(build_task(config), OPTIONS).train
    loader.set_epoch(0)
    first = next(iter(loader))
    seen = Seen()
    _, result = run_training(config, tmp_path, options=ALONE, sinks=[seen])
    assert (result.epochs, len(seen.images)) == (3, 6)
    assert all(torch.equal(image, first.image) for image in seen.images)


def test_positions_within_an_epoch_are_kept(tmp_path):
    alone = OneBatch(loaders(build_task(tiny_config(tmp_path, frames=12)), OPTIONS).train)
    assert len(alone) == 3
    for first in range(4):
        alone.set_epoch(7, first)
        assert len(list(alone)) == 3 - first


def test_it_is_resumed_exactly(tmp_path):
    config = tiny_config(tmp_path)
    _, done = run_training(config, tmp_path / "whole", options=ALONE)
    _, part = run_training(config, tmp_path / "parts", options=ALONE, sinks=[Seen(3)])
    _, rest = run_training(config, tmp_path / "parts", restored=load_checkpoint(part.checkpoint))
    whole, resumed = (load_checkpoint(one.checkpoint).state.weights for one in (done, rest))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_one_batch_is_learned_by_heart(tmp_path):
    config = tiny_config(tmp_path)
    _, first = run_training(config, tmp_path / "a", options=attrs.evolve(ALONE, epochs=1))
    _, last = run_training(config, tmp_path / "b", options=attrs.evolve(ALONE, epochs=40))
    assert last.scalars["loss"] < 0.1 * first.scalars["loss"]
