"""What every registered family must do, whatever it predicts."""

from __future__ import annotations

import inspect
import json
import pickle
import warnings
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import attrs
import numpy as np
import onnxruntime
import pytest
import torch

from cogkp.config.centerpose.spec import BackboneSpec, CenterPoseConfig
from cogkp.data.loader import build_loader
from cogkp.data.sample import Batch
from cogkp.drawing import draw_batch
from cogkp.families import families, family_of
from cogkp.measures.evidence import Evidence
from cogkp.tasks.base import Task
from cogkp.tasks.registry import build_task
from cogkp.training.seeding import seed_everything
from tests.builders.perfect_maps import perfect_maps
from tests.builders.tiny_boxes import tiny_experiment
from tests.builders.tiny_keypoints import tiny_config


def fan_experiment(folder) -> CenterPoseConfig:
    config = tiny_experiment(folder)
    return attrs.evolve(config, model=attrs.evolve(config.model, backbone=BackboneSpec(model_type="fan_small")))


FAMILIES = {
    "keypoint": lambda folder: tiny_config(folder, frames=4),
    "keypoint with mask": lambda folder: tiny_config(folder, frames=4, segmentation=True),
    "centerpose": tiny_experiment,
    "centerpose with attention": fan_experiment,
}
SLOW = {"centerpose with attention"}  # 33 million weights


class Words(NamedTuple):
    """What the suite must know of a family to put its questions: no more than how its own fields are called."""

    truth: Callable[[Task, Batch], Any]
    """Outputs that say what the labels say."""
    decoded: Callable[[Task, Any, Batch], tuple[torch.Tensor, torch.Tensor]]
    """Points found, and those of the labels, pixels of the full frame."""
    encoded: Callable[[Task, Any, Any], tuple[np.ndarray, np.ndarray]]
    """Points as the targets have them, and as the warp of the sample moves the labels, pixels of the crop."""
    blank: Callable[[Any], Any]
    """The targets with nothing labelled."""
    gaps: Callable[[Any], Any]
    """The targets of four samples with next to nothing labelled in the second."""
    nothing: frozenset[str]
    """Terms that learn nothing where nothing is labelled; None stands for all."""
    perfect: dict[str, float]
    """Figures of the truth."""


def keypoint_truth(task, batch):
    with torch.inference_mode():
        return task.model.eval()(batch.image)._replace(keypoints=batch.targets.uv_crop)


def keypoints_found(task, outputs, batch):
    found = task.codec.decode(outputs, batch.source_to_crop)
    return found.uv_source[batch.targets.valid], batch.targets.uv_source[batch.targets.valid]


def keypoints_moved(task, sample, targets):
    moved = sample.source_to_crop.apply(torch.from_numpy(sample.labels.uv_source)).numpy()
    return targets.uv_crop[targets.labelled], moved[targets.labelled]


def no_keypoints(targets):
    blank = targets._replace(valid=torch.zeros_like(targets.valid))
    return blank._replace(mask=torch.full_like(blank.mask, 255)) if blank.mask.numel() else blank


def few_keypoints(targets):
    gaps = targets._replace(valid=targets.valid & (torch.arange(4)[:, None] >= torch.tensor([0, 3])))
    return gaps._replace(mask=gaps.mask.where(torch.arange(4)[:, None, None] != 1, 255)) if gaps.mask.numel() else gaps


def boxes_truth(task, batch):
    view = torch.zeros_like(batch.targets.objects.ind[:, 0])
    return perfect_maps(batch.targets.objects.pick(view), task.codec.targets.cells)


def boxes_found(task, outputs, batch):
    found = task.codec.decode(outputs, batch.source_to_crop)
    assert found.image.tolist() == list(range(len(batch.ids)))
    learned = batch.targets.objects.hps_mask[:, 0, 0]
    return torch.as_tensor(found.uv_direct)[learned], batch.targets.truth.uv_source[:, 0, 1:][learned]


def boxes_moved(task, sample, targets):
    cells, stride = task.codec.targets.cells, task.codec.targets.stride
    objects = targets.objects
    cell = np.stack((objects.ind[0, 0] % cells, objects.ind[0, 0] // cells))
    moved = sample.source_to_crop.apply(torch.from_numpy(sample.labels.uv_source[0, 0, 1:])).numpy()
    learned = objects.hps_mask[0, 0]
    return stride * (cell + objects.hps[0, 0])[learned], moved[learned]


def no_boxes(targets, rows=slice(None)):
    masks = {name: getattr(targets.objects, name).clone() for name in ("taught", "hps_mask", "hp_mask", "scale_mask")}
    for mask in masks.values():
        mask[rows] = False
    return targets._replace(objects=targets.objects._replace(**masks))


KEYPOINT = Words(
    keypoint_truth,
    keypoints_found,
    keypoints_moved,
    no_keypoints,
    few_keypoints,
    frozenset(),
    {"pck_1px": 1.0},
)
CENTERPOSE = Words(
    boxes_truth,
    boxes_found,
    boxes_moved,
    no_boxes,
    lambda targets: no_boxes(targets, 1),
    frozenset({"wh", "reg", "hps", "hp_offset", "scale"}),
    {"3DIoU": 1.0, "3DIoU_once": 1.0},
)


class Learning(NamedTuple):
    rate: float
    steps: int


WORDS = {"keypoint": KEYPOINT, "centerpose": CENTERPOSE}
LEARN = {"keypoint": Learning(3e-3, 80), "centerpose": Learning(1e-3, 40)}


def words_of(task: Task) -> Words:
    return WORDS[family_of(task.config).name]


SLOWLY = (pytest.mark.slow, pytest.mark.timeout(900))


@pytest.fixture(params=[pytest.param(name, marks=SLOWLY if name in SLOW else ()) for name in FAMILIES])
def task(request, tmp_path) -> Task:
    seed_everything(0)
    return build_task(FAMILIES[request.param](tmp_path))


def batch_of(task: Task, split="evaluation", size=4) -> Batch:
    return next(iter(build_loader(task.datasets(split), batch_size=size)))


def test_every_family_is_under_test(tmp_path):
    covered = {family_of(build(tmp_path / name.replace(" ", "_"))).name for name, build in FAMILIES.items()}
    assert covered == {family.name for family in families()} == WORDS.keys() == LEARN.keys()


def test_the_configuration_survives_a_round_trip(task):
    adapter = family_of(task.config).part("adapter")
    assert adapter.structure(json.loads(json.dumps(adapter.dump(task.config)))) == task.config


def test_the_template_is_valid():
    for family in families():
        template, adapter = family.part("config_class").default(), family.part("adapter")
        assert adapter.structure(adapter.dump(template)) == template


def test_decoding_the_encoded_truth_returns_the_labels(task):
    batch = batch_of(task)
    found, true = words_of(task).decoded(task, words_of(task).truth(task, batch), batch)
    assert len(true)
    assert (found - true).abs().max() < 0.002


def test_a_batch_of_one_equals_its_row_in_a_larger_batch(task):
    batch = batch_of(task)
    model = task.model.eval()
    with torch.inference_mode():
        whole, alone = model(batch.image), model(batch.image[1:2])
    for many, one in zip(whole, alone, strict=True):
        assert torch.allclose(many[1:2], one, atol=1e-3, rtol=1e-4)


def test_the_loss_is_finite_with_zero_gradient_where_nothing_is_labelled(task):
    """Terms that learn from labels are silent; maps of peaks learn that there are none."""
    words, batch = words_of(task), batch_of(task)
    outputs = task.model(batch.image)
    fields = type(outputs)(*(field.detach().requires_grad_() for field in outputs))
    report = task.loss(fields, Batch(**(vars_of(batch) | {"targets": words.blank(batch.targets)})))
    report.total.backward()
    silent = words.nothing or report.parts.keys()
    assert report.total.isfinite()
    assert [name for name in silent if float(report.parts[name].detach())] == []
    heads = words.nothing or fields._fields
    assert all(getattr(fields, name).grad is None or not getattr(fields, name).grad.any() for name in heads)
    assert all(field.grad is None or field.grad.isfinite().all() for field in fields)


def vars_of(batch: Batch) -> dict:
    return {name: getattr(batch, name) for name in inspect.signature(Batch).parameters}


def test_the_terms_sum_to_the_total(task):
    batch = batch_of(task)
    report = task.loss(task.model(batch.image), batch)
    assert report.parts.keys() == report.weights.keys()
    assert float(report.total.detach()) == pytest.approx(
        sum(report.weights[name] * float(part.detach()) for name, part in report.parts.items())
    )
    assert all(name in task.loss.describe() for name in report.parts)


def test_a_gradient_reaches_every_trainable_parameter(task):
    batch = batch_of(task)
    task.loss(task.model(batch.image), batch).total.backward()
    silent = [name for name, p in task.model.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []


@pytest.mark.slow
def test_one_batch_can_be_overfitted(task):
    batch = batch_of(task)
    optimizer = torch.optim.Adam(task.model.parameters(), lr=LEARN[family_of(task.config).name].rate)
    losses = []
    for _ in range(LEARN[family_of(task.config).name].steps):
        optimizer.zero_grad()
        report = task.loss(task.model(batch.image), batch)
        report.total.backward()
        optimizer.step()
        losses.append(float(report.total.detach()))
    assert min(losses[-5:]) < 0.1 * losses[0]


def test_the_metrics_of_the_truth_are_perfect(task):
    batch = batch_of(task)
    metrics = task.metrics((1.0,))
    metrics.update(words_of(task).truth(task, batch), batch)
    report = metrics.compute()
    assert {name: report.scalars()[name] for name in words_of(task).perfect} == words_of(task).perfect
    assert report.error() < 0.2
    json.dumps(report.to_dict(), allow_nan=False)
    assert report.text()


def test_a_report_shows_a_row_for_each_image(task):
    batch = batch_of(task)
    metrics = task.metrics()
    metrics.update(words_of(task).truth(task, batch), batch)
    report = metrics.compute()
    first, *others = report.evidence.measures
    assert report.evidence.frames == batch.ids
    assert first.frame.tolist() == list(range(len(batch.ids)))
    assert np.isfinite(first.values).any(axis=1).all()
    assert all(measure.values.shape == (len(measure.frame), len(measure.columns)) for measure in others)
    again = Evidence.from_dict(json.loads(json.dumps(report.evidence.to_dict(), allow_nan=False)))
    assert again.to_dict() == report.evidence.to_dict()
    assert all(len(row) == len(table.head) for table in report.tables() for row in table.rows)
    assert all(len(line.x) == len(line.y) for curve in report.curves() for line in curve.lines)
    assert all(isinstance(note, str) for note in report.notes())


def test_inputs_are_shown_as_pictures(task):
    batch = batch_of(task)
    shown = task.codec.display_image(batch.image[0])
    assert shown.shape[:2] == batch.image.shape[-2:]
    assert shown.shape[2:] in ((), (3,))
    assert 0.0 <= shown.min() < shown.max() <= 1.0
    sheet = draw_batch(task.codec, batch)
    assert sheet.dtype == np.uint8
    assert sheet.shape[2] == 3


def test_marks_fit_the_batch(task):
    batch = batch_of(task)
    with torch.inference_mode():
        outputs = task.model.eval()(batch.image)
    for marks in (task.codec.truth_marks(batch), task.codec.prediction_marks(outputs)):
        assert len(marks) == len(batch.ids)
        assert all(len(mark.names) == len(mark.uv_crop) == len(mark.shown) for mark in marks)


def test_the_exported_names_are_the_fields_and_the_graph_agrees_with_torch(task, tmp_path):
    spec = task.export_spec(2)
    module = task.export_module()
    assert not module.training
    image = batch_of(task, size=2).image
    with torch.inference_mode():
        expected = module(image)
    assert tuple(output.name for output in spec.outputs) == expected._fields
    assert next(iter(spec.inputs.values())).shape == image.shape
    json.dumps(spec.facts, allow_nan=False)
    found = run_onnx(module, spec, image, tmp_path / "model.onnx")
    for output, theirs, ours in zip(spec.outputs, found, expected, strict=True):
        assert np.abs(theirs - ours.numpy()).max() <= output.tolerance


def run_onnx(module, spec, image, path) -> list[np.ndarray]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        names = [output.name for output in spec.outputs]
        torch.onnx.export(
            module, tuple(spec.inputs.values()), path, input_names=list(spec.inputs), output_names=names,
            opset_version=17, dynamo=False,
        )  # fmt: skip
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {next(iter(spec.inputs)): image.numpy()})


def test_encoding_a_warped_sample_equals_warping_its_labels(task):
    dataset = task.datasets("train")
    pairs = [words_of(task).encoded(task, *view) for item in range(4) for view in dataset[item]]
    assert sum(len(targets) for targets, _ in pairs)
    for targets, moved in pairs:
        assert targets == pytest.approx(moved, abs=1e-4)


def test_the_same_draw_gives_the_same_item(task):
    first, second = (batch_of(task, "train") for _ in range(2))
    assert torch.equal(first.image, second.image)


def whole_counts(task: Task, outputs, batch: Batch, parts: list[Batch]) -> list[list[torch.Tensor]]:
    """The counts each part asks to be summed, in the order of asking."""
    asked: list[list[torch.Tensor]] = []

    def remember(count: torch.Tensor) -> torch.Tensor:
        asked[-1].append(count)
        return count

    for part, rows in zip(parts, rows_of(outputs, parts), strict=True):
        asked.append([])
        task.loss(rows, attrs.evolve(part, over_step=remember))
    return asked


def rows_of(outputs, parts: list[Batch]):
    ends = np.cumsum([0, *(len(part.ids) for part in parts)])
    for start, stop in pairwise(ends):
        yield type(outputs)(*(field[start:stop] for field in outputs))


def test_losses_of_parts_add_up_to_the_loss_of_the_step(task):
    """Parts on several ranks, one of which has next to no labels; values and gradients, pull by pull."""
    batch = batch_of(task)
    batch = attrs.evolve(batch, targets=words_of(task).gaps(batch.targets))
    outputs = task.model(batch.image)
    outputs = type(outputs)(*(field.detach().requires_grad_() for field in outputs))
    whole = task.loss(outputs, batch)
    wanted = torch.autograd.grad(whole.total, outputs, allow_unused=True)
    parts = batch.parts(3)
    sums = [torch.stack(counts).sum(0) for counts in zip(*whole_counts(task, outputs, batch, parts), strict=True)]
    total, values = torch.zeros(()), dict.fromkeys(whole.parts, 0.0)
    for part, rows in zip(parts, rows_of(outputs, parts), strict=True):
        answers = iter(sums)
        report = task.loss(rows, attrs.evolve(part, over_step=lambda _count, answers=answers: next(answers)))
        total = total + report.total
        values = {name: values[name] + float(value.detach()) for name, value in report.parts.items()}
    found = torch.autograd.grad(total, outputs, allow_unused=True)
    assert values == pytest.approx({name: float(value.detach()) for name, value in whole.parts.items()}, rel=1e-5)
    for one, other in zip(wanted, found, strict=True):
        assert (one is None) == (other is None)
        assert one is None or torch.allclose(one, other, rtol=1e-5, atol=1e-9)


def test_metrics_of_parts_join_to_those_of_the_whole(task):
    batch = batch_of(task)
    model = task.model.eval()
    with torch.inference_mode():
        outputs = model(batch.image)
    whole, parts = task.metrics(), [task.metrics() for _ in range(3)]
    cut = batch.parts(2)  # the third sees nothing
    for metrics, part, rows in zip(parts, cut, rows_of(outputs, cut), strict=False):
        whole.update(rows, part)
        metrics.update(rows, part)
    first, *others = (pickle.loads(pickle.dumps(metrics)) for metrics in parts)
    for other in others:
        first.merge(other)
    assert first.compute().to_dict() == whole.compute().to_dict()
