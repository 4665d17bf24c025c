from __future__ import annotations

import io
import random

import numpy as np
import torch

from cogkp.training.seeding import capture_rng, restore_rng, seed_everything, undisturbed_rng


def draw() -> tuple[float, float, float]:
    return random.gauss(0, 1), float(np.random.normal()), float(torch.randn(()))


def test_a_seed_repeats_every_stream():
    seed_everything(3)
    first = [draw() for _ in range(3)]
    seed_everything(3)
    assert [draw() for _ in range(3)] == first


def test_a_state_that_went_through_a_weights_only_file_repeats_every_stream():
    seed_everything(1)
    draw()
    buffer = io.BytesIO()
    torch.save(capture_rng(), buffer)
    expected = [draw() for _ in range(5)]
    buffer.seek(0)
    seed_everything(99)
    restore_rng(torch.load(buffer, weights_only=True))
    assert [draw() for _ in range(5)] == expected


def test_the_streams_are_undisturbed_by_what_happens_inside():
    seed_everything(1)
    expected = draw()
    seed_everything(1)
    with undisturbed_rng():
        draw()
    assert draw() == expected
