"""The CenterPose networks: their size, their contract with training, evaluation and ONNX."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cogkp.errors import ModelError
from cogkp.exporter.onnx_export import export_onnx
from cogkp.models.centerpose import BACKBONES, CHANNELS, CenterPoseNetwork, CenterPoseOutputs, ConvGRU
from cogkp.models.dla import IterativeUp
from cogkp.tasks.base import ExportSpec, OutputSpec

NAMES = ("hm", "wh", "hps", "reg", "hm_hp", "hp_offset", "scale")
SMALL = ["DLA34", "fan_small"]
PUBLISHED = {  # whole, backbone, neck, grouping, heads, whole without grouping; and what of the backbone is dead
    "DLA34": (19_840_786, 15_270_832, 3_302_272, 221_376, 1_046_306, 19_615_826, 41_728),
    "fan_small": (33_463_538, 28_390_224, 2_109_696, 885_120, 2_078_498, 32_574_834, 3_550_848),
    "fan_base": (58_272_738, 53_125_696, 2_183_424, 885_120, 2_078_498, 57_384_034, 4_833_472),
    "fan_large": (84_878_878, 79_694_972, 2_220_288, 885_120, 2_078_498, 83_990_174, 5_550_240),
}


def images(batch: int = 2, height: int = 64, width: int = 64, seed: int = 1) -> Tensor:
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(seed))


@functools.cache
def warmed_up(backbone: str = "DLA34", *, conv_gru: bool = True) -> CenterPoseNetwork:
    """A network in evaluation whose normalisation layers have statistics of their own; tests leave it as it is."""
    torch.manual_seed(0)
    network = CenterPoseNetwork(backbone, conv_gru=conv_gru)
    with torch.no_grad():
        for seed in range(2):
            network(images(4, seed=seed))
    return network.eval()


def size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("backbone", BACKBONES)
def test_networks_have_the_published_size_without_what_was_dead(backbone: str) -> None:
    whole, base, neck, grouping, heads, plain, dead = PUBLISHED[backbone]
    with torch.device("meta"):
        network, ungrouped = CenterPoseNetwork(backbone), CenterPoseNetwork(backbone, conv_gru=False)
    assert network.gru is not None
    assert size(network.backbone) == base - dead
    assert (size(network.neck), size(network.gru), size(network.heads)) == (neck, grouping, heads)
    assert size(network) == whole - dead
    assert size(ungrouped) == plain - dead
    assert not any(isinstance(module, nn.GroupNorm) for module in ungrouped.modules())


@pytest.mark.parametrize("backbone", SMALL)
@pytest.mark.parametrize("conv_gru", [True, False])
@pytest.mark.parametrize(("batch", "height", "width"), [(1, 32, 32), (2, 64, 96), (1, 160, 64)])
def test_outputs_have_the_documented_names_and_shapes(
    batch: int, height: int, width: int, conv_gru: bool, backbone: str
) -> None:
    with torch.no_grad():
        outputs = warmed_up(backbone, conv_gru=conv_gru)(images(batch, height, width))
    assert isinstance(outputs, CenterPoseOutputs)
    assert outputs._fields == NAMES == tuple(CHANNELS)
    shapes = [tuple(output.shape) for output in outputs]
    assert shapes == [(batch, channels, height // 4, width // 4) for channels in (1, 2, 16, 2, 8, 2, 3)]


def test_heads_start_as_documented() -> None:
    for name, head in CenterPoseNetwork().heads.items():
        biases = [layer.bias for layer in head if isinstance(layer, nn.Conv2d)]
        assert len(biases) == 2
        assert not biases[0].any(), name
        torch.testing.assert_close(biases[1], torch.full_like(biases[1], -2.19 if name in {"hm", "hm_hp"} else 0.0))


def test_easy_maps_do_not_depend_on_later_steps() -> None:
    """hm, wh and reg are read after the first look, when the memory is still empty; scale after the last."""
    network, image = warmed_up(), images(1)
    assert network.gru is not None
    kept = network.gru.memory_gates.weight.detach().clone()
    with torch.no_grad():
        before = network(image)
        network.gru.memory_gates.weight.mul_(2.0)
        after = network(image)
        network.gru.memory_gates.weight.copy_(kept)
    same = {name for name in NAMES if torch.equal(getattr(before, name), getattr(after, name))}
    assert same == {"hm", "wh", "reg"}


def test_the_cell_computes_its_formula() -> None:
    """The shortcuts for the empty memory and the repeated input change nothing."""
    torch.manual_seed(0)
    cell, seen = ConvGRU(4, 3).double(), torch.randn(2, 4, 5, 6, dtype=torch.float64)
    memory = torch.zeros_like(seen)
    for found in cell(seen):
        from_input, from_memory = cell.input_gates(seen).chunk(3, 1), cell.memory_gates(memory).chunk(3, 1)
        reset, update = (torch.sigmoid(a + b) for a, b in zip(from_input[:2], from_memory[:2], strict=True))
        new = torch.tanh(from_input[2] + reset * from_memory[2])
        memory = (1 - update) * new + update * memory
        torch.testing.assert_close(found, memory)


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_enlarging_starts_bilinear(factor: int) -> None:
    up = IterativeUp([1, 1], 1, [1, factor]).ups[0]
    ramp = torch.arange(6.0).expand(1, 1, 6, 6)
    enlarged = up(ramp)
    wanted = nn.functional.interpolate(ramp, scale_factor=float(factor), mode="bilinear", align_corners=False)
    inner = slice(factor, -factor)
    torch.testing.assert_close(enlarged[..., inner, inner], wanted[..., inner, inner])


@pytest.mark.parametrize("backbone", SMALL)
def test_gradient_reaches_every_parameter(backbone: str) -> None:
    """Fixed statistics: while a batch normalises itself, the bias of the convolution before it has no effect."""
    torch.manual_seed(0)
    network = CenterPoseNetwork(backbone).eval()
    loss = torch.stack([(output * torch.randn_like(output)).sum() for output in network(images(1))]).sum()
    loss.backward()
    untouched = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert untouched == []
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in network.parameters())


@pytest.mark.parametrize("backbone", SMALL)
def test_training_gives_every_parameter_a_gradient(backbone: str) -> None:
    """As data-parallel training requires of one step."""
    network = CenterPoseNetwork(backbone)
    torch.stack([output.square().mean() for output in network(images(2))]).sum().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("backbone", SMALL)
def test_evaluation_repeats_itself_and_leaves_the_image(backbone: str) -> None:
    image = images(1)
    kept = image.clone()
    with torch.no_grad():
        first, second = warmed_up(backbone)(image), warmed_up(backbone)(image)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert torch.equal(image, kept)


@pytest.mark.parametrize("backbone", SMALL)
def test_a_row_does_not_depend_on_its_batch(backbone: str) -> None:
    batch = images(3)
    with torch.no_grad():
        together = warmed_up(backbone)(batch)
        for row in range(3):
            alone = warmed_up(backbone)(batch[row : row + 1])
            for one, all_rows in zip(alone, together, strict=True):
                torch.testing.assert_close(one[0], all_rows[row], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("backbone", SMALL)
def test_outputs_are_float32_under_autocast(backbone: str) -> None:
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert {output.dtype for output in warmed_up(backbone)(images(1))} == {torch.float32}


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (torch.zeros(1, 3, 63, 64), "multiple of 32"),
        (torch.zeros(1, 3, 64, 48), "multiple of 32"),
        (torch.zeros(1, 3, 0, 64), "multiple of 32"),
        (torch.zeros(1, 1, 64, 64), "(B, 3, H, W)"),
        (torch.zeros(3, 64, 64), "(B, 3, H, W)"),
        (torch.zeros(1, 3, 64, 64, dtype=torch.uint8), "float"),
    ],
)
def test_a_wrong_image_is_named_in_one_line(image: Tensor, words: str) -> None:
    with pytest.raises(ModelError) as caught:
        warmed_up()(image)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [({"backbone": "DLA43"}, "Did you mean 'DLA34'?"), ({"head_channels": 48}, "multiple of 32")],
)
def test_an_impossible_network_is_refused(arguments: dict[str, str], words: str) -> None:
    with pytest.raises(ModelError) as caught:
        CenterPoseNetwork(**arguments)
    assert words in str(caught.value)


@pytest.mark.parametrize("backbone", SMALL)
@pytest.mark.parametrize(("batch", "conv_gru"), [(1, True), (2, True), (2, False)])
def test_onnx_agrees_with_torch(tmp_path: Path, backbone: str, batch: int, conv_gru: bool) -> None:
    import onnxruntime

    network, image = warmed_up(backbone, conv_gru=conv_gru), images(batch, 64, 96)
    outputs = tuple(OutputSpec(name, "cells", 1e-4) for name in NAMES)
    path = export_onnx(network, ExportSpec({"input": image}, outputs, {}), tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert tuple(output.name for output in session.get_outputs()) == NAMES
    other = images(batch, 64, 96, seed=2)
    with torch.no_grad():
        expected = network(other)
    for found, wanted in zip(session.run(None, {"input": other.numpy()}), expected, strict=True):
        assert wanted.std() > 1e-3
        np.testing.assert_allclose(found, wanted.numpy(), rtol=0, atol=1e-4)
