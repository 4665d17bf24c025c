"""A rig is drawn at one scale, from above and from the side, whichever way its world lies."""

import numpy as np
import pytest

from cogkp.visual.canvas import DARK
from cogkp.visual.rig import PANEL_HW, DrawnCamera, draw_rig

CORNERS = np.array([[-0.5, -0.4, 1.0], [0.5, -0.4, 1.0], [0.5, 0.4, 1.0], [-0.5, 0.4, 1.0]])


def drawn(name, x, turn=None):
    axes = np.eye(3) if turn is None else turn
    return DrawnCamera(name, center=axes.T @ [x, 0.0, 0.0], axes=axes, corners=CORNERS @ axes)


PAIR = [drawn("LL", -1.0), drawn("LR", 1.0)]


def test_a_pair_fills_two_panels_of_one_size():
    sheet = draw_rig(PAIR, 6.0)
    assert sheet.dtype == np.uint8
    assert sheet.shape[0] == PANEL_HW[0]
    assert (sheet[:, PANEL_HW[1] : PANEL_HW[1] + 4] == DARK).all()
    assert sheet.shape[1] == 2 * PANEL_HW[1] + 4


def test_from_above_a_symmetrical_pair_has_its_mirror_image():
    above = draw_rig(PAIR, 6.0)[60:300, : PANEL_HW[1]].max(-1) > 60
    assert above.mean() > 0.05
    assert (above != np.roll(above[:, ::-1], 1, axis=1)).mean() < 0.02


def test_the_worlds_axes_do_not_matter():
    turn = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    other = draw_rig([drawn("LL", -1.0, turn), drawn("LR", 1.0, turn)], 6.0)
    assert (np.abs(other.astype(int) - draw_rig(PAIR, 6.0)) > 8).mean() < 0.005


def test_cameras_all_around_and_a_single_one_can_be_drawn():
    turns = [
        np.array([[np.cos(a), 0, -np.sin(a)], [0, 1, 0], [np.sin(a), 0, np.cos(a)]]) for a in np.arange(5) * 1.2566
    ]
    around = [DrawnCamera(f"view{i}", -4 * turn[2], turn, CORNERS @ turn) for i, turn in enumerate(turns)]
    for cameras in (around, PAIR[:1]):
        assert (draw_rig(cameras, 3.0) != draw_rig(PAIR, 3.0)).any()


def test_no_camera_is_an_error():
    with pytest.raises(ValueError, match="at least one"):
        draw_rig([], 1.0)
