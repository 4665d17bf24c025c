from __future__ import annotations

import pytest
import torch
from torch import nn

from cogkp.errors import TrainingError
from cogkp.training.precision import resolve_precision


@pytest.mark.parametrize(("device", "name"), [("cpu", "fp32"), ("cuda", "bf16")])
def test_the_default_depends_on_the_device(device, name):
    assert resolve_precision(None, torch.device(device)).name == name


def test_a_name_wins_over_the_default():
    assert resolve_precision("bf16", torch.device("cpu")).name == "bf16"


def test_an_unknown_name_is_refused():
    with pytest.raises(TrainingError, match="expected fp32, bf16, fp16, got 'fp8'"):
        resolve_precision("fp8")


@pytest.mark.parametrize(
    ("name", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)]
)
def test_convolutions_compute_in_the_type_and_weights_stay_float32(name, dtype):
    precision = resolve_precision(name, torch.device("cpu"))
    model = precision.place_model(nn.Conv2d(2, 4, 3))
    with precision.autocast():
        result = model(precision.place_image(torch.rand(1, 2, 8, 8)))
    assert result.dtype == dtype
    assert model.weight.dtype == torch.float32
    assert model.weight.is_contiguous(memory_format=torch.channels_last)
