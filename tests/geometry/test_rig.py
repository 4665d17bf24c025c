"""A rig hands out its cameras by name and refuses to guess."""

import attrs
import numpy as np
import pytest
import torch

from cogkp.errors import GeometryError
from cogkp.geometry.camera import PinholeCamera
from cogkp.geometry.projection import reproject
from cogkp.geometry.rig import CameraRig
from cogkp.geometry.uncertainty import covariance, least_squares_covariance


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


LENSES = {
    "none": (),
    "barrel": (-0.2, 0.05, 1e-3, -5e-4, 0.0),
    "tilted": (-0.3, 0.1, 1e-3, 0.0, 0.0, 0.02, 0.0, 0.0, 1e-3, 0.0, -1e-3, 0.0, 0.03, -0.05),
}


def unequal(rig, views):
    """The head's cameras with other focal lengths, the second half a pixel skewed, and a third one above."""
    above = rig.cameras[0].world_to_camera.clone()
    above[1, 3] = 0.8
    third = attrs.evolve(rig.cameras[0], world_to_camera=above, distortion=torch.zeros(0, dtype=torch.float64))
    cameras = [*rig.cameras, third]
    wider = [
        attrs.evolve(c, K=c.K * torch.tensor([[f], [f], [1.0]])) for c, f in zip(cameras, (1, 0.6, 1.5), strict=True)
    ]
    return CameraRig(("LL", "LR", "U")[:views], tuple(wider[:views]))


def pixel_covariances(*shape, seed=0, sigma=0.5):
    root = np.random.default_rng(seed).normal(size=(*shape, 2, 2)) + 0.3 * np.eye(2)
    return torch.from_numpy(sigma**2 * root @ np.swapaxes(root, -1, -2))


@pytest.mark.parametrize("lens", LENSES)
@pytest.mark.parametrize(("views", "weighted"), [(2, False), (2, True), (3, True)])
def test_the_covariance_of_a_point_is_that_of_many_triangulations(lens, views, weighted):
    rig, draws = unequal(a_stereo_head(LENSES[lens]), views), 20_000
    xyz = points_before_it(3)[0]
    uv, pixel = rig.project(xyz).uv, pixel_covariances(views, 3, seed=views)
    weights = torch.rand(views, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 0.1
    weights = weights if weighted else None
    noise = torch.randn(draws, views, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    root = torch.linalg.cholesky(pixel)
    found = rig.triangulate(uv + (root @ noise.unsqueeze(-1)).squeeze(-1), weights)
    assert found.valid.all()
    for n, stated in enumerate(rig.covariance(xyz, uv, pixel, weights)):
        whiten = torch.linalg.inv(torch.linalg.cholesky(stated))
        seen = whiten @ torch.from_numpy(np.cov(found.xyz_world[:, n].numpy().T)) @ whiten.mT
        assert (torch.linalg.eigvalsh(seen) - 1).abs().max() < 0.05


def test_trusting_pixels_by_their_inverse_variance_is_as_good_as_can_be():
    rig, xyz = unequal(a_stereo_head(()), 3), points_before_it(8)[0]
    uv = rig.project(xyz).uv
    weights = torch.rand(3, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(2)) + 0.1
    pixel = torch.eye(2, dtype=torch.float64) / weights[..., None, None]
    best = covariance(xyz, rig.projection_matrices, pixel)
    torch.testing.assert_close(rig.covariance(xyz, uv, pixel, weights), best, rtol=1e-6, atol=1e-14)
    torch.testing.assert_close(rig.covariance(xyz, uv, pixel, 1e-5 * weights), best, rtol=1e-6, atol=1e-14)


@pytest.mark.parametrize("seed", range(3))
def test_no_weights_know_a_point_better_than_its_pixels_allow(seed):
    rig, xyz = unequal(a_stereo_head(()), 3), points_before_it(8)[0]
    uv, pixel = rig.project(xyz).uv, pixel_covariances(3, 8, seed=seed)
    excess = rig.covariance(xyz, uv, pixel) - covariance(xyz, rig.projection_matrices, pixel)
    values = torch.linalg.eigvalsh(excess)
    assert (values > -1e-9 * values.amax()).all()
    assert values.amax() > 0


def test_a_covariance_is_zero_where_something_is_not_known():
    rig, xyz = unequal(a_stereo_head(), 3), points_before_it(7)[0]
    uv, pixel = rig.project(xyz).uv, pixel_covariances(3, 7)
    weights = torch.ones(3, 7, dtype=torch.float64)
    uv[0, 1], uv[:2, 2] = torch.nan, torch.nan  # two views are enough, one is not
    pixel[2, 3], pixel[2, 4] = 0.0, torch.nan  # a pixel that counts but is not known
    pixel[1, 5], weights[1, 5] = 0.0, 0.0  # one that does not count
    xyz[6] = torch.nan
    values = [value.requires_grad_() for value in (xyz, uv, pixel, weights)]
    found = rig.covariance(*values)
    assert (found != 0).any(-1).any(-1).tolist() == [True, True, False, False, False, True, False]
    assert found.isfinite().all()
    found.sum().backward()
    assert all(value.grad.isfinite().all() for value in values)
    without = rig.select(("LL", "U")).covariance(xyz[5:6], uv[::2, 5:6], pixel[::2, 5:6])
    torch.testing.assert_close(found[5:6], without)


@pytest.mark.parametrize("lens", LENSES)
def test_gradients_of_a_covariance_are_right(lens):
    rig, xyz = unequal(a_stereo_head(LENSES[lens]), 3), points_before_it(2)[0]
    values = (xyz, rig.project(xyz).uv, pixel_covariances(3, 2), torch.tensor([[1.0, 2.0]] * 3, dtype=torch.float64))
    # World units squared are small: without a factor any gradient would pass.
    assert torch.autograd.gradcheck(
        lambda x, u, c, w: 1e4 * rig.covariance(x, u, c, w), [value.requires_grad_() for value in values], rtol=1e-3
    )


def test_covariances_broadcast_over_a_batch_and_stay_exact_in_float32():
    rig, xyz = unequal(a_stereo_head(), 3), points_before_it(4)
    uv, pixel = rig.project(xyz).uv, pixel_covariances(3, 4)
    many = rig.covariance(xyz, uv, pixel)
    assert many.shape == (2, 4, 3, 3)
    torch.testing.assert_close(many[1], rig.covariance(xyz[1], uv[1], pixel))
    with torch.autocast("cpu", torch.bfloat16):
        single = rig.covariance(xyz.float(), uv.float(), pixel.float())
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), many, rtol=1e-4, atol=1e-9)


def test_covariances_of_another_shape_are_refused():
    rig, xyz = a_stereo_head(), points_before_it(4)[0]
    with pytest.raises(GeometryError, match="uv_covariance"):
        rig.covariance(xyz, rig.project(xyz).uv, pixel_covariances(2, 3))
    with pytest.raises(GeometryError, match="weights"):
        least_squares_covariance(
            xyz, rig.project(xyz).uv, rig.projection_matrices, pixel_covariances(2, 4), torch.ones(4)
        )


def test_a_view_that_saw_something_else_is_outvoted_behind_lenses():
    head = a_stereo_head()
    poses = [camera.world_to_camera.clone() for camera in head.cameras]
    for shift in ((0.0, -0.8, 0.0), (0.9, 0.4, 0.1)):
        pose = torch.eye(4, dtype=torch.float64)
        pose[:3, 3] = torch.tensor(shift)
        poses.append(pose)
    cameras = tuple(attrs.evolve(head["LL"], world_to_camera=pose) for pose in poses)
    rig, xyz = CameraRig(("A", "B", "C", "D"), cameras), points_before_it(20)[0]
    uv = rig.project(xyz).uv
    uv[2, 5] += 60.0
    found = rig.triangulate_robust(uv)
    assert found.valid.all()
    assert found.inliers.sum() == 4 * 20 - 1
    assert not found.inliers[2, 5]
    torch.testing.assert_close(found.xyz_world, xyz, rtol=0, atol=1e-8)


def test_every_way_through_a_rig_has_the_gradient_it_says():
    rig = a_stereo_head()
    xyz = points_before_it(3)[0]
    uv = rig.project(xyz).uv
    weights = torch.rand(2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.5
    ways = (
        (lambda points: rig.project(points).uv, (xyz,)),
        (rig.undistort_pixels, (uv,)),
        (lambda pixels, trust: rig.triangulate(pixels, trust).xyz_world, (uv, weights)),
        (lambda pixels, trust: rig.triangulate_robust(pixels, trust).xyz_world, (uv, weights)),
    )
    for way, values in ways:
        assert torch.autograd.gradcheck(way, tuple(value.clone().requires_grad_() for value in values), atol=1e-6)


def test_learning_the_intrinsics_and_the_lens_through_triangulation_is_possible():
    rig = a_stereo_head()
    uv = rig.project(points_before_it(3)[0]).uv

    def found(K, lens):
        left = attrs.evolve(rig.cameras[0], K=K, distortion=lens)
        return CameraRig(rig.names, (left, rig.cameras[1])).triangulate(uv).xyz_world

    inputs = (rig.cameras[0].K.clone().requires_grad_(), rig.cameras[0].distortion.clone().requires_grad_())
    slopes = torch.autograd.grad(found(*inputs).sum(), inputs)
    assert all(slope.isfinite().all() and slope.any() for slope in slopes)
