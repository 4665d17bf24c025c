from __future__ import annotations

import attrs
import pytest
import torch
from torch.nn import functional as F

from cogkp.config.keypoint.spec import HeatmapTerm, KeypointConfig, LossTerm, LossTerms, RigidityTerm, Targets
from cogkp.data.keypoint.targets import KeypointTargets
from cogkp.data.sample import Batch
from cogkp.errors import TrainingError
from cogkp.geometry.heatmap import centred_heatmap, expectation, spatial_softmax
from cogkp.models.keypoint import KeypointMaskOutputs
from cogkp.tasks.keypoint.losses import HeatmapRegularization, Segmentation, SupervisedKeypoints, build_loss

B, N, C, S = 3, 4, 3, 8
CONFIG = KeypointConfig(targets=Targets(segmentation=True), num_segmentation_classes=C)


def outputs_of(seed=0, dtype=torch.float32) -> KeypointMaskOutputs:
    generator = torch.Generator().manual_seed(seed)
    keypoints = (torch.rand(B, N, 2, generator=generator) * S).to(dtype).requires_grad_()
    logits = torch.randn(B, C, S, S, generator=generator).to(dtype).requires_grad_()
    return KeypointMaskOutputs(keypoints, torch.full((B, N, 2, 2), 0.25), logits)


def batch_of(valid, mask) -> Batch[KeypointTargets]:
    uv = torch.rand(B, N, 2, generator=torch.Generator().manual_seed(7)) * S
    targets = KeypointTargets(uv, valid, uv, valid, torch.zeros(B, N, 3), NONE, mask)
    eye = torch.eye(3, dtype=torch.float64).expand(B, 3, 3)
    sizes = torch.full((B, 2), S)
    return Batch(torch.zeros(B, 1, S, S), targets, eye, sizes, torch.zeros(0, 2, dtype=torch.int64), ("a", "b", "c"))


ALL = torch.ones(B, N, dtype=torch.bool)
NONE = torch.zeros(B, N, dtype=torch.bool)
SEEN = torch.randint(0, C, (B, S, S), generator=torch.Generator().manual_seed(1))
UNSEEN = torch.full((B, S, S), 255)


def test_each_term_equals_torchs_own_loss_where_everything_is_valid():
    outputs, batch = outputs_of(), batch_of(ALL, SEEN)
    assert SupervisedKeypoints()(outputs, batch).item() == pytest.approx(
        F.smooth_l1_loss(outputs.keypoints, batch.targets.uv_crop).item()
    )
    assert Segmentation()(outputs, batch).item() == pytest.approx(F.cross_entropy(outputs.mask_logits, SEEN).item())


def test_each_term_is_averaged_over_valid_items_only():
    valid = ALL.clone()
    valid[0] = valid[2, 1:] = False
    mask = SEEN.clone()
    mask[1] = 255
    outputs, batch = outputs_of(), batch_of(valid, mask)
    expected = F.smooth_l1_loss(outputs.keypoints[valid], batch.targets.uv_crop[valid])
    assert SupervisedKeypoints()(outputs, batch).item() == pytest.approx(expected.item())
    expected = F.cross_entropy(outputs.mask_logits, mask, ignore_index=255)
    assert Segmentation()(outputs, batch).item() == pytest.approx(expected.item())


def test_the_total_is_a_graph_safe_zero_when_nothing_is_valid():
    outputs = outputs_of()
    report = build_loss(CONFIG)(outputs, batch_of(NONE, UNSEEN))
    report.total.backward()
    assert report.total == 0
    assert not outputs.keypoints.grad.any()
    assert not outputs.mask_logits.grad.any()


def test_a_wild_prediction_at_an_invalid_point_does_not_reach_the_loss():
    valid = ALL.clone()
    valid[0, 0] = False
    outputs = outputs_of()
    with torch.no_grad():
        outputs.keypoints[0, 0] = float("inf")
    loss = SupervisedKeypoints()(outputs, batch_of(valid, SEEN))
    loss.backward()
    assert loss.isfinite()
    assert outputs.keypoints.grad.isfinite().all()


def test_terms_are_float32_also_for_bfloat16_outputs_under_autocast():
    outputs, batch = outputs_of(dtype=torch.bfloat16), batch_of(ALL, SEEN)
    with torch.autocast("cpu", torch.bfloat16):
        report = build_loss(CONFIG)(outputs, batch)
    wide = build_loss(CONFIG)(KeypointMaskOutputs(*(field.float() for field in outputs)), batch)
    assert report.total.dtype == torch.float32
    assert torch.equal(report.total, wide.total)


def test_the_parts_add_up_to_the_total():
    terms = LossTerms(supervised_keypoint_loss=LossTerm(weight=0.5), segmentation_loss=LossTerm(weight=3.0))
    report = build_loss(attrs.evolve(CONFIG, loss_terms=terms))(outputs_of(), batch_of(ALL, SEEN))
    assert list(report.parts) == list(report.weights) == ["supervised_keypoint_loss", "segmentation_loss"]
    assert report.total.item() == pytest.approx(
        sum(report.weights[name] * part.item() for name, part in report.parts.items())
    )


def test_terms_of_weight_zero_and_of_targets_that_are_off_are_not_built():
    assert build_loss(KeypointConfig()).describe() == "loss terms: supervised_keypoint_loss x 1"
    terms = LossTerms(supervised_keypoint_loss=LossTerm(weight=0.0))
    assert build_loss(attrs.evolve(CONFIG, loss_terms=terms)).describe() == "loss terms: segmentation_loss x 1"


def test_nothing_to_train_is_an_error():
    terms = LossTerms(supervised_keypoint_loss=LossTerm(weight=0.0))
    with pytest.raises(TrainingError, match="nothing to train"):
        build_loss(KeypointConfig(loss_terms=terms))


@pytest.mark.parametrize(
    "terms",
    [
        LossTerms(triangulation_reprojection_loss=LossTerm(weight=0.1)),
        LossTerms(triangulation_rigidity_loss=RigidityTerm(weight=0.1)),
    ],
)
def test_a_triangulation_term_is_refused_and_never_a_silent_zero(terms):
    with pytest.raises(
        TrainingError, match=r"cannot run @ loss_terms\.triangulation_r\w+_loss\.weight: expected targets"
    ):
        build_loss(attrs.evolve(CONFIG, loss_terms=terms))


def heatmap_outputs(logits):
    return KeypointMaskOutputs(torch.zeros(B, N, 2), spatial_softmax(logits), torch.zeros(B, C, S, S))


def test_the_heatmap_term_equals_torchs_divergence_and_is_zero_at_the_wanted_map_itself():
    batch = batch_of(ALL, SEEN)
    wanted = centred_heatmap(batch.targets.uv_crop, (2, 2), stride=4.0, sigma_px=3.0)
    logits = torch.randn(B, N, 2, 2, generator=torch.Generator().manual_seed(3))
    log_found = logits.flatten(2).log_softmax(-1)
    expected = F.kl_div(log_found, wanted.flatten(2), reduction="sum") / (B * N)
    term = HeatmapRegularization(sigma_px=3.0)
    assert term(heatmap_outputs(logits), batch).item() == pytest.approx(expected.item(), rel=1e-5)
    assert term(heatmap_outputs(wanted.log()), batch).item() == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("u", [2.5, 4.0, 8.0, 128.0, 252.0])
def test_both_point_terms_ask_for_one_heatmap_also_at_the_edge(u):
    side = 256
    uv = torch.tensor([[[u, 100.0], [100.0, u]]])
    wanted = centred_heatmap(uv, (side // 4, side // 4), 4.0, 6.0)
    assert (expectation(wanted, 4.0) - uv).abs().max() < 1e-3


def test_the_heatmap_term_pulls_at_cells_whose_probability_is_as_good_as_zero():
    # The label lies in the last cell and all the mass in the first: the gradient must be (found - wanted), not lost.
    logits = torch.zeros(B, N, 2, 2)
    logits[..., 0, 0] = 30.0
    logits.requires_grad_()
    batch = batch_of(ALL, SEEN)
    HeatmapRegularization(sigma_px=0.5)(heatmap_outputs(logits), batch).backward()
    wanted = centred_heatmap(batch.targets.uv_crop, (2, 2), stride=4.0, sigma_px=0.5)
    assert torch.allclose(logits.grad, (spatial_softmax(logits.detach()) - wanted) / (B * N), atol=1e-4)


def test_the_heatmap_term_is_a_graph_safe_zero_without_labels():
    logits = torch.full((B, N, 2, 2), 1e4).requires_grad_()
    loss = HeatmapRegularization(sigma_px=6.0)(heatmap_outputs(logits), batch_of(NONE, SEEN))
    loss.backward()
    assert loss.item() == 0.0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_the_heatmap_term_is_off_by_default_and_built_on_demand():
    terms = LossTerms(heatmap_regularization_loss=HeatmapTerm(weight=2.0))
    lines = build_loss(KeypointConfig(loss_terms=terms)).describe()
    assert lines == "loss terms: supervised_keypoint_loss x 1, heatmap_regularization_loss x 2"
