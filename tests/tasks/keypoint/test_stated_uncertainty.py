"""From heatmaps to space: regions that are said to hold a share of the truth hold that share.

Points before cameras with lenses; in each frame a Gaussian draws where the network believes each point, and the network
answers with the heatmap that training makes best: that Gaussian, convolved with the one of the targets.
"""

import math
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from cogkp.geometry.camera import PinholeCamera
from cogkp.geometry.heatmap import expectation
from cogkp.geometry.rig import CameraRig
from cogkp.geometry.uncertainty import covariance, inside_region
from cogkp.geometry.warp import ImageWarp
from cogkp.models.keypoint import KeypointOutputs
from cogkp.tasks.keypoint.codec import KeypointCodec

SIDE, STRIDE, KERNEL_PX = 128, 4, 6.0
FRAMES, POINTS = 200, 30
CODEC = KeypointCodec(SIDE, tuple(f"point {n}" for n in range(POINTS)), segmentation=False, kernel_sigma_px=KERNEL_PX)
LENSES = (
    (-0.25, 0.08, 1e-3, -5e-4, 0.01),
    (0.1, -0.05, 0.0, 1e-3, 0.0, 0.02, 0.0, 0.0),
    (-0.1, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1e-3, 0.0, -1e-3, 0.0, 0.02, -0.03),
)
BOUNDS = {0.9: (0.87, 0.93), 0.5: (0.47, 0.53)}


def toed_in(views: int, g: torch.Generator) -> CameraRig:
    """Unequal cameras round an arc that all look at a place seven units ahead."""

    def camera(v: int) -> PinholeCamera:
        drawn = torch.rand(6, generator=g, dtype=torch.float64)
        centre = torch.tensor([1.5 * (v - 0.5 * (views - 1)), 0.4, 0.4]) + 0.2 * drawn[:3]
        ahead = torch.tensor([0.0, 0.0, 7.0]) - centre
        z = ahead / ahead.norm()
        x = torch.linalg.cross(torch.tensor([0.1, 1.0, 0.0]).double(), z)
        x = x / x.norm()
        turn = torch.stack((x, torch.linalg.cross(z, x), z))
        pose = torch.eye(4, dtype=torch.float64)
        pose[:3, :3], pose[:3, 3] = turn, -turn @ centre
        K = torch.tensor([[1.0, 0.0, 640.0], [0.0, 1.0, 480.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
        K[0, 0], K[1, 1] = 900 + 500 * drawn[3], 900 + 500 * drawn[3] + 10 * drawn[4]
        return PinholeCamera(K, pose, (1280, 960), torch.tensor(LENSES[v], dtype=torch.float64))

    return CameraRig(("LL", "LR", "U")[:views], tuple(camera(v) for v in range(views)))


def crops(centre: Tensor, g: torch.Generator) -> Tensor:
    """(B, V, 3, 3) maps that turn, scale and bring a pixel of the frame to the middle of the crop."""

    def one(uv: Tensor) -> Tensor:
        angle, scale = (torch.rand(2, generator=g) * torch.tensor([2 * math.pi, 0.5]) + torch.tensor([0, 0.8])).tolist()
        turned = ImageWarp.turn(angle, scale, (uv[0].item(), uv[1].item()))
        return turned.then(ImageWarp.translate(*(0.5 * (SIDE - 1) - uv).tolist())).matrix

    return torch.stack([one(uv) for uv in centre.reshape(-1, 2)]).reshape(*centre.shape[:-1], 3, 3)


def render(uv_crop: Tensor, covariance_crop: Tensor) -> Tensor:
    """(..., h, w) float32: the belief convolved with the kernel, by its values at the cell centres."""
    centres = (torch.arange(SIDE // STRIDE, dtype=torch.float64) + 0.5) * STRIDE - 0.5
    precision = torch.linalg.inv(covariance_crop + KERNEL_PX**2 * torch.eye(2))[..., None, None]
    du = (centres - uv_crop[..., :1])[..., None, :]
    dv = (centres - uv_crop[..., 1:])[..., :, None]
    uu, uv, vv = precision[..., 0, 0, :, :], precision[..., 0, 1, :, :], precision[..., 1, 1, :, :]
    density = torch.exp(-0.5 * (uu * du * du + 2 * uv * du * dv + vv * dv * dv))
    return (density / density.sum((-2, -1), keepdim=True)).float()


class Scene(NamedTuple):
    rig: CameraRig
    xyz: Tensor
    uv: Tensor
    source_to_crop: Tensor
    outputs: KeypointOutputs


def scene(views: int, seed: int) -> Scene:
    g = torch.Generator().manual_seed(seed)
    rig = toed_in(views, g)
    centre = torch.tensor([0.0, 0.0, 7.0]) + (torch.rand(FRAMES, 1, 3, generator=g, dtype=torch.float64) - 0.5) * 2.0
    xyz = centre + (torch.rand(FRAMES, POINTS, 3, generator=g, dtype=torch.float64) - 0.5) * 0.2
    truth = rig.project(xyz)
    assert truth.valid.all()
    matrices = crops(rig.project(centre).uv.squeeze(-2), g)
    turn = torch.rand(FRAMES, views, POINTS, generator=g, dtype=torch.float64) * math.pi
    long, short = 0.5 + 1.5 * torch.rand(2, *turn.shape, generator=g, dtype=torch.float64)
    root = torch.stack((turn.cos() * long, -turn.sin() * short, turn.sin() * long, turn.cos() * short), -1)
    root = root.reshape(*turn.shape, 2, 2)
    noise = torch.randn(*turn.shape, 2, 1, generator=g, dtype=torch.float64)
    believed = truth.uv + (root @ noise).squeeze(-1)
    linear = matrices[..., None, :2, :2]
    uv_crop = (linear @ believed.unsqueeze(-1)).squeeze(-1) + matrices[..., None, :2, 2]
    assert (uv_crop > 3.5 * KERNEL_PX).all()
    assert (uv_crop < SIDE - 3.5 * KERNEL_PX).all()
    heatmaps = render(uv_crop, linear @ root @ root.mT @ linear.mT)
    outputs = KeypointOutputs(expectation(heatmaps, STRIDE).flatten(0, 1), heatmaps.flatten(0, 1))
    return Scene(rig, xyz, truth.uv, matrices, outputs)


def read(seen: Scene, codec: KeypointCodec = CODEC) -> tuple[Tensor, Tensor]:
    """(B, V, N, 2) pixels of the frames and (B, V, N, 2, 2) their covariances, as the codec decodes them."""
    flat = seen.source_to_crop.flatten(0, 1)
    uv = codec.decode(seen.outputs, flat).uv_source
    pixel = codec.covariance_source(seen.outputs, flat)
    return uv.reshape(seen.uv.shape), pixel.reshape(*seen.uv.shape, 2)


def share(offset: Tensor, stated: Tensor, said: float) -> float:
    region = inside_region(offset, stated, said)
    assert region.valid.all()
    return region.inside.double().mean().item()


@pytest.mark.parametrize(("views", "seed"), [(2, 0), (2, 1), (3, 2)])
def test_stated_regions_hold_their_share_of_the_truth(views, seed):
    seen = scene(views, seed)
    uv, pixel = read(seen)
    for weights in (None, pixel.diagonal(dim1=-2, dim2=-1).sum(-1).reciprocal()):
        found = seen.rig.triangulate(uv, weights)
        assert found.valid.all()
        stated = seen.rig.covariance(found.xyz_world, uv, pixel, weights)
        for said, (least, most) in BOUNDS.items():
            assert least < share(found.xyz_world - seen.xyz, stated, said) < most
    for said, (least, most) in BOUNDS.items():
        for v in range(views):
            assert least < share(uv[:, v] - seen.uv[:, v], pixel[:, v], said) < most


def test_the_test_notices_a_kernel_that_is_left_in_and_an_estimator_that_is_not_the_one_used():
    seen = scene(2, 3)
    uv, pixel = read(seen)
    _, blurred = read(seen, KeypointCodec(SIDE, CODEC.point_names, segmentation=False))
    found = seen.rig.triangulate(uv)
    offset = found.xyz_world - seen.xyz
    assert share(offset, seen.rig.covariance(found.xyz_world, uv, blurred), 0.5) > 0.9
    bound = covariance(found.xyz_world, seen.rig.projection_matrices, pixel.double())
    honest = share(offset, seen.rig.covariance(found.xyz_world, uv, pixel), 0.9)
    assert share(offset, bound, 0.9) < honest - 0.03
