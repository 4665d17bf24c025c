"""Batches of stereo pairs whose points of space are known: a rigid tool before the synthetic head, behind a lens."""

from __future__ import annotations

import attrs
import torch

from cogkp.data.keypoint.scene.render import stereo_head
from cogkp.data.keypoint.targets import KeypointTargets
from cogkp.data.sample import Batch
from cogkp.geometry.rig import CameraRig
from cogkp.geometry.warp import ImageWarp
from cogkp.models.keypoint import KeypointOutputs
from cogkp.tasks.keypoint.stereo import StereoGeometry

PAIRS, N = 3, 3
SEGMENTS = ((0, 1, 1.5), (1, 2, 2.0))
TOOL = torch.tensor([[-1.2, -0.9, 0.0], [0.0, 0.0, 0.0], [1.6, 1.2, 0.0]], dtype=torch.float64)


def bent_head() -> CameraRig:
    """The synthetic head behind a lens that bends."""
    lens = torch.tensor([-0.12, 0.03, 1e-3, -5e-4, 0.0], dtype=torch.float64)
    head = stereo_head()
    return CameraRig(tuple(head), tuple(attrs.evolve(camera, distortion=lens) for camera in head.values()))


RIG = bent_head()
GEOMETRY = StereoGeometry(RIG)


def tools(seed=0, pairs=PAIRS):
    """(P, 3, 3) rigid tools before the head."""
    generator = torch.Generator().manual_seed(seed)
    turns = torch.linalg.matrix_exp(torch.randn(pairs, 3, 3, generator=generator, dtype=torch.float64).triu(1) * 0.3)
    turned = TOOL @ torch.linalg.qr(turns).Q.mT
    places = torch.randn(pairs, 1, 3, generator=generator, dtype=torch.float64) * 0.3
    return turned + places + torch.tensor([0.0, 0.0, 8.0])


def batch_of(
    xyz, *, scale=1.0, labelled=None, valid=None, located=None, warps=None, rig=RIG
) -> tuple[Batch[KeypointTargets], torch.Tensor]:
    """A batch LL0, LR0, LL1, ... of exact pixels in frames ``scale`` times as wide as calibrated, and those pixels."""
    seen = rig.project(xyz)
    assert seen.valid.all()
    frame = ImageWarp.resize(scale, scale).apply(seen.uv.flatten(0, 1))
    warps = warps or [ImageWarp.fit((-0.5, -0.5), (320 * scale, 256 * scale), 256)] * len(frame)
    matrix = torch.stack([warp.matrix for warp in warps])
    every = torch.ones(len(frame), N, dtype=torch.bool)
    targets = KeypointTargets(
        uv_crop=ImageWarp(matrix).apply(frame).float(),
        valid=every if valid is None else valid,
        uv_source=frame.float(),
        labelled=every if labelled is None else labelled,
        xyz_world=xyz.repeat_interleave(2, 0),
        located=every if located is None else located,
        mask=torch.zeros(len(frame), 0, 0),
    )
    sizes = torch.tensor([[round(320 * scale), round(256 * scale)]]).expand(len(frame), 2)
    pairs = torch.arange(len(frame)).reshape(-1, 2)
    ids = tuple(f"view {row}" for row in range(len(frame)))
    return Batch(torch.zeros(len(frame), 1, 256, 256), targets, matrix, sizes, pairs, ids), frame


def outputs_of(batch, offset=0.0) -> KeypointOutputs:
    exact = ImageWarp(batch.source_to_crop).apply(batch.targets.uv_source.double())
    return KeypointOutputs((exact + offset).float().requires_grad_(), torch.full((len(exact), N, 2, 2), 0.25))
