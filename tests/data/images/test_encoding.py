from __future__ import annotations

import cv2
import numpy as np
import pytest

from cogkp.data.images import encode_image


@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (64, 128)])
def test_another_reader_finds_the_same_pixels(shape):
    rgb = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    found = cv2.imdecode(np.frombuffer(encode_image(rgb), np.uint8), cv2.IMREAD_COLOR)
    assert np.array_equal(found[..., ::-1], rgb)
