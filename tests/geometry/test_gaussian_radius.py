"""Radii of bumps: the published values, an oracle for the three roots, laws."""

import numpy as np
import pytest
import torch

from cogkp.geometry.heatmap import gaussian_radius


@pytest.mark.parametrize(
    ("height", "width", "published"),
    [
        *((1, 1, 0.2733), (5, 5, 1.3666), (10, 10, 2.7332), (20, 40, 7.3559)),
        *((32, 32, 8.7462), (64, 64, 17.4925), (50, 100, 18.3896), (127, 127, 34.7116)),
    ],
)
def test_gaussian_radii_are_the_published_ones(height, width, published):
    found = gaussian_radius(torch.tensor([width, height], dtype=torch.float64)).item()
    assert found == pytest.approx(published, abs=5.1e-5)
    m, b, area = 0.7, height + width, height * width
    quadratics = ((1, -b, area * (1 - m) / (1 + m)), (4, -2 * b, (1 - m) * area), (4 * m, 2 * m * b, (m - 1) * area))
    # What was published multiplies each larger root by its leading coefficient.
    expected = min(lead * max(np.roots((lead, *rest)).real) for lead, *rest in quadratics)
    assert found == pytest.approx(expected, abs=1e-6)


def test_gaussian_radii_grow_with_the_box_and_know_no_order():
    sizes = torch.tensor([[3.0, 9.0], [9.0, 3.0], [6.0, 18.0], [0.0, 0.0]])
    radii = gaussian_radius(sizes)
    assert radii[0] == radii[1]
    assert torch.allclose(radii[2], 2 * radii[0])
    assert radii[3] == 0
