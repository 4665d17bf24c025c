"""The fully attentional backbones: levels, and why some published parameters are left out."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cogkp.models.fan import FAN_SIZES, ChannelProcessing, FullyAttentionalBlock, FullyAttentionalNetwork, PositionCode


@pytest.mark.parametrize("name", sorted(FAN_SIZES))
def test_levels_have_the_documented_sizes(name: str) -> None:
    with torch.device("meta"):
        levels = FullyAttentionalNetwork(name).eval()(torch.zeros(2, 3, 96, 64))
    tokens = {"fan_small": 384, "fan_base": 448, "fan_large": 480}[name]
    assert [tuple(level.shape) for level in levels] == [
        (2, 128, 24, 16),
        (2, 256, 12, 8),
        (2, tokens, 6, 4),
        (2, 768, 3, 2),
    ]


def test_a_bias_of_the_channel_query_would_change_nothing() -> None:
    torch.manual_seed(0)
    channels, tokens = ChannelProcessing(16, 4).double().eval(), torch.randn(2, 6, 16, dtype=torch.float64)
    without = channels(tokens, (2, 3))
    channels.query.bias = nn.Parameter(torch.randn(16, dtype=torch.float64))
    torch.testing.assert_close(channels(tokens, (2, 3)), without)


def test_position_code_tells_rows_from_columns_and_goes_once_round() -> None:
    code = PositionCode(64)
    nn.init.dirac_(code.project.weight)
    nn.init.zeros_(code.project.bias)
    with torch.no_grad():
        waves = code(torch.zeros(1, 5, 4, 6))[0]
    assert torch.equal(waves[:32], waves[:32, :, :1].expand(32, 4, 6))
    assert torch.equal(waves[32:], waves[32:, :1].expand(32, 4, 6))
    rows = 2 * torch.pi * torch.arange(1, 5) / 4
    torch.testing.assert_close(waves[0, :, 0], rows.sin())
    torch.testing.assert_close(waves[1, :, 0], rows.cos())
    torch.testing.assert_close(waves[31, :, 0], (rows / 10_000 ** (30 / 32)).cos())


def test_training_skips_branches_and_keeps_their_mean() -> None:
    torch.manual_seed(0)
    block = FullyAttentionalBlock(8, 2)
    branch = torch.ones(20_000, 1, 8)
    thinned = block._thinned(branch)
    torch.testing.assert_close(thinned.unique(), torch.tensor([0.0, 1 / 0.7]))
    assert torch.equal(thinned, thinned[:, :, :1].expand_as(thinned))
    assert thinned.mean() == pytest.approx(1.0, abs=0.02)
    assert torch.equal(block.eval()._thinned(branch), branch)
