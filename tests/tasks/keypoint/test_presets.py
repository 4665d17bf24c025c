"""What each preset builds."""

from __future__ import annotations

import hashlib
import typing

import attrs
import pytest
import torch

from cogkp.config.fields import check_of, fields_of
from cogkp.config.keypoint.io import structure, template
from cogkp.config.keypoint.spec import KeypointConfig, Network
from cogkp.errors import ConfigError
from cogkp.models.keypoint import GenericKeypointModel
from cogkp.tasks.keypoint.task import PRESETS, KeypointTask

# Of the decoder's kernels, default configuration, seed 0, in release 0.1.0. They are drawn after the encoder's
# and by torch's own generator alone, so that any change of what is drawn before them shows here.
DECODER_OF_SEED_0 = "fec981423582a59e06a99ceaf2768f50600b81fc165452dccc745d8f9a085cd6"


def model_of(name: str) -> GenericKeypointModel:
    torch.manual_seed(0)
    task = KeypointTask(attrs.evolve(KeypointConfig.default(), model=Network(preset=name)))
    return typing.cast(GenericKeypointModel, task.model)


def test_small_is_what_was_built_before_there_were_presets() -> None:
    digest = hashlib.sha256()
    for name, tensor in model_of("small").state_dict().items():
        if name.startswith("decoder.") and tensor.dim() > 1:
            digest.update(tensor.numpy().tobytes())
    assert digest.hexdigest() == DECODER_OF_SEED_0


def test_a_configuration_that_says_nothing_is_small() -> None:
    silent = {key: value for key, value in template().items() if key != "model"}
    assert structure(silent) == KeypointConfig.default()
    assert KeypointConfig.default().model.preset == "small"
    assert template()["model"] == {"preset": "small"}


def test_every_preset_of_the_configuration_is_built() -> None:
    check = check_of(fields_of(Network)[0])
    assert check is not None
    assert set(check.schema["enum"]) == set(PRESETS)
    with pytest.raises(ConfigError, match="one of 'small', 'large', 'resnet18'"):
        structure({**template(), "model": {"preset": "huge"}})


def test_presets_grow_and_answer_alike() -> None:
    models = [model_of(name) for name in ("small", "large", "resnet18")]
    sizes = [sum(parameter.numel() for parameter in model.parameters()) for model in models]
    assert sizes == sorted(sizes)
    assert sizes[0] < 1e6 < sizes[1] < 4e6 < 10e6 < sizes[2] < 12e6
    image = torch.rand(1, 1, 64, 64)
    assert len({tuple(output.shape for output in model.eval()(image)) for model in models}) == 1


@pytest.mark.parametrize("name", PRESETS)
def test_gradient_reaches_every_parameter(name: str) -> None:
    model = model_of(name)
    model(torch.rand(2, 1, 64, 64)).keypoints.square().mean().backward()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name
        assert parameter.grad.abs().max() > 0, parameter_name
