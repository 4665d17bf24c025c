"""What to draw of stereo pairs: points and epipolar lines in both views, and points of space.

Axes: B batch, P stereo pairs, N keypoints, K samples of a line; views are left, then right.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cogkp.data.keypoint.targets import KeypointTargets
from cogkp.data.sample import Batch
from cogkp.geometry.rig import CameraRig
from cogkp.geometry.uncertainty import region_radius2
from cogkp.geometry.warp import ImageWarp
from cogkp.tasks.keypoint.codec import KeypointCodec
from cogkp.tasks.keypoint.metrics_3d import PairErrors, SpaceMetrics, pair_errors
from cogkp.tasks.keypoint.stereo import StereoGeometry
from cogkp.visual.marks import SpaceMarks, ViewMarks

REGION_SHARE = 0.9
LINE_SAMPLES = 512
# Nothing nearer than this many baselines is worth a line: two image widths of disparity are beyond any image.
NEAREST_BASELINES = 0.5
# Of the largest inverse depth: so far away that rays end within a thousandth of a pixel of the horizon.
HORIZON = 1e-6


def epipolar_lines(rig: CameraRig, uv: Tensor, samples: int = LINE_SAMPLES) -> Tensor:
    """Trace the epipolar line of each pixel (P, 2, N, 2) in the other camera of two, bent as its lens bends it.

    The samples along each ray are evenly spaced in inverse depth, from the horizon to half a baseline.

    Returns:
        (P, 2, N, K, 2) in the dtype of ``uv``, sensor pixels of each camera; row 0 holds the lines of the right
        camera's pixels in the left image. NaN where a ray is not seen.
    """
    first, second = (torch.linalg.inv(camera.world_to_camera.double()) for camera in rig.cameras)
    baseline = torch.linalg.vector_norm(first[:3, 3] - second[:3, 3]).clamp(min=torch.finfo(torch.float64).tiny)
    inverse_depth = torch.linspace(HORIZON, 1.0, samples, dtype=torch.float64) / (NEAREST_BASELINES * baseline)
    lines = []
    for here, there, pose in ((0, 1, second), (1, 0, first)):
        rays = rig.cameras[there].unproject_rays(uv[:, there].double())
        along = rays.xyz_camera.unsqueeze(-2) / inverse_depth.unsqueeze(-1)
        seen = rig.cameras[here].project(along.flatten(1, 2) @ pose[:3, :3].mT + pose[:3, 3])
        shown = seen.valid.reshape(along.shape[:3]) & rays.valid.unsqueeze(-1)
        lines.append(torch.where(shown.unsqueeze(-1), seen.uv.reshape(*along.shape[:3], 2), torch.nan))
    return torch.stack(lines, 1).to(uv.dtype)


def space_marks(
    metrics: SpaceMetrics, codec: KeypointCodec, outputs: Any, batch: Batch[KeypointTargets]
) -> list[SpaceMarks]:
    """Return what to draw for each pair of a batch; tensors lie on the CPU."""
    errors = pair_errors(metrics.geometry, codec, outputs, batch)
    views = _views(metrics.geometry, errors, outputs, batch)
    per_unit, pose = metrics.unit.per_world_unit, metrics.geometry.rig.cameras[0].world_to_camera
    region = errors.covariance * region_radius2(REGION_SHARE, 3)
    return [
        SpaceMarks(
            name=batch.ids[left],
            point_names=codec.point_names,
            views=views[pair],
            xyz_true=_array(errors.truth.xyz_world[pair] * per_unit),
            known=_array(errors.truth.known[pair]),
            xyz_found=_array(errors.found.xyz_world[pair] * per_unit),
            found=_array(errors.found.valid[pair]),
            region=_array(region[pair] * per_unit**2),
            segments=tuple((segment.start, segment.end) for segment in metrics.segments),
            world_to_view=_array(pose[:3, :3]),
            unit=metrics.unit.name,
        )
        for pair, left in enumerate(batch.pairs[:, 0].tolist())
    ]


def _views(
    geometry: StereoGeometry, errors: PairErrors, outputs: Any, batch: Batch[KeypointTargets]
) -> list[tuple[ViewMarks, ViewMarks]]:
    sensor_to_crop = ImageWarp(batch.source_to_crop[batch.pairs])
    projected_uv = sensor_to_crop.apply(geometry.frame_pixels(geometry.project(errors.truth.xyz_world).uv, batch))
    shown = batch.targets.valid[batch.pairs].unsqueeze(-1)
    truth_uv = torch.where(shown, batch.targets.uv_crop[batch.pairs].to(projected_uv.dtype), projected_uv)
    lines = epipolar_lines(geometry.rig, errors.found.uv)
    flat = sensor_to_crop.apply(geometry.frame_pixels(lines.flatten(2, 3), batch))
    known = errors.truth.known
    lines = torch.where(known[:, None, :, None, None], flat.reshape(lines.shape), torch.nan)
    predicted = outputs.keypoints.float()[batch.pairs]

    def view(pair: int, side: int) -> ViewMarks:
        return ViewMarks(
            row=int(batch.pairs[pair, side]),
            truth_uv=_array(truth_uv[pair, side]),
            truth_visible=_array(known[pair]),
            predicted_uv=_array(predicted[pair, side]),
            predicted_visible=_array(known[pair]),
            lines_uv=_array(lines[pair, side]),
        )

    return [(view(pair, 0), view(pair, 1)) for pair in range(len(batch.pairs))]


def _array(tensor: Tensor) -> npt.NDArray[Any]:
    return np.asarray(tensor.detach().cpu().numpy())
