"""The DLA34 backbone: levels, and published weights from a local file."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from cogkp.errors import ModelError
from cogkp.models.backbone_weights import load_backbone
from cogkp.models.dla import DLA34
from cogkp.models.fan import FullyAttentionalNetwork


@pytest.fixture(scope="module")
def published() -> OrderedDict[str, Tensor]:
    """Names and shapes of the published file, random values; with a classifier and without counters of batches."""
    torch.manual_seed(3)
    state = OrderedDict(
        (name, torch.rand_like(tensor) + 0.5)
        for name, tensor in DLA34().state_dict().items()
        if not name.endswith("num_batches_tracked")
    )
    for level, (narrow, wide) in {"level3": (64, 128), "level4": (128, 256)}.items():
        state[f"{level}.project.0.weight"] = torch.rand(wide, narrow, 1, 1)
        for part in ("weight", "bias", "running_mean", "running_var"):
            state[f"{level}.project.1.{part}"] = torch.rand(wide)
    state["fc.weight"], state["fc.bias"] = torch.rand(1000, 512, 1, 1), torch.rand(1000)
    return state


def refused(backbone: DLA34, weights: Mapping[str, Tensor]) -> str:
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    with pytest.raises(ModelError) as caught:
        load_backbone(backbone, weights, "the file")
    assert all(torch.equal(tensor, before[name]) for name, tensor in backbone.state_dict().items())
    assert "\n" not in str(caught.value)
    assert "@ the file" in str(caught.value)
    return str(caught.value)


def test_levels_have_the_documented_sizes() -> None:
    with torch.no_grad():
        levels = DLA34().eval()(torch.zeros(2, 3, 96, 64))
    assert [tuple(level.shape) for level in levels] == [
        (2, 64, 24, 16),
        (2, 128, 12, 8),
        (2, 256, 6, 4),
        (2, 512, 3, 2),
    ]


def test_half_the_width_is_a_quarter_of_the_weights() -> None:
    """All but the first layer, which sees three colours in any case, and the norms."""
    whole, half = (
        sum(
            tensor.numel()
            for name, tensor in DLA34(width).named_parameters()
            if tensor.dim() > 1 and "base" not in name
        )
        for width in (1.0, 0.5)
    )
    assert half * 4 == whole
    assert DLA34(0.5).channels == (32, 64, 128, 256)
    with pytest.raises(ModelError, match="narrow"):
        DLA34(0.01)


def test_names_are_the_published_ones() -> None:
    """Every kind of name, as the published file spells it."""
    names = set(DLA34().state_dict())
    assert {
        "base_layer.0.weight",
        "base_layer.1.running_var",
        "level0.0.weight",
        "level1.1.bias",
        "level2.tree1.conv1.weight",
        "level2.project.1.weight",
        "level2.root.conv.weight",
        "level3.tree1.tree2.bn2.running_mean",
        "level4.tree1.project.0.weight",
        "level4.tree2.root.bn.bias",
        "level5.tree2.conv2.weight",
        "level5.root.bn.running_mean",
        "level5.project.0.weight",
    } <= names


@pytest.mark.parametrize("prefix", ["", "model.net."])
def test_published_weights_are_loaded(published: OrderedDict[str, Tensor], prefix: str) -> None:
    """By themselves, and inside a whole network."""
    backbone = DLA34()
    rest = {"model.head.weight": torch.zeros(1)} if prefix else {}
    load_backbone(backbone, rest | {prefix + name: tensor for name, tensor in published.items()}, "the file")
    state = backbone.state_dict()
    floats = {name for name in state if not name.endswith("num_batches_tracked")}
    assert len(set(published) - floats) == 12
    assert all(torch.equal(state[name], published[name]) for name in floats)


def test_missing_weights_are_named(published: OrderedDict[str, Tensor]) -> None:
    rest = {name: tensor for name, tensor in published.items() if name != "level4.tree2.root.conv.weight"}
    assert "are missing @ the file: got level4.tree2.root.conv.weight" in refused(DLA34(), rest)
    few = {name: tensor for name, tensor in published.items() if name.startswith("level2")}
    assert "and " in (message := refused(DLA34(), few))
    assert "base_layer.0.weight" in message


def test_weights_of_another_network_are_named(published: OrderedDict[str, Tensor]) -> None:
    strange = {**published, "level6.root.conv.weight": torch.zeros(1)}
    assert "level6.root.conv.weight" in refused(DLA34(), strange)
    wrong = {**published, "level1.0.weight": torch.zeros(32, 16, 1, 1)}
    message = refused(DLA34(), wrong)
    assert "level1.0.weight (32, 16, 1, 1), not (32, 16, 3, 3)" in message


def test_a_backbone_of_attention_takes_its_own_names_alone(published: OrderedDict[str, Tensor]) -> None:
    first, second = FullyAttentionalNetwork("fan_small"), FullyAttentionalNetwork("fan_small")
    load_backbone(second, {f"backbone.{name}": part for name, part in first.state_dict().items()}, "the file")
    assert all(torch.equal(part, second.state_dict()[name]) for name, part in first.state_dict().items())
    with pytest.raises(ModelError, match=r"are missing @ the file: got .* begins with 'base_layer.0.weight'"):
        load_backbone(second, published, "the file")
    with pytest.raises(ModelError, match="the backbone does not have"):
        load_backbone(second, {**first.state_dict(), "head.weight": torch.zeros(1)}, "the file")
