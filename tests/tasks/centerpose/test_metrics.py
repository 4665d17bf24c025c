"""Evaluations of predictions whose faults are known."""

import json

import attrs
import numpy as np
import pytest
import torch

from cogkp.errors import EvaluationError
from cogkp.tasks.centerpose.metrics import CenterPoseMetrics, EvaluationRules
from tests.builders.placed import K, box_points, pixels
from tests.tasks.centerpose.test_poses import CODEC, batch_of, boxes, maps_of

MIDDLE = 10


def judged(*steps, rules=None, codec=CODEC):
    metrics = CenterPoseMetrics(codec, rules)
    for outputs, batch in steps:
        metrics.update(outputs, batch)
    return metrics.compute()


def test_perfect_predictions_are_perfect_in_both_protocols():
    batch = batch_of(boxes(), boxes((2.5,)))
    report = judged((maps_of(batch), batch))
    assert (report.images, report.skipped, report.objects) == (2, 0, 3)
    for each in (report.reference, report.once):
        assert (each.found, each.matched) == (3, 3)
        assert each.precision["iou"][:18] == (1.0,) * 18
        assert each.precision["azimuth_deg"][1] == 1.0
        assert each.mean["iou"] > 0.98
        assert each.mean["pixel"] < 1e-4
    assert report.scalars()["3DIoU"] == 1.0
    assert report.error() < 0.1
    assert report.headline().startswith("AP at 3-D IoU 0.5 1.000, 2-D error 0.000")


def test_lengths_are_taken_from_the_ground_of_the_file():
    """The file says that the boxes stand a tenth farther away than they do: found boxes are then a tenth too large."""
    labels = boxes((2.0,))
    pose = labels.cuboid_to_camera[0]

    @attrs.frozen(eq=False)
    class Ground:
        center: np.ndarray
        normal: np.ndarray

    ground = Ground(1.1 * box_points(pose, labels.size_xyz[0])[1], pose[:3, 1])
    batch = batch_of(attrs.evolve(labels, ground=ground))
    report = judged((maps_of(batch), batch))
    assert report.reference.mean["iou"] < 0.5
    assert report.reference.mean["azimuth_deg"] < 0.5
    assert report.reference.mean["add"] == pytest.approx(0.2, rel=0.1)


def doubled(outputs):
    """The same object seen twice, the second time less surely."""
    y, x = divmod(int(outputs.hm[0, 0].argmax()), outputs.hm.shape[-1])
    outputs.hm[0, 0, y, x + 3] = 1.0
    for maps in (outputs.wh, outputs.reg, outputs.scale, outputs.hps):
        maps[0, :, y, x + 3] = maps[0, :, y, x]
    outputs.hps[0, ::2, y, x + 3] -= 3
    outputs.reg[0, 0, y, x + 3] -= 3
    return outputs


def test_doubled_objects_are_forgiven_by_the_published_protocol_only():
    codec = attrs.evolve(CODEC, filtering=attrs.evolve(CODEC.filtering, suppression=False))
    batch = batch_of(boxes((2.0,)), boxes((2.5,)))
    maps = doubled(maps_of(batch))
    for name in ("hm", "hm_hp"):  # the second image's object is less sure than the copy of the first one's
        getattr(maps, name)[1] = 0.01 * getattr(maps, name)[1]
    report = judged((maps, batch), codec=codec)
    assert (report.reference.found, report.reference.matched) == (3, 3)
    assert (report.once.found, report.once.matched) == (3, 2)
    assert report.reference.precision["iou"][MIDDLE] == 1.0
    assert report.once.precision["iou"][MIDDLE] == pytest.approx(0.5 + 0.5 * 2 / 3)


def test_missed_objects_lower_the_precision_and_hidden_ones_do_not():
    labels = boxes()
    batch = batch_of(labels)
    seen = batch_of(boxes((2.0,)))
    missed = judged((maps_of(seen), batch))
    assert (missed.objects, missed.reference.precision["iou"][MIDDLE]) == (2, 0.5)
    hidden = batch_of(attrs.evolve(labels, visibility=np.array([1.0, 0.05])))
    found = judged((maps_of(hidden), hidden))
    assert (found.objects, found.once.found, found.reference.found) == (1, 1, 2)
    assert found.once.precision["iou"][MIDDLE] == 1.0


def test_recall_of_the_published_protocol_counts_all_objects_of_a_picture_that_is_judged():
    """A hidden object beside a visible one is missed; an image with hidden ones alone is left out."""
    mixed, hidden = (attrs.evolve(boxes(), visibility=np.array(seen)) for seen in ([1.0, 0.05], [0.05, 0.05]))
    batch = batch_of(mixed, hidden)
    report = judged((maps_of(batch), batch))
    assert (report.skipped, report.objects, report.reference.objects, report.once.objects) == (1, 1, 2, 1)
    assert report.reference.precision["iou"][MIDDLE] == 0.5
    assert report.once.precision["iou"][MIDDLE] == 1.0
    titles = [table.title for table in report.tables()]
    assert titles == [
        "published protocol: 2 boxes found, 1 matched, 2 objects",
        "each object once: 1 box found, 1 matched, 1 object",
    ]
    assert all(title in report.text() for title in titles)


def test_symmetric_objects_may_be_seen_from_any_side():
    labels = boxes((2.0,))
    turned = attrs.evolve(
        labels, uv_source=pixels(box_points(labels.cuboid_to_camera[0], labels.size_xyz[0], np.pi / 2))[None, None]
    )
    batch = batch_of(labels)
    maps = maps_of(batch_of(turned))
    strict, kind = judged((maps, batch)), judged((maps, batch), rules=EvaluationRules(turns=4))
    assert strict.reference.mean["pixel"] > 0.02
    assert kind.reference.mean["pixel"] < 1e-4
    assert strict.reference.mean["azimuth_deg"] == pytest.approx(90, abs=1)


def test_batches_may_come_in_any_order():
    one, other = batch_of(boxes((2.0,))), batch_of(boxes())
    wrong = maps_of(other)
    wrong.hps[:] += 1.0
    steps = [(maps_of(one), one), (wrong, other)]
    first, second = judged(*steps), judged(*steps[::-1])
    np.testing.assert_allclose(list(first.scalars().values()), list(second.scalars().values()))


def test_accumulators_of_parts_join_to_that_of_the_whole():
    one, other = batch_of(boxes((2.0,))), batch_of(boxes())
    wrong = maps_of(other)
    wrong.hps[:] += 1.0
    parts = [CenterPoseMetrics(CODEC), CenterPoseMetrics(CODEC)]
    parts[0].update(maps_of(one), one)
    parts[1].update(wrong, other)
    parts[0].merge(parts[1])
    assert parts[0].compute().to_dict() == judged((maps_of(one), one), (wrong, other)).to_dict()


def test_nothing_found_is_a_result_and_nothing_to_find_is_none():
    batch = batch_of(boxes())
    blind = maps_of(batch)
    blind.hm[:] = -9.0
    report = judged((blind, batch))
    assert report.scalars() == {"3DIoU": 0.0, "azimuth_ap15": 0.0, "elevation_ap10": 0.0, "3DIoU_once": 0.0}
    assert report.error() == 1.0
    assert "mean 3-D IoU    -" in report.text()
    empty = batch_of(attrs.evolve(boxes(), located=np.zeros(2, bool)))
    with pytest.raises(EvaluationError, match="none of 1 images shows an object with a known pose"):
        judged((maps_of(empty), empty))
    with pytest.raises(EvaluationError, match="cannot be evaluated without the camera's intrinsics @ no 0"):
        judged((maps_of(batch), batch_of(attrs.evolve(boxes(), K=None))))


def test_reports_are_ready_for_json_and_for_people():
    batch = batch_of(boxes())
    report = judged((maps_of(batch), batch))
    written = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert written["thresholds"]["azimuth_deg"][MIDDLE] == 15.0
    assert len(written["once"]["precision"]["add_s"]) == 21
    text = report.text()
    assert "published protocol: 2 boxes found, 2 matched" in text
    assert "1 image, 0 without objects to evaluate; 2 objects to find" in text
    assert max(map(len, text.splitlines())) < 170
    assert torch.isfinite(torch.tensor(list(report.scalars().values()))).all()
    assert K.shape == (3, 3)
