"""Stereo terms: zero where both views agree with one rigid tool, never a NaN, and only of what may count."""

from __future__ import annotations

import attrs
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from cogkp.config.keypoint.spec import DataMappings, KeypointConfig, LossTerm, LossTerms, RigidityTerm, StereoPairing
from cogkp.data.keypoint.scene.render import calibration, stereo_head
from cogkp.data.keypoint.stereo import paired_rig
from cogkp.errors import DataError
from cogkp.files import write_json
from cogkp.geometry.camera import PinholeCamera
from cogkp.geometry.warp import ImageWarp
from cogkp.models.keypoint import KeypointOutputs
from cogkp.tasks.keypoint.losses import SpaceTerms, build_loss
from cogkp.tasks.keypoint.stereo import Reprojection, Rigidity
from tests.builders.stereo_pairs import GEOMETRY, PAIRS, RIG, SEGMENTS, N, batch_of, outputs_of, tools


def terms_of(use_unlabelled=False) -> SpaceTerms:
    terms = {"reprojection": Reprojection(), "rigidity": Rigidity(SEGMENTS)}
    return SpaceTerms(GEOMETRY, terms, {"reprojection": 2.0, "rigidity": 0.5}, use_unlabelled)


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.sampled_from([1.0, 2.0, 0.5]))
def test_exact_predictions_of_a_rigid_tool_cost_nothing_whatever_crop_they_were_made_in(seed, scale):
    generator = torch.Generator().manual_seed(seed)
    draws = torch.rand(2 * PAIRS, 3, generator=generator).tolist()
    warps = [
        ImageWarp.fit((-0.5, -0.5), (320 * scale, 256 * scale), 256)
        .then(ImageWarp.turn(a - 0.5, 0.7 + b, (127.5, 127.5)))
        .then(ImageWarp.translate(40 * c, 9.0))
        for a, b, c in draws
    ]
    batch, _ = batch_of(tools(seed), scale=scale, warps=warps)
    _, parts, share = terms_of()(outputs_of(batch), batch)
    assert share == 1
    assert parts["reprojection"] < 1e-9
    assert parts["rigidity"] < 1e-8


def test_the_terms_equal_torchs_own_loss_of_residuals_and_lengths():
    batch, _ = batch_of(tools())
    outputs = outputs_of(batch, offset=torch.linspace(-2, 2, 2 * PAIRS * N * 2).reshape(2 * PAIRS, N, 2))
    parts = terms_of()(outputs, batch).parts
    uv = ImageWarp(batch.source_to_crop).inverse().apply(outputs.keypoints.double()).reshape(PAIRS, 2, N, 2)
    found = RIG.triangulate(uv)
    again = RIG.project(found.xyz_world)
    assert found.valid.all()
    assert parts["reprojection"].item() == pytest.approx(F.smooth_l1_loss(again.uv, uv).item() / 320, rel=1e-4)
    apart = (found.xyz_world[:, 1:] - found.xyz_world[:, :-1]).norm(dim=-1)
    lengths = torch.tensor([1.5, 2.0]).expand(PAIRS, 2)
    assert parts["rigidity"].item() == pytest.approx(F.smooth_l1_loss(apart.float(), lengths).item(), rel=1e-4)


def test_a_vertical_disagreement_costs_reprojection_and_a_wrong_depth_costs_rigidity():
    batch, _ = batch_of(tools())
    vertical = torch.tensor([[0.0, 1.0], [0.0, -1.0]]).repeat(PAIRS, 1)[:, None]
    assert terms_of()(outputs_of(batch, vertical), batch).parts["reprojection"] > 1e-4
    # The tip alone comes nearer: both views still agree on where it is, roughly, but the tool has grown.
    disparity = torch.zeros(2 * PAIRS, N, 2)
    disparity[::2, 0, 0], disparity[1::2, 0, 0] = 2.0, -2.0
    assert terms_of()(outputs_of(batch, disparity), batch).parts["rigidity"] > 5e-5


def test_a_step_down_the_gradient_lowers_both_terms():
    batch, _ = batch_of(tools(5))
    start = outputs_of(batch, torch.randn(2 * PAIRS, N, 2, generator=torch.Generator().manual_seed(1)))
    for name in ("reprojection", "rigidity"):
        alone = attrs.evolve(terms_of(), weights={"reprojection": 0.0, "rigidity": 0.0, name: 1.0})
        here = alone(start, batch)
        (slope,) = torch.autograd.grad(here.total, start.keypoints)
        moved = start._replace(keypoints=start.keypoints.detach() - 1e-2 * slope / slope.norm())
        assert alone(moved, batch).parts[name] < here.parts[name]


def test_the_gradient_is_that_of_the_terms_up_to_the_pull_of_a_label():
    batch, _ = batch_of(tools(5))
    outputs = outputs_of(batch, torch.randn(2 * PAIRS, N, 2, generator=torch.Generator().manual_seed(1)))
    most = 1 / (2 * PAIRS * N * 2)

    def pull(weight):
        terms = attrs.evolve(terms_of(), weights={"reprojection": weight, "rigidity": weight})
        return torch.autograd.grad(terms(outputs, batch).total, outputs.keypoints)[0]

    gentle, strong = pull(1e-3), pull(1e6)
    uv = ImageWarp(batch.source_to_crop).inverse().apply(outputs.keypoints.double())
    space = GEOMETRY.reconstruct(uv, batch, torch.ones(PAIRS, N, dtype=torch.bool))
    plain = torch.autograd.grad(Reprojection()(space) + Rigidity(SEGMENTS)(space), outputs.keypoints)[0]
    torch.testing.assert_close(gentle, 1e-3 * plain, rtol=1e-3, atol=1e-9)
    torch.testing.assert_close(strong.norm(dim=-1), torch.full((2 * PAIRS, N), most))
    torch.testing.assert_close(strong / most, plain / plain.norm(dim=-1, keepdim=True), rtol=1e-3, atol=1e-3)


def test_the_limited_pull_scales_with_the_loss_as_a_gradient_scaler_needs():
    batch, _ = batch_of(tools(5))
    outputs = outputs_of(batch, 1.0)
    total = attrs.evolve(terms_of(), weights={"reprojection": 1e6, "rigidity": 1e6})(outputs, batch).total
    once, often = (torch.autograd.grad(f * total, outputs.keypoints, retain_graph=True)[0] for f in (1.0, 1024.0))
    torch.testing.assert_close(often, 1024 * once)


def some(rows):
    mask = torch.ones(2 * PAIRS, N, dtype=torch.bool)
    for row, point in rows:
        mask[row, point] = False
    return mask


def test_points_count_where_both_views_are_labelled_or_where_labels_are_not_asked_for():
    batch, _ = batch_of(tools(), labelled=some([(0, 1)]), valid=some([(0, 1), (3, 2)]))
    outputs = outputs_of(batch, 0.5 * torch.randn(2 * PAIRS, N, 2, generator=torch.Generator().manual_seed(2)))
    strict, loose = terms_of(use_unlabelled=False), terms_of(use_unlabelled=True)
    assert strict._allowed(batch).sum() == PAIRS * N - 2
    assert loose._allowed(batch).sum() == PAIRS * N - 1  # labelled, and known to lie outside the crop
    strict(outputs, batch).total.backward()
    assert not outputs.keypoints.grad[:2, 1].any()
    assert outputs.keypoints.grad[:2, 0].any()
    outputs.keypoints.grad = None
    loose(outputs, batch).total.backward()
    assert outputs.keypoints.grad[:2, 1].any()
    assert not outputs.keypoints.grad[2:4, 2].any()


DEGENERATE = {
    "the same pixel in both views": torch.full((2 * PAIRS, N, 2), 100.0),
    "not a number": torch.full((2 * PAIRS, N, 2), torch.nan),
    "infinite": torch.full((2 * PAIRS, N, 2), torch.inf),
    "far outside": torch.full((2 * PAIRS, N, 2), 1e30),
    "crossed, so behind the cameras": torch.tensor([[0.0, 128.0], [255.0, 128.0]])
    .repeat(PAIRS, 1)[:, None]
    .expand(-1, N, 2),
}


@pytest.mark.parametrize("name", DEGENERATE)
def test_predictions_that_mean_no_point_are_masked_counted_and_finite(name):
    batch, _ = batch_of(tools())
    keypoints = DEGENERATE[name].clone().requires_grad_()
    total, parts, share = terms_of()(KeypointOutputs(keypoints, torch.zeros(2 * PAIRS, N, 2, 2)), batch)
    total.backward()
    assert all(part.isfinite() for part in parts.values())
    assert total.isfinite()
    assert keypoints.grad.isfinite().all()
    if name != "the same pixel in both views":  # toed-in rays do meet somewhere
        assert share == 0
        assert total == 0


def test_a_batch_without_pairs_is_a_zero_of_the_graph():
    batch, _ = batch_of(tools())
    single = attrs.evolve(batch, pairs=torch.zeros(0, 2, dtype=torch.int64))
    outputs = outputs_of(batch)
    total, _, share = terms_of()(outputs, single)
    total.backward()
    assert total == 0
    assert share == 1
    assert not outputs.keypoints.grad.any()


def test_ends_that_fall_together_have_a_finite_gradient():
    batch, _ = batch_of(tools()[:, [1, 1, 2]])
    outputs = outputs_of(batch)
    judged = terms_of()(outputs, batch)
    judged.total.backward()
    assert judged.parts["rigidity"].item() == pytest.approx(
        0.5
    )  # 1.5 world units off in one of two segments, less half
    assert outputs.keypoints.grad.isfinite().all()


def stereo_config(tmp_path, **terms) -> KeypointConfig:
    path = tmp_path / "calibration.config.json"
    write_json(path, calibration(stereo_head()))
    return KeypointConfig(
        data_mappings=DataMappings(
            x=("LL.image", "LR.image"), y=tuple(tuple(f"{c}.{p}" for p in ("tip", "turn", "end")) for c in ("LL", "LR"))
        ),
        calibration_file=str(path),
        stereo_pairing=StereoPairing(enabled=True),
        loss_terms=LossTerms(**terms),
    )


def test_a_configured_loss_sums_single_and_stereo_terms_by_their_weights(tmp_path):
    loss = build_loss(
        stereo_config(
            tmp_path,
            triangulation_reprojection_loss=LossTerm(weight=3.0),
            triangulation_rigidity_loss=RigidityTerm(weight=0.5),
        )
    )
    batch, _ = batch_of(tools())
    report = loss(outputs_of(batch, 0.7), batch)
    assert list(report.parts) == [
        "supervised_keypoint_loss",
        "triangulation_reprojection_loss",
        "triangulation_rigidity_loss",
    ]
    weighted = sum(report.weights[name] * value for name, value in report.parts.items())
    assert report.total.item() == pytest.approx(weighted.item(), rel=1e-6)
    assert report.shares["triangulated_share"] == 1
    assert "triangulation_rigidity_loss x 0.5" in loss.describe()


def test_a_term_of_weight_zero_reads_no_calibration(tmp_path):
    config = attrs.evolve(stereo_config(tmp_path), calibration_file=str(tmp_path / "missing.json"))
    assert build_loss(config).space is None


def test_a_calibration_that_is_missing_or_of_other_cameras_is_named(tmp_path):
    config = stereo_config(tmp_path, triangulation_reprojection_loss=LossTerm(weight=1.0))
    with pytest.raises(DataError, match="cannot read the calibration"):
        build_loss(attrs.evolve(config, calibration_file=str(tmp_path / "missing.json")))
    other = tmp_path / "other.json"
    write_json(other, {f"U{name}": camera for name, camera in calibration(stereo_head()).items()})
    with pytest.raises(DataError, match=r"lacks a camera @ .*other\.json.*'LL\.image'.*got ULL, ULR"):
        paired_rig(attrs.evolve(config, calibration_file=str(other)))


def test_a_rig_is_selected_in_the_order_of_the_mappings(tmp_path):
    config = stereo_config(tmp_path)
    turned = attrs.evolve(config, data_mappings=attrs.evolve(config.data_mappings, x=("LR.image", "LL.image")))
    assert paired_rig(config).names == ("LL", "LR")
    assert paired_rig(turned).names == ("LR", "LL")
    assert isinstance(paired_rig(turned)["LR"], PinholeCamera)
    assert paired_rig(attrs.evolve(config, calibration_file=None)) is None
    assert paired_rig(attrs.evolve(config, stereo_pairing=StereoPairing())) is None


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
def test_pixels_of_sensor_and_frame_are_inverse_and_covariances_scale_along(scale):
    batch, frame = batch_of(tools(), scale=scale)
    sensor = GEOMETRY.sensor_pixels(frame, batch)
    torch.testing.assert_close(sensor, RIG.project(tools()).uv)
    torch.testing.assert_close(GEOMETRY.frame_pixels(sensor, batch), frame.reshape(PAIRS, 2, N, 2))
    curves = sensor.unsqueeze(3).expand(-1, -1, -1, 4, -1)
    torch.testing.assert_close(GEOMETRY.frame_pixels(curves, batch)[:, :, :, 2], frame.reshape(PAIRS, 2, N, 2))
    space = GEOMETRY.reconstruct(frame, batch, torch.ones(PAIRS, N, dtype=torch.bool))
    one_pixel = torch.eye(2, dtype=torch.float64).expand(2 * PAIRS, N, 2, 2)
    known = GEOMETRY.covariance(space, one_pixel * scale**2, batch)
    wanted = RIG.covariance(tools(), sensor, one_pixel.reshape(PAIRS, 2, N, 2, 2))
    torch.testing.assert_close(known, wanted, rtol=1e-6, atol=0)
    nothing = GEOMETRY.reconstruct(frame, batch, torch.zeros(PAIRS, N, dtype=torch.bool))
    assert not GEOMETRY.covariance(nothing, one_pixel, batch).any()
