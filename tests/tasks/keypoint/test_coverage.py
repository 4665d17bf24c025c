"""Noise that heatmaps cannot know is found again from labels alone, and once it is stated regions keep their word."""

from __future__ import annotations

import json

import attrs
import numpy as np
import pytest
import torch

from cogkp.config.keypoint.io import structure
from cogkp.data.keypoint.targets import KeypointTargets
from cogkp.data.sample import Batch
from cogkp.geometry.heatmap import gaussian_heatmap
from cogkp.geometry.warp import ImageWarp
from cogkp.models.keypoint import KeypointOutputs
from cogkp.tasks.keypoint.codec import KeypointCodec
from cogkp.tasks.keypoint.coverage import NOTHING_COVERED, CoverageMetrics, advice
from cogkp.tasks.keypoint.metrics import KeypointMetrics

SIDE, KERNEL_PX = 256, 6.0
NAMES = ("tip", "turn", "end")
KNOWN_PX = (0.0, 0.7, 1.5)  # what the heatmaps of each point say of their own errors
CODEC = KeypointCodec(SIDE, NAMES, segmentation=False, kernel_sigma_px=KERNEL_PX)


def targets_of(uv_crop: torch.Tensor, valid: torch.Tensor | None = None) -> KeypointTargets:
    seen = torch.ones(uv_crop.shape[:2], dtype=torch.bool) if valid is None else valid
    places = torch.zeros(*uv_crop.shape[:2], 3, dtype=torch.float64)
    masks = torch.zeros(len(uv_crop), 0, 0)
    return KeypointTargets(uv_crop, seen, 2 * uv_crop, seen, places, torch.zeros_like(seen), masks)


def batch_of(targets: KeypointTargets) -> Batch[KeypointTargets]:
    count = len(targets.valid)
    matrices = ImageWarp.resize(0.5, 0.5).matrix.expand(count, 3, 3)
    ids, sizes = tuple(map(str, range(count))), torch.full((count, 2), 2 * SIDE)
    uv_source = ImageWarp(matrices).inverse().apply(targets.uv_crop)
    pairs = torch.zeros(0, 2, dtype=torch.int64)
    return Batch(torch.zeros(count, 1, 1, 1), targets._replace(uv_source=uv_source), matrices, sizes, pairs, ids)


def drawn(hidden_px: float, views: int = 1000, seed: int = 0) -> tuple[KeypointOutputs, KeypointTargets]:
    """Predictions whose errors are what their heatmaps say, and noise that those do not know."""
    generator = torch.Generator().manual_seed(seed)
    truth = 60.0 + 130.0 * torch.rand(views, 3, 2, generator=generator)
    known, hidden = (torch.randn(views, 3, 2, generator=generator) for _ in range(2))
    found = truth + torch.tensor(KNOWN_PX)[:, None] * known + hidden_px * hidden
    widths = [float(np.hypot(KERNEL_PX, own)) for own in KNOWN_PX]
    maps = [gaussian_heatmap(found[:, n], (64, 64), 4.0, width) for n, width in enumerate(widths)]
    return KeypointOutputs(found, torch.stack(maps, 1)), targets_of(truth)


def measured(codec: KeypointCodec, *batches: tuple[KeypointOutputs, KeypointTargets]) -> CoverageMetrics:
    metrics = CoverageMetrics(codec)
    for outputs, targets in batches:
        metrics.update(outputs, targets)
    return metrics


def stating(noise_px: float) -> KeypointCodec:
    return attrs.evolve(CODEC, noise_px=noise_px)


@pytest.mark.parametrize("hidden_px", [0.5, 1.3, 4.0])
def test_hidden_noise_is_found_and_stating_it_covers_other_images(hidden_px):
    sure = measured(CODEC, drawn(hidden_px))
    assert sure.overall().most < 0.75
    noise_px = sure.noise_px_for_90()
    assert noise_px == pytest.approx(hidden_px, rel=0.05)
    told = measured(stating(noise_px), drawn(hidden_px, seed=1))
    assert 0.87 <= told.overall().most <= 0.93
    assert 0.46 <= told.overall().half <= 0.54
    for point in told.points():
        assert 0.86 <= point.most <= 0.94


def test_what_is_stated_already_does_not_change_what_is_found():
    batch = drawn(1.3)
    found = {measured(stating(noise_px), batch).noise_px_for_90() for noise_px in (0.01, 0.1, 5.0)}
    assert len(found) == 1
    assert measured(stating(found.pop()), batch).overall().most == pytest.approx(0.9, abs=1e-3)


def test_coverage_grows_with_the_stated_noise():
    batch = drawn(1.3, views=200)
    covered = [measured(stating(noise_px), batch).overall() for noise_px in (0.01, 0.1, 0.5, 1.0, 2.0, 8.0)]
    assert covered == sorted(covered)
    assert [coverage.most for coverage in covered] == sorted(coverage.most for coverage in covered)
    assert covered[0].half < 0.3
    assert covered[-1].half > 0.99


def test_blunt_heatmaps_need_no_noise():
    found, targets = drawn(0.0, views=30)
    blunt = found._replace(heatmaps=gaussian_heatmap(found.keypoints, (64, 64), 4.0, 12.0))
    metrics = measured(CODEC, (blunt, targets))
    assert metrics.noise_px_for_90() == 0.0
    assert metrics.overall().most == 1.0


def test_the_order_and_size_of_batches_do_not_matter():
    outputs, targets = drawn(1.0, views=60)
    rows = torch.randperm(60, generator=torch.Generator().manual_seed(3)).split(17)
    parts = [
        (KeypointOutputs(*(f[some] for f in outputs)), KeypointTargets(*(f[some] for f in targets))) for some in rows
    ]
    whole, pieces = measured(CODEC, (outputs, targets)), measured(CODEC, *parts)
    for one, other in zip(whole.points(), pieces.points(), strict=True):
        assert one == pytest.approx(other)
    assert whole.overall() == pytest.approx(pieces.overall())
    assert whole.noise_px_for_90() == pytest.approx(pieces.noise_px_for_90())


def test_only_labels_inside_the_crop_count_each_for_its_own_point():
    outputs, targets = drawn(0.0, views=40)
    valid = torch.zeros(40, 3, dtype=torch.bool)
    valid[:10, 0], valid[:5, 1] = True, True
    astray = outputs.keypoints.clone()
    astray[~valid] += 100.0
    astray[:5, 1] += 50.0
    metrics = measured(CODEC, (outputs._replace(keypoints=astray), targets._replace(valid=valid)))
    tip, turn, end = metrics.points()
    assert tip == (1.0, 1.0)
    assert turn == (0.0, 0.0)
    assert end == NOTHING_COVERED
    assert metrics.overall() == (pytest.approx(10 / 15), pytest.approx(10 / 15))
    assert metrics.noise_px_for_90() is None


@pytest.mark.parametrize(("labels", "enough"), [(0, False), (19, False), (20, True)])
def test_few_labels_say_nothing_about_noise(labels, enough):
    outputs, targets = drawn(1.0, views=20)
    valid = torch.zeros(20, 3, dtype=torch.bool)
    valid[:labels, 2] = True
    found = measured(CODEC, (outputs, targets._replace(valid=valid))).noise_px_for_90()
    assert (found is not None) == enough


def test_exact_predictions_need_no_noise_and_are_always_covered():
    _, targets = drawn(0.0, views=20)
    exact = targets.uv_crop.clone()
    metrics = measured(CODEC, (KeypointOutputs(exact, gaussian_heatmap(exact, (64, 64), 4.0, KERNEL_PX)), targets))
    assert metrics.overall() == (1.0, 1.0)
    assert metrics.noise_px_for_90() == 0.0


def test_the_report_holds_coverage_and_says_what_to_set():
    outputs, targets = drawn(1.3)
    report = report_of(CODEC, outputs, targets)
    covered = measured(CODEC, (outputs, targets))
    assert [(row.coverage_50, row.coverage_90) for row in report.rows] == [*covered.points(), covered.overall()]
    content = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert content["overall"]["coverage_90"] == covered.overall().most
    assert content["points"][2]["coverage_50"] == covered.points()[2].half
    assert content["noise_px_for_90"] == covered.noise_px_for_90()
    lines = report.text().splitlines()
    assert lines[0].endswith("in 50 %  in 90 %")
    assert len({len(line) for line in lines[:5]}) == 1
    assert lines[5:] == advice(covered.overall().most, covered.noise_px_for_90())
    assert "uncertainty.noise_px 1.3" in lines[5]
    assert "noise_px" not in report_of(stating(content["noise_px_for_90"]), outputs, targets).text()


def report_of(codec, outputs, targets):
    metrics = KeypointMetrics(codec, None)
    metrics.update(outputs, batch_of(targets))
    return metrics.compute()


@pytest.mark.parametrize(
    ("coverage", "noise_px", "words"),
    [
        (None, None, None),
        (0.1, None, None),
        (0.86, 0.2, None),
        (0.94, 0.05, None),
        (0.84, 0.2, "hold 84 % of the labels; uncertainty.noise_px 0.2 would hold 90 %"),
        (0.99, 0.043, "hold 99 % of the labels; uncertainty.noise_px 0.043 would hold 90 %"),
        (1.0, 0.0, "hold 100 % of the labels; heatmaps are wider than their errors"),
    ],
)
def test_advice_is_given_only_where_regions_break_their_word(coverage, noise_px, words):
    lines = advice(coverage, noise_px)
    assert len(lines) == (words is not None)
    assert words is None or words in lines[0]


def test_a_configuration_states_the_noise():
    assert KeypointCodec.of(structure({})).noise_px == 0.1
    assert KeypointCodec.of(structure({"uncertainty": {"noise_px": 0.93}})).noise_px == 0.93
