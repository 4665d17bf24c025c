"""A rig hands out its cameras by name and refuses to guess."""

import pytest
import torch

from cogkp.errors import GeometryError
from cogkp.geometry.camera import PinholeCamera
from cogkp.geometry.projection import reproject
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


def a_stereo_head(lens=(-0.2, 0.05, 1e-3, -5e-4, 0.0), dtype=torch.float64):
    K = torch.tensor([[600.0, 0.5, 320.0], [0.0, 590.0, 240.0], [0.0, 0.0, 1.0]], dtype=dtype)
    turned = torch.eye(4, dtype=dtype)
    turned[:3, :3] = torch.linalg.matrix_exp(
        torch.tensor([[0, -0.02, 0.1], [0.02, 0, 0.01], [-0.1, -0.01, 0]], dtype=dtype)
    )
    turned[:3, 3] = torch.tensor([-1.0, 0.02, 0.05])
    poses = (torch.eye(4, dtype=dtype), turned)
    return CameraRig(
        ("LL", "LR"), tuple(PinholeCamera(K, pose, (640, 480), torch.tensor(lens, dtype=dtype)) for pose in poses)
    )


def points_before_it(count=50, dtype=torch.float64):
    draw = torch.rand(2, count, 3, generator=torch.Generator().manual_seed(3), dtype=dtype)
    return torch.tensor([-1.5, -1.0, 4.0]) + draw * torch.tensor([3.0, 2.0, 4.0], dtype=dtype)


@pytest.mark.parametrize("lens", [(), (-0.2, 0.05, 1e-3, -5e-4, 0.0), (-0.3, 0.1, 0, 0, 0, 0.02, 0, 0)])
@pytest.mark.parametrize("weighted", [False, True])
def test_triangulation_undoes_projection_through_any_lens(lens, weighted):
    rig, xyz = a_stereo_head(lens), points_before_it()
    seen = rig.project(xyz)
    assert seen.valid.all()
    weights = torch.rand(2, 2, 50, dtype=torch.float64) + 0.1 if weighted else None
    found = rig.triangulate(seen.uv, weights)
    assert found.valid.all()
    torch.testing.assert_close(found.xyz_world, xyz, rtol=0, atol=1e-8)


def test_pixels_are_undistorted_to_those_of_the_projection_matrix():
    rig, xyz = a_stereo_head(), points_before_it()
    straight = rig.undistort_pixels(rig.project(xyz).uv)
    torch.testing.assert_close(straight, reproject(xyz.unsqueeze(-3), rig.projection_matrices).uv, rtol=0, atol=1e-8)


def test_a_pixel_that_is_not_seen_leaves_its_point_out_without_a_gradient():
    rig, xyz = a_stereo_head(), points_before_it(4)[0]
    uv = rig.project(xyz).uv
    uv[1, 2] = torch.nan
    uv.requires_grad_()
    found = rig.triangulate(uv)
    found.xyz_world.sum().backward()
    assert found.valid.tolist() == [True, True, False, True]
    assert found.xyz_world.isfinite().all()
    assert uv.grad.isfinite().all()
    assert not uv.grad[:, 2].any()


def test_gradients_pass_through_the_lens():
    rig = a_stereo_head()
    uv = rig.project(points_before_it(3)[0]).uv.requires_grad_()
    assert torch.autograd.gradcheck(lambda pixels: rig.triangulate(pixels).xyz_world, (uv,))


def test_a_selection_keeps_the_order_asked_for():
    rig = a_stereo_head()
    assert rig.select(("LR", "LL")).cameras == rig.cameras[::-1]
    with pytest.raises(GeometryError, match="no such camera"):
        rig.select(("LL", "UL"))


def test_pixels_of_another_number_of_views_are_refused():
    with pytest.raises(GeometryError, match="pixels of a rig"):
        a_stereo_head().triangulate(torch.zeros(3, 5, 2))
