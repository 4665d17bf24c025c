"""The DLA34 backbone: levels, and published weights from a local file."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import Tensor

from cogkp.errors import ModelError
from cogkp.models.dla import DLA34, load_dla34_weights


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


def saved(state: object, folder: Path) -> Path:
    path = folder / "dla34-ba72cf86.pth"
    torch.save(state, path)
    return path


def refused(backbone: DLA34, path: Path) -> str:
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    with pytest.raises(ModelError) as caught:
        load_dla34_weights(backbone, path)
    assert all(torch.equal(tensor, before[name]) for name, tensor in backbone.state_dict().items())
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
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


def test_published_weights_are_loaded(published: OrderedDict[str, Tensor], tmp_path: Path) -> None:
    backbone = DLA34()
    load_dla34_weights(backbone, saved(published, tmp_path))
    state = backbone.state_dict()
    floats = {name for name in state if not name.endswith("num_batches_tracked")}
    assert len(set(published) - floats) == 12
    assert all(torch.equal(state[name], published[name]) for name in floats)


def test_missing_weights_are_named(published: OrderedDict[str, Tensor], tmp_path: Path) -> None:
    rest = {name: tensor for name, tensor in published.items() if name != "level4.tree2.root.conv.weight"}
    assert "weights are missing: level4.tree2.root.conv.weight @" in refused(DLA34(), saved(rest, tmp_path))
    few = {name: tensor for name, tensor in published.items() if name.startswith("level2")}
    assert "and " in (message := refused(DLA34(), saved(few, tmp_path)))
    assert "base_layer.0.weight" in message


def test_weights_of_another_network_are_named(published: OrderedDict[str, Tensor], tmp_path: Path) -> None:
    strange = {**published, "level6.root.conv.weight": torch.zeros(1)}
    assert "level6.root.conv.weight" in refused(DLA34(), saved(strange, tmp_path))
    wrong = {**published, "level1.0.weight": torch.zeros(32, 16, 1, 1)}
    message = refused(DLA34(), saved(wrong, tmp_path))
    assert "level1.0.weight (32, 16, 1, 1), not (32, 16, 3, 3)" in message


class Payload:
    """Stands for any object of a pickle that could run code."""


def test_only_tensors_are_read(tmp_path: Path) -> None:
    assert "cannot be read" in refused(DLA34(), saved({"base_layer.0.weight": Payload()}, tmp_path))
    assert "holds no weights" in refused(DLA34(), saved({"epoch": 3}, tmp_path))
    assert "holds no weights" in refused(DLA34(), saved([1], tmp_path))


@pytest.mark.parametrize("content", [b"", b"no weights at all", b"PK\x03\x04 cut"])
def test_damaged_files_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    assert "cannot be read" in refused(DLA34(), path)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert "no such file" in refused(DLA34(), tmp_path / "none.pth")
