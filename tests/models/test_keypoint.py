"""The keypoint network: its contract with the loss, with autocast, with evaluation and with ONNX."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cogkp.errors import ModelError
from cogkp.geometry.heatmap import expectation
from cogkp.models.keypoint import GenericKeypointModel, KeypointMaskOutputs, KeypointOutputs

SIDE = 64
WIDTH = 8


def build(num_keypoints: int = 3, num_classes: int | None = None, seed: int = 0) -> GenericKeypointModel:
    torch.manual_seed(seed)
    return GenericKeypointModel(num_keypoints, num_classes=num_classes, width=WIDTH)


def images(batch: int = 2, side: int = SIDE, seed: int = 1) -> Tensor:
    return torch.rand(batch, 1, side, side, generator=torch.Generator().manual_seed(seed))


def warmed_up(model: GenericKeypointModel) -> GenericKeypointModel:
    """Give the normalisation layers statistics of their own, then stop training."""
    for seed in range(3):
        model(images(4, seed=seed))
    return model.eval()


@pytest.mark.parametrize("num_keypoints", [1, 17])
def test_outputs_have_the_documented_shapes(num_keypoints: int) -> None:
    outputs = build(num_keypoints)(images())
    assert isinstance(outputs, KeypointOutputs)
    assert outputs._fields == ("keypoints", "heatmaps")
    assert outputs.keypoints.shape == (2, num_keypoints, 2)
    assert outputs.heatmaps.shape == (2, num_keypoints, SIDE // 4, SIDE // 4)


def test_mask_logits_have_the_size_of_the_input() -> None:
    outputs = build(1, num_classes=3)(images())
    assert isinstance(outputs, KeypointMaskOutputs)
    assert outputs._fields == ("keypoints", "heatmaps", "mask_logits")
    assert outputs.mask_logits.shape == (2, 3, SIDE, SIDE)


def test_heatmaps_are_the_distributions_whose_means_are_the_keypoints() -> None:
    outputs = build()(images())
    torch.testing.assert_close(outputs.heatmaps.sum((-2, -1)), torch.ones(2, 3))
    torch.testing.assert_close(outputs.keypoints, expectation(outputs.heatmaps, 4))


def test_an_untrained_network_points_near_the_middle() -> None:
    middle = (SIDE - 1) / 2
    assert (build()(images()).keypoints - middle).abs().max() < SIDE / 4


def test_outputs_stay_float32_and_close_under_autocast() -> None:
    model = warmed_up(build(num_classes=2))
    expected = model(images())
    with torch.autocast("cpu", torch.bfloat16):
        outputs = model(images())
    assert [value.dtype for value in outputs] == [torch.float32] * 3
    torch.testing.assert_close(outputs.keypoints, expected.keypoints, rtol=0, atol=0.5)


def test_channels_last_changes_nothing_but_speed() -> None:
    model = warmed_up(build(num_classes=2))
    expected = model(images())
    outputs = model.to(memory_format=torch.channels_last)(images().to(memory_format=torch.channels_last))
    for value, reference in zip(outputs, expected, strict=True):
        torch.testing.assert_close(value, reference, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("num_classes", [None, 2])
@pytest.mark.parametrize("half", [False, True])
def test_gradient_reaches_every_parameter(num_classes: int | None, half: bool) -> None:
    model = build(num_classes=num_classes)
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        outputs = model(images())
    loss = F.smooth_l1_loss(outputs.keypoints, torch.full((2, 3, 2), 5.0))
    if isinstance(outputs, KeypointMaskOutputs):
        loss = loss + F.cross_entropy(outputs.mask_logits, torch.ones(2, SIDE, SIDE, dtype=torch.long))
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


def test_one_batch_can_be_learnt() -> None:
    model, batch = build(), images(4)
    target = 10 + 44 * torch.rand(4, 3, 2, generator=torch.Generator().manual_seed(5))
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-3)
    losses = []
    for _ in range(60):
        loss = F.smooth_l1_loss(model(batch).keypoints, target)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.25 * losses[0]


def test_a_batch_of_one_equals_its_row_in_a_batch_of_three() -> None:
    model, batch = warmed_up(build(num_classes=2)), images(3)
    together = model(batch)
    for row in range(3):
        alone = model(batch[row : row + 1])
        for value, reference in zip(alone, together, strict=True):
            torch.testing.assert_close(value, reference[row : row + 1], rtol=1e-4, atol=1e-4)


def test_seed_and_input_determine_the_result() -> None:
    first, second = build(num_classes=2)(images()), build(num_classes=2)(images())
    for value, reference in zip(first, second, strict=True):
        assert torch.equal(value, reference)


def test_weights_load_strictly_into_a_fresh_network() -> None:
    source, target = warmed_up(build(seed=0)), build(seed=1).eval()
    target.load_state_dict(source.state_dict(), strict=True)
    assert torch.equal(source(images()).keypoints, target(images()).keypoints)


def test_default_network_is_small() -> None:
    count = sum(parameter.numel() for parameter in GenericKeypointModel(3, num_classes=2).parameters())
    assert 0.3e6 < count < 4e6


def test_a_rectangle_and_colour_are_fine() -> None:
    model = GenericKeypointModel(2, in_channels=3, width=WIDTH)
    outputs = model(torch.rand(2, 3, 64, 96))
    assert outputs.heatmaps.shape == (2, 2, 16, 24)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (torch.rand(1, 1, 60, 64), "multiple of 32"),
        (torch.rand(1, 1, 64, 16), "multiple of 32"),
        (torch.rand(1, 3, 64, 64), "1 channel"),
        (torch.rand(1, 64, 64), "(B, 1, H, W)"),
        (torch.zeros(1, 1, 64, 64, dtype=torch.uint8), "0..1"),
    ],
)
def test_a_wrong_image_is_named_in_one_line(image: Tensor, words: str) -> None:
    with pytest.raises(ModelError) as caught:
        build()(image)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"num_keypoints": 0}, "at least one keypoint"),
        ({"num_keypoints": 2, "num_classes": 1}, "two classes"),
        ({"num_keypoints": 2, "width": 12}, "multiple of 8"),
        ({"num_keypoints": 2, "in_channels": 0}, "in_channels"),
        ({"num_keypoints": 2, "pretrained_backbone": True}, "pretrained_backbone=False"),
    ],
)
def test_an_impossible_network_is_refused(arguments: dict[str, int], words: str) -> None:
    with pytest.raises(ModelError) as caught:
        GenericKeypointModel(**arguments)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("num_keypoints", "num_classes", "batch"), [(1, None, 1), (3, 2, 2)])
def test_onnx_agrees_with_torch(tmp_path: Path, num_keypoints: int, num_classes: int | None, batch: int) -> None:
    import onnx
    import onnxruntime

    model, image, path = warmed_up(build(num_keypoints, num_classes)), images(batch), tmp_path / "model.onnx"
    expected = model(image)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            model,
            (image,),
            str(path),
            opset_version=17,
            dynamo=False,
            input_names=["input"],
            output_names=list(expected._fields),
        )
    graph = onnx.load(str(path)).graph
    assert [output.name for output in graph.output] == list(expected._fields)
    plain = {"Add", "Cast", "Concat", "Constant", "Conv", "DepthToSpace", "Identity", "Mul", "ReduceSum", "Relu"}
    plain |= {"Reshape", "Resize", "Softmax", "Sub", "Unsqueeze", "Div", "Flatten"}
    assert {node.op_type for node in graph.node} <= plain
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for value, reference in zip(session.run(None, {"input": image.numpy()}), expected, strict=True):
        np.testing.assert_allclose(value, reference.detach().numpy(), rtol=1e-3, atol=1e-3)
