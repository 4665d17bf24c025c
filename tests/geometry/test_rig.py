"""A rig hands out its cameras by name and refuses to guess."""

import pytest
import torch

from cogkp.errors import GeometryError
from cogkp.geometry.camera import PinholeCamera
from cogkp.geometry.rig import CameraRig


def a_camera(width=64):
    return PinholeCamera(torch.eye(3), torch.eye(4), (width, 48))


def test_names_find_cameras_in_order():
    left, right = a_camera(64), a_camera(32)
    rig = CameraRig(("LL", "LR"), (left, right))
    assert rig["LL"] is left
    assert rig["LR"] is right
    assert list(rig) == ["LL", "LR"]
    assert len(rig) == 2


def test_a_wrong_name_is_refused_with_those_there_are():
    with pytest.raises(GeometryError, match="one of LL, LR"):
        CameraRig(("LL", "LR"), (a_camera(), a_camera()))["UL"]


@pytest.mark.parametrize("names", [(), ("LL",), ("LL", "LL")])
def test_names_and_cameras_must_match(names):
    with pytest.raises(GeometryError, match="one name per camera"):
        CameraRig(names, (a_camera(), a_camera()) if names else ())
