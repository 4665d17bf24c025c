from __future__ import annotations

import attrs
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cogkp.config.keypoint.spec import HeatmapTerm, KeypointConfig, LossTerms
from cogkp.data.keypoint.labels import KeypointLabels
from cogkp.data.sample import Encoded, Sample, collate
from cogkp.geometry.heatmap import gaussian_heatmap
from cogkp.geometry.warp import ImageWarp
from cogkp.models.keypoint import KeypointMaskOutputs, KeypointOutputs
from cogkp.tasks.keypoint.codec import KeypointCodec

SIDE = 256
CODEC = KeypointCodec(SIDE, ("tip", "end"), segmentation=False)

ROUND_TRIP_PX = 0.002


def sample_of(uv, warp, labelled=(True, True), mask=None) -> Sample[KeypointLabels]:
    said = np.asarray(labelled)
    labels = KeypointLabels(np.asarray(uv, np.float64), said, np.zeros((len(said), 3)), np.zeros_like(said), mask)
    return Sample(np.zeros((1, SIDE, SIDE), np.float32), labels, warp, (640, 480), "root:1 B")


def batch_of(*samples, codec=CODEC):
    return collate([(Encoded(sample, codec.encode(sample)),) for sample in samples])


def heatmap_at(cells) -> torch.Tensor:
    heatmaps = torch.zeros(1, 2, SIDE // 4, SIDE // 4)
    for n, (column, row) in enumerate(cells):
        heatmaps[0, n, row, column] = 1.0
    return heatmaps


points = st.tuples(st.floats(0, 8192), st.floats(0, 8192))


@given(uv=st.tuples(points, points), angle=st.floats(-3, 3), scale=st.floats(SIDE / 8192, 4.0))
def test_decoding_what_was_encoded_returns_the_labels_within_the_stated_bound(uv, angle, scale):
    warp = ImageWarp.turn(angle, scale, (4096.0, 4096.0)).then(ImageWarp.translate(-3968.0, -3968.0))
    batch = batch_of(sample_of(uv, warp))
    outputs = KeypointOutputs(batch.targets.uv_crop, heatmap_at([(0, 0), (0, 0)]))
    found = CODEC.decode(outputs, batch.source_to_crop)
    assert (found.uv_source[0].double() - torch.tensor(uv)).abs().max() < ROUND_TRIP_PX


def test_a_warped_frame_has_the_same_targets_as_its_moved_labels():
    uv = np.array([[100.0, 50.0], [300.0, 200.0]])
    first, second = ImageWarp.turn(0.4, 0.7, (320, 240)), ImageWarp.translate(-20, 30)
    together = CODEC.encode(sample_of(uv, first.then(second)))
    moved = first.apply(torch.from_numpy(uv)).numpy()
    assert together.uv_crop == pytest.approx(CODEC.encode(sample_of(moved, second)).uv_crop, abs=1e-4)


def test_points_outside_the_crop_keep_their_coordinate_and_are_invalid():
    targets = CODEC.encode(sample_of([[-0.6, 3.0], [SIDE - 0.5, -0.5]], ImageWarp.identity()))
    assert targets.uv_crop.tolist() == [[pytest.approx(-0.6), 3.0], [SIDE - 0.5, -0.5]]
    assert targets.valid.tolist() == [False, True]
    assert targets.labelled.tolist() == [True, True]


def test_unlabelled_points_are_zero_whatever_stood_there():
    targets = CODEC.encode(sample_of([[np.nan, np.inf], [3, 4]], ImageWarp.translate(5, 5), labelled=(False, True)))
    assert targets.uv_crop.tolist() == [[0, 0], [8, 9]]
    assert targets.uv_source.tolist() == [[0, 0], [3, 4]]
    assert targets.valid.tolist() == [False, True]
    assert targets.uv_crop.dtype == np.float32


def test_masks_are_kept_filled_or_left_out():
    uv, warp = [[1, 2], [3, 4]], ImageWarp.identity()
    mask = np.full((SIDE, SIDE), 3, np.uint8)
    masked = attrs.evolve(CODEC, segmentation=True)
    assert CODEC.encode(sample_of(uv, warp, mask=mask)).mask.shape == (0, 0)
    assert (masked.encode(sample_of(uv, warp, mask=mask)).mask == 3).all()
    filled = masked.encode(sample_of(uv, warp)).mask
    assert (filled == 255).all()
    assert filled.dtype == np.int64


def test_confidence_is_the_mass_near_the_mean():
    sharp = heatmap_at([(10, 20), (30, 40)])
    split = sharp.clone()
    split[0, 1] = 0
    split[0, 1, 40, 20] = split[0, 1, 40, 40] = 0.5  # the mean lies between two peaks, where there is nothing
    keypoints = torch.tensor([[[41.5, 81.5], [121.5, 161.5]]])
    identity = torch.eye(3, dtype=torch.float64)[None]
    assert CODEC.decode(KeypointOutputs(keypoints, sharp), identity).confidence.tolist() == [[1.0, 1.0]]
    assert CODEC.decode(KeypointOutputs(keypoints, split), identity).confidence.tolist() == [[1.0, 0.0]]


def test_the_confidence_window_is_two_cells_wide_on_each_side():
    identity = torch.eye(3, dtype=torch.float64)[None]
    keypoints = torch.tensor([[[41.5, 41.5], [41.5, 41.5]]])
    outputs = KeypointOutputs(keypoints, heatmap_at([(12, 8), (13, 10)]))
    assert CODEC.decode(outputs, identity).confidence.tolist() == [[1.0, 0.0]]


def test_decoding_is_differentiable_and_scales_gradients_back_to_the_source():
    keypoints = torch.tensor([[[40.0, 80.0], [120.0, 160.0]]], requires_grad=True)
    warp = ImageWarp.resize(0.5, 0.5)
    found = CODEC.decode(KeypointOutputs(keypoints, heatmap_at([(0, 0), (0, 0)])), warp.matrix[None])
    found.uv_source.sum().backward()
    assert keypoints.grad.tolist() == [[[2.0, 2.0], [2.0, 2.0]]]


@pytest.mark.parametrize("own_px", [0.0, 0.5, 3.0])
def test_the_covariance_is_the_heatmaps_own_spread_and_the_stated_noise(own_px):
    codec = attrs.evolve(CODEC, kernel_sigma_px=6.0, noise_px=0.8)
    keypoints = torch.tensor([[[100.0, 120.0], [130.0, 90.0]]], dtype=torch.float64)
    width = float(np.hypot(6.0, own_px))
    outputs = KeypointOutputs(keypoints, gaussian_heatmap(keypoints, (64, 64), 4.0, width))
    eye = torch.eye(2, dtype=torch.float64).expand(1, 2, 2, 2)
    torch.testing.assert_close(codec.spread_crop(outputs), own_px**2 * eye, rtol=0, atol=1e-3)
    found = codec.covariance_source(outputs, ImageWarp.resize(0.5, 0.5).matrix[None])
    torch.testing.assert_close(found.double(), 4.0 * (own_px**2 + 0.8**2) * eye, rtol=0, atol=1e-2)


@pytest.mark.parametrize("mass", [0.0, float("nan"), 1.0])
def test_any_heatmap_has_a_covariance_that_can_be_used(mass):
    outputs = KeypointOutputs(torch.zeros(1, 2, 2), mass * heatmap_at([(0, 0), (63, 9)]))
    found = attrs.evolve(CODEC, kernel_sigma_px=6.0).covariance_source(outputs, torch.eye(3).double()[None])
    assert (torch.linalg.eigvalsh(found) >= 0.099**2).all()


def test_a_batch_decodes_row_by_row():
    warps = [ImageWarp.resize(0.5, 0.5), ImageWarp.translate(3, 4), ImageWarp.turn(0.3, 0.9, (9, 9))]
    matrices = torch.stack([warp.matrix for warp in warps])
    keypoints = torch.rand(3, 2, 2, generator=torch.Generator().manual_seed(0)) * SIDE
    heatmaps = torch.full((3, 2, 64, 64), 1 / 64**2)
    whole = CODEC.decode(KeypointOutputs(keypoints, heatmaps), matrices)
    for row in range(3):
        alone = CODEC.decode(KeypointOutputs(keypoints[[row]], heatmaps[[row]]), matrices[[row]])
        assert torch.equal(alone.uv_source[0], whole.uv_source[row])
        assert torch.equal(alone.confidence[0], whole.confidence[row])


def test_marks_show_labels_inside_and_every_prediction():
    codec = attrs.evolve(CODEC, segmentation=True)
    batch = batch_of(sample_of([[5, 6], [900, 6]], ImageWarp.identity()), codec=codec)
    (truth,) = codec.truth_marks(batch)
    assert truth.shown.tolist() == [True, False]
    assert truth.names == ("tip", "end")
    assert (truth.mask == 255).all()
    logits = torch.zeros(1, 3, SIDE, SIDE)
    logits[:, 2] = 1
    outputs = KeypointMaskOutputs(batch.targets.uv_crop, heatmap_at([(0, 0), (0, 0)]), logits)
    (found,) = codec.prediction_marks(outputs)
    assert found.shown.all()
    assert (found.mask == 2).all()
    assert (CODEC.prediction_marks(KeypointOutputs(*outputs[:2]))[0].mask) is None


@pytest.mark.parametrize("far", [1e30, 1e300, -1e300])
def test_a_label_beyond_all_cameras_is_invalid_and_stays_finite(far):
    batch = batch_of(sample_of([[far, 3.0], [4.0, far]], ImageWarp.resize(0.5, 0.5)))
    assert not batch.targets.valid.any()
    assert batch.targets.labelled.all()
    assert batch.targets.uv_source.isfinite().all()
    assert batch.targets.uv_crop.isfinite().all()


def bumps(uv_crop, sigma_px):
    return gaussian_heatmap(torch.as_tensor(uv_crop, dtype=torch.float64), (SIDE // 4,) * 2, 4, sigma_px)


def test_the_kernel_is_the_trained_one_and_none_where_shape_is_not_trained():
    on = LossTerms(heatmap_regularization_loss=HeatmapTerm(weight=0.5, sigma_px=7.0))
    config = KeypointConfig(loss_terms=on)
    assert KeypointCodec.of(config).kernel_sigma_px == 7.0
    off = attrs.evolve(on, heatmap_regularization_loss=HeatmapTerm(weight=0.0, sigma_px=7.0))
    assert KeypointCodec.of(attrs.evolve(config, loss_terms=off)).kernel_sigma_px == 0.0
    masks_only = attrs.evolve(config, targets=attrs.evolve(config.targets, keypoints=False))
    assert KeypointCodec.of(masks_only).kernel_sigma_px == 0.0


def test_the_best_heatmap_for_labels_that_scatter_tells_how_far_they_scatter():
    """The mean of the targets has the least mean divergence from them; its covariance is that of the labels."""
    cloud = np.random.default_rng(0).multivariate_normal((120, 130), [[9, 4], [4, 5]], 500)
    best = bumps(cloud, 6.0).mean(0)
    outputs = KeypointOutputs(torch.from_numpy(cloud.mean(0))[None, None], best[None, None])
    found = attrs.evolve(CODEC, kernel_sigma_px=6.0).spread_crop(outputs)[0, 0]
    assert found.numpy() == pytest.approx(np.cov(cloud.T, bias=True), abs=1e-3)
    untouched = CODEC.spread_crop(outputs)[0, 0]
    assert (untouched - found).numpy() == pytest.approx(36 * np.eye(2), abs=1e-3)


def test_no_point_is_known_better_than_the_noise_allows():
    codec = attrs.evolve(CODEC, kernel_sigma_px=6.0)
    keypoints = torch.full((1, 2, 2), 127.5)
    outputs = KeypointOutputs(keypoints, torch.stack((heatmap_at([(9, 9)] * 2)[0, 0], bumps([127.5] * 2, 5.0)))[None])
    found = codec.covariance_source(outputs, ImageWarp.resize(0.5, 0.5).matrix[None])
    assert found == pytest.approx((0.2**2 * torch.eye(2)).expand(1, 2, 2, 2), rel=1e-5)


@pytest.mark.parametrize("moved", ["turned", "mirrored", "perspective"])
def test_covariances_move_with_the_frame(moved):
    warp = {
        "turned": ImageWarp.turn(0.6, 1.7, (50.0, 80.0)),
        "mirrored": ImageWarp.mirror(640),
        "perspective": ImageWarp(torch.tensor([[1, 0.1, 3], [0, 1.2, 4], [2e-4, -1e-4, 1]], dtype=torch.float64)),
    }[moved]
    to_crop = ImageWarp.turn(0.3, 0.8, (100.0, 100.0))
    uv = torch.tensor([[[100.0, 120.0], [130.0, 90.0]]])
    outputs = KeypointOutputs(uv, (0.5 * bumps(uv[0], 5.0) + 0.5 * bumps(uv[0] + torch.tensor([9.0, 4.0]), 3.0))[None])
    plain = CODEC.covariance_source(outputs, to_crop.matrix[None])
    at = to_crop.inverse().apply(uv.double())
    J = warp.jacobian(at)
    found = CODEC.covariance_source(outputs, warp.inverse().then(to_crop).matrix[None])
    torch.testing.assert_close(found, J @ plain.double() @ J.mT, rtol=1e-4, atol=1e-4)


def test_the_gradient_of_a_covariance_reaches_heatmaps_and_is_right():
    codec = KeypointCodec(24, ("tip", "end"), segmentation=False, kernel_sigma_px=2.0)
    heatmaps = torch.rand(1, 2, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    matrix, uv = ImageWarp.turn(0.3, 0.8, (9.0, 9.0)).matrix[None], torch.full((1, 2, 2), 12.0)
    assert torch.autograd.gradcheck(
        lambda maps: codec.covariance_source(KeypointOutputs(uv, maps), matrix), (heatmaps.requires_grad_(),)
    )


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_heatmaps_that_say_nothing_give_a_wide_covariance_without_nan(value):
    heatmaps = torch.full((1, 2, 64, 64), value, requires_grad=True)
    outputs = KeypointOutputs(torch.full((1, 2, 2), 127.5), heatmaps)
    found = CODEC.covariance_source(outputs, torch.eye(3, dtype=torch.float64)[None])
    found.sum().backward()
    assert (found.diagonal(dim1=-2, dim2=-1) > 70**2).all()
    assert found.isfinite().all()
    assert heatmaps.grad.isfinite().all()
