"""BatchNorm over all ranks; here there is one, so that the plain layer is the oracle. Two ranks: test_ranks.py."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from cogkp.models.keypoint import GenericKeypointModel
from cogkp.training.distributed import StepBatchNorm, normalise_over_ranks


def layers(momentum: float | None = 0.1, dtype=torch.float64) -> tuple[nn.BatchNorm2d, nn.BatchNorm2d]:
    torch.manual_seed(0)
    plain = nn.BatchNorm2d(3, momentum=momentum).to(dtype)
    nn.init.normal_(plain.weight)
    nn.init.normal_(plain.bias)
    shared = copy.deepcopy(plain)
    normalise_over_ranks(shared, True)
    assert type(shared) is StepBatchNorm
    return plain, shared


def features(seed: int, dtype=torch.float64, offset=0.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    drawn = 2.0 * torch.randn(4, 3, 5, 6, generator=generator, dtype=torch.float64) + offset
    return drawn.to(dtype).requires_grad_()


@pytest.mark.parametrize("momentum", [0.1, None])
def test_values_gradients_and_running_statistics_are_those_of_the_plain_layer(momentum):
    plain, shared = layers(momentum)
    for seed in range(3):
        one, two = features(seed), features(seed)
        ours, theirs = shared(one), plain(two)
        assert torch.allclose(ours, theirs, rtol=0, atol=1e-12)
        pull = torch.randn_like(ours)
        (ours * pull).sum().backward()
        (theirs * pull).sum().backward()
        assert torch.allclose(one.grad, two.grad, rtol=0, atol=1e-12)
    for mine, other in zip(shared.parameters(), plain.parameters(), strict=True):
        assert torch.allclose(mine.grad, other.grad, rtol=0, atol=1e-11)
    for name, tensor in plain.state_dict().items():
        assert torch.allclose(shared.state_dict()[name], tensor, rtol=0, atol=1e-12)
    assert torch.equal(shared.eval()(features(9)), copy.deepcopy(shared).eval()(features(9)))


def test_its_gradient_is_its_derivative():
    _, shared = layers()
    assert torch.autograd.gradcheck(shared, features(0))


def test_float32_survives_a_mean_far_from_zero():
    plain, _ = layers()
    _, shared = layers(dtype=torch.float32)
    far = features(1, offset=1000.0).detach()
    assert torch.allclose(shared(far.float()).double(), plain(far.float().double()), atol=2e-3)


def test_half_precision_comes_and_goes():
    plain, shared = layers(dtype=torch.float32)
    small = features(1, torch.bfloat16)
    assert shared(small).dtype == torch.bfloat16
    assert torch.allclose(shared(small).float(), plain(small.float()), atol=0.05)


def test_a_network_gets_its_own_layers_back():
    model = GenericKeypointModel(2, width=8)
    names, kinds = list(model.state_dict()), [type(module) for module in model.modules()]
    normalise_over_ranks(model, True)
    assert sum(type(module) is StepBatchNorm for module in model.modules()) == kinds.count(nn.BatchNorm2d) > 0
    assert list(model.state_dict()) == names
    normalise_over_ranks(model, False)
    assert [type(module) for module in model.modules()] == kinds


def test_a_flat_channel_has_finite_gradients():
    _, shared = layers()
    flat = torch.ones(2, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    shared(flat).sum().backward()
    assert flat.grad.isfinite().all()
