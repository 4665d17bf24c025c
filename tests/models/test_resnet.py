"""ResNet-18 as an encoder: the published names, the rewriting for grey images, and what a network does with both."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cogkp.errors import ModelError
from cogkp.models.backbone_weights import load_encoder
from cogkp.models.keypoint import GenericKeypointModel
from cogkp.models.resnet import ResNet18, for_grey_images
from tests.builders.published import published_resnet18

PUBLISHED_PARAMETERS = 11_176_512  # as told for ResNet-18, less its classifier of 512 x 1000 + 1000


def colour_network() -> ResNet18:
    """A network with weights and statistics that are all different, as trained ones are."""
    network = ResNet18(3).eval()
    network.load_state_dict({name: value for name, value in published_resnet18().items() if not name.startswith("fc.")})
    return network


def keypoint_model(**arguments: object) -> GenericKeypointModel:
    torch.manual_seed(0)
    return GenericKeypointModel(2, backbone="resnet18", **arguments)


def test_names_and_shapes_are_the_published_ones() -> None:
    own = {name: tuple(tensor.shape) for name, tensor in ResNet18(3).state_dict().items()}
    wanted = {name: tuple(tensor.shape) for name, tensor in published_resnet18().items() if not name.startswith("fc.")}
    assert own == wanted
    assert sum(parameter.numel() for parameter in ResNet18(3).parameters()) == PUBLISHED_PARAMETERS


def test_a_grey_network_sees_what_the_colour_network_sees_in_equal_colours() -> None:
    colour, grey = colour_network(), ResNet18(1).eval()
    grey.load_state_dict(for_grey_images(colour.state_dict()))
    image = torch.rand(2, 1, 64, 96, generator=torch.Generator().manual_seed(3))

    def stem(network: ResNet18, seen: Tensor) -> Tensor:
        return network.bn1(network.conv1((seen - network.mean) / network.std))

    ours, theirs = stem(grey, image), stem(colour, image.expand(-1, 3, -1, -1))
    torch.testing.assert_close(ours[..., 2:-2, 2:-2], theirs[..., 2:-2, 2:-2], rtol=1e-3, atol=1e-4)
    # The padding is grey here and tinted there: near the border they must differ, or nothing was tested.
    assert (ours - theirs)[..., 0, :].abs().max() > 1e-2


def test_plain_summing_would_not_be_equal() -> None:
    colour, grey = colour_network(), ResNet18(1).eval()
    summed = colour.state_dict() | {"conv1.weight": colour.conv1.weight.detach().sum(1, keepdim=True)}
    grey.load_state_dict(summed)
    image = torch.rand(1, 1, 64, 64)
    ours = grey.bn1(grey.conv1((image - grey.mean) / grey.std))[..., 2:-2, 2:-2]
    theirs = colour.bn1(colour.conv1((image.expand(-1, 3, -1, -1) - colour.mean) / colour.std))[..., 2:-2, 2:-2]
    assert (ours - theirs).abs().max() > 1e-2


def test_published_weights_fill_the_encoder_and_nothing_else() -> None:
    model = keypoint_model()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    published = published_resnet18()
    loaded = load_encoder(model, published, "resnet18.pth")
    assert loaded.passed_over == ("fc",)
    assert loaded.fresh == ("decoder", "heatmap_head")
    after = model.state_dict()
    for name, tensor in after.items():
        inner = name.removeprefix("encoder.")
        if inner == name:
            assert torch.equal(tensor, before[name]), name
        elif inner not in ("conv1.weight", "bn1.running_mean"):
            assert torch.equal(tensor, published[inner]), name
    assert after["encoder.conv1.weight"].shape == (64, 1, 7, 7)


def test_three_channels_take_the_kernels_as_they_are() -> None:
    model, published = keypoint_model(in_channels=3), published_resnet18()
    load_encoder(model, published, "resnet18.pth")
    assert torch.equal(model.state_dict()["encoder.conv1.weight"], published["conv1.weight"])


def test_old_files_without_counters_are_read() -> None:
    model, published = keypoint_model(), published_resnet18()
    old = {name: tensor for name, tensor in published.items() if not name.endswith("num_batches_tracked")}
    load_encoder(model, old, "resnet18-5c106cde.pth")
    assert torch.equal(model.state_dict()["encoder.layer4.1.bn2.weight"], published["layer4.1.bn2.weight"])


@pytest.mark.parametrize("missing", ["layer3.0.downsample.1.running_var", "bn1.running_mean", "layer1.0.conv1.weight"])
def test_a_missing_tensor_is_named_and_nothing_is_changed(missing: str) -> None:
    model, published = keypoint_model(), published_resnet18()
    before = model.state_dict()["encoder.layer2.0.conv1.weight"].clone()
    del published[missing]
    with pytest.raises(ModelError, match=missing):
        load_encoder(model, published, "cut.pth")
    assert torch.equal(model.state_dict()["encoder.layer2.0.conv1.weight"], before)


def test_a_deeper_network_is_refused() -> None:
    """ResNet-34 has the same names and more; ResNet-50 has other shapes as well."""
    published = published_resnet18()
    deeper = published | {"layer1.2.conv1.weight": torch.zeros(64, 64, 3, 3)}
    with pytest.raises(ModelError, match=r"does not have.*layer1\.2\.conv1\.weight"):
        load_encoder(keypoint_model(), deeper, "resnet34.pth")
    wider = published | {"layer1.0.conv1.weight": torch.zeros(64, 64, 1, 1)}
    with pytest.raises(ModelError, match=r"layer1\.0\.conv1\.weight \(64, 64, 1, 1\), not \(64, 64, 3, 3\)"):
        load_encoder(keypoint_model(), wider, "resnet50.pth")


def test_the_plain_encoder_has_no_published_weights() -> None:
    with pytest.raises(ModelError, match="preset 'resnet18'"):
        load_encoder(GenericKeypointModel(2, width=8), published_resnet18(), "resnet18.pth")


def test_a_checkpoint_of_another_task_gives_its_encoder() -> None:
    torch.manual_seed(1)
    source = GenericKeypointModel(5, num_classes=3, width=8)
    torch.manual_seed(2)
    model = GenericKeypointModel(2, width=8)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    loaded = load_encoder(model, source.state_dict(), "other.pth")
    assert loaded.passed_over == ("decoder", "heatmap_head", "mask_head")
    assert loaded.fresh == ("decoder", "heatmap_head")
    assert loaded.tensors == sum(name.startswith(("stem.", "stages.")) for name in before)
    image = torch.rand(1, 1, 64, 64)
    for ours, theirs in zip(model.eval().encode(image), source.eval().encode(image), strict=True):
        assert torch.equal(ours, theirs)
    for name, tensor in model.state_dict().items():
        if name.startswith(("decoder.", "heatmap_head.")):
            assert torch.equal(tensor, before[name]), name


def test_another_width_is_refused_whole() -> None:
    """The widths share some shapes in the stem; a half-filled encoder would be worse than a fresh one."""
    model = GenericKeypointModel(2, width=16)
    before = model.state_dict()["stem.0.0.weight"].clone()
    with pytest.raises(ModelError, match="Take those of the same preset"):
        load_encoder(model, GenericKeypointModel(2, width=32).state_dict(), "wide.pth")
    assert torch.equal(model.state_dict()["stem.0.0.weight"], before)


def test_a_file_from_which_nothing_fits_is_refused() -> None:
    with pytest.raises(ModelError, match=r"missing.*The file holds linear"):
        load_encoder(GenericKeypointModel(2, width=8), {"linear.weight": torch.zeros(2, 2)}, "linear.pth")
