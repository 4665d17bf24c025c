from __future__ import annotations

from typing import NamedTuple

import attrs
import pytest
import torch
from torch import Tensor, nn

from cogkp.artifacts.checkpoint import load_checkpoint
from cogkp.data.sample import Batch
from cogkp.tasks.base import LossReport
from cogkp.training.learner import Learner
from cogkp.training.optim import build_optimizer
from cogkp.training.plan import plan_training
from cogkp.training.precision import resolve_precision
from tests.builders.tiny_keypoints import tiny_config
from tests.builders.training import OPTIONS, run_training
from tests.training.test_trainer import Stopper


class Guess(NamedTuple):
    keypoints: Tensor


class Truth(NamedTuple):
    uv: Tensor


class Toy(nn.Module):
    """A network without BatchNorm."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 2))
        self.double()

    def forward(self, image: Tensor) -> Guess:
        return Guess(self.body(image))


class MeanSquare:
    def __call__(self, outputs, batch) -> LossReport:
        square = (outputs.keypoints - batch.targets.uv).square().mean()
        return LossReport(2.0 * square, {"square": square}, {"square": 2.0})

    def describe(self) -> str:
        return "square"


def batch_of(size: int, pairs: int = 0, seed: int = 0) -> Batch:
    """The first ``pairs`` rows, two by two, are stereo pairs; all others single views."""
    generator = torch.Generator().manual_seed(seed)
    return Batch(
        image=torch.rand(size, 1, 4, 4, generator=generator, dtype=torch.float64),
        targets=Truth(torch.rand(size, 2, generator=generator, dtype=torch.float64)),
        source_to_crop=torch.eye(3, dtype=torch.float64).repeat(size, 1, 1),
        source_size_wh=torch.full((size, 2), 4),
        pairs=torch.arange(2 * pairs).reshape(-1, 2),
        ids=tuple(f"view {row}" for row in range(size)),
    )


def learner(**options) -> Learner:
    torch.manual_seed(0)
    model = Toy()
    plan = plan_training(attrs.evolve(OPTIONS, **options), frozenset(), None)
    precision = resolve_precision("fp32", torch.device("cpu"))
    return Learner(model, MeanSquare(), build_optimizer(model, 1e-2), plan, precision, torch.zeros(1, 1, 4, 4))


def gradients(one: Learner) -> Tensor:
    return torch.cat([parameter.grad.flatten() for parameter in one.model.parameters()])


@pytest.mark.parametrize("parts", [2, 3, 8, 50])
def test_parts_add_up_to_the_whole_batch(parts):
    whole, divided = learner(), learner(accumulate=parts)
    for seed in range(5):
        batch = batch_of(8, seed=seed)
        expected, found = whole.compare(batch), divided.compare(batch)
        assert torch.allclose(gradients(whole), gradients(divided), rtol=0, atol=1e-14)
        assert torch.allclose(expected.outputs.keypoints, found.outputs.keypoints, rtol=0, atol=1e-14)
        assert found.scalars == pytest.approx(expected.scalars, abs=1e-14)
        assert found.gradient_norm == pytest.approx(expected.gradient_norm, abs=1e-14)
        whole.update(1e-2)
        divided.update(1e-2)
    for name, tensor in whole.model.state_dict().items():
        assert torch.allclose(tensor, divided.model.state_dict()[name], rtol=0, atol=1e-9)


def test_each_pass_sees_its_part_only():
    one, seen = learner(accumulate=3), []
    one.model.register_forward_hook(lambda _module, inputs, _output: seen.append(len(inputs[0])))
    one.compare(batch_of(8))
    assert seen == [3, 3, 2]


@pytest.mark.parametrize("count", [2, 3, 4, 9])
def test_a_pair_is_never_cut_and_points_at_its_own_rows(count):
    batch = batch_of(8, pairs=3)
    parts = batch.parts(count)
    assert len(parts) == min(count, 5)
    assert sum((part.ids for part in parts), ()) == batch.ids
    assert torch.equal(torch.cat([part.image for part in parts]), batch.image)
    named = [(part.ids[left], part.ids[right]) for part in parts for left, right in part.pairs.tolist()]
    assert named == [("view 0", "view 1"), ("view 2", "view 3"), ("view 4", "view 5")]


def test_the_whole_is_its_only_part():
    batch = batch_of(4)
    assert batch.parts(1) == [batch]


def test_a_training_in_parts_is_resumed_exactly(tmp_path):
    config, options = tiny_config(tmp_path), attrs.evolve(OPTIONS, accumulate=2)
    _, done = run_training(config, tmp_path / "whole", options=options)
    _, part = run_training(config, tmp_path / "parts", options=options, sinks=[Stopper(3)])
    _, rest = run_training(config, tmp_path / "parts", restored=load_checkpoint(part.checkpoint))
    assert (done.steps, part.steps, rest.steps) == (6, 3, 3)
    whole, resumed = (load_checkpoint(one.checkpoint).state.weights for one in (done, rest))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
