"""What every registered family must do, whatever it predicts."""

from __future__ import annotations

import inspect
import json
import pickle
import warnings
from itertools import pairwise

import attrs
import numpy as np
import onnxruntime
import pytest
import torch

from cogkp.config.io import dump, structure
from cogkp.data.loader import build_loader
from cogkp.data.sample import Batch
from cogkp.tasks.base import Task
from cogkp.tasks.registry import TASKS, build_task
from cogkp.training.seeding import seed_everything
from tests.builders.tiny_keypoints import tiny_config

FAMILIES = {
    "keypoint": lambda folder: tiny_config(folder, frames=4),
    "keypoint with mask": lambda folder: tiny_config(folder, frames=4, segmentation=True),
}


@pytest.fixture(params=FAMILIES)
def task(request, tmp_path) -> Task:
    seed_everything(0)
    return build_task(FAMILIES[request.param](tmp_path))


def batch_of(task: Task, split="evaluation", size=4) -> Batch:
    return next(iter(build_loader(task.datasets(split), batch_size=size)))


def test_every_family_is_under_test(tmp_path):
    covered = {type(build(tmp_path / name.replace(" ", "_"))) for name, build in FAMILIES.items()}
    assert covered == set(TASKS)


def test_the_configuration_survives_a_round_trip(task):
    assert structure(json.loads(json.dumps(dump(task.config)))) == task.config


def test_the_template_is_valid():
    for family in TASKS:
        assert structure(dump(family.default())) == family.default()


def test_decoding_the_encoded_truth_returns_the_labels(task):
    batch = batch_of(task)
    truth = task.model.eval()(batch.image)._replace(keypoints=batch.targets.uv_crop)
    found = task.codec.decode(truth, batch.source_to_crop)
    distance = (found.uv_source - batch.targets.uv_source)[batch.targets.valid].abs()
    assert batch.targets.valid.any()
    assert distance.max() < 0.002


def test_a_batch_of_one_equals_its_row_in_a_larger_batch(task):
    batch = batch_of(task)
    model = task.model.eval()
    with torch.inference_mode():
        whole, alone = model(batch.image), model(batch.image[1:2])
    for many, one in zip(whole, alone, strict=True):
        assert torch.allclose(many[1:2], one, atol=1e-3, rtol=1e-4)


def test_the_loss_is_finite_with_zero_gradient_where_nothing_is_labelled(task):
    batch = batch_of(task)
    blank = batch.targets._replace(valid=torch.zeros_like(batch.targets.valid))
    if blank.mask.numel():
        blank = blank._replace(mask=torch.full_like(blank.mask, 255))
    report = task.loss(task.model(batch.image), Batch(**(vars_of(batch) | {"targets": blank})))
    report.total.backward()
    assert float(report.total.detach()) == 0.0
    assert all(p.grad is None or not p.grad.any() for p in task.model.parameters())


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
    optimizer = torch.optim.Adam(task.model.parameters(), lr=3e-3)
    losses = []
    for _ in range(80):
        optimizer.zero_grad()
        report = task.loss(task.model(batch.image), batch)
        report.total.backward()
        optimizer.step()
        losses.append(float(report.total.detach()))
    assert min(losses[-5:]) < 0.1 * losses[0]


def test_the_metrics_of_the_truth_are_perfect(task):
    batch = batch_of(task)
    with torch.inference_mode():
        outputs = task.model.eval()(batch.image)._replace(keypoints=batch.targets.uv_crop)
    metrics = task.metrics((1.0,))
    metrics.update(outputs, batch)
    report = metrics.compute()
    assert report.scalars()["error_mean_px"] < 0.002
    assert report.scalars()["pck_1px"] == 1.0
    json.dumps(report.to_dict(), allow_nan=False)
    assert report.text()


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
    ((sample, targets),) = task.datasets("train")[0]
    moved = sample.source_to_crop.apply(torch.from_numpy(sample.labels.uv_source)).numpy()
    assert targets.uv_crop[targets.labelled] == pytest.approx(moved[targets.labelled], abs=1e-4)


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
    gaps = batch.targets.valid & (torch.arange(4)[:, None] >= torch.tensor([0, 3]))
    targets = batch.targets._replace(valid=gaps)
    if targets.mask.numel():
        targets = targets._replace(mask=targets.mask.where(torch.arange(4)[:, None, None] != 1, 255))
    batch = attrs.evolve(batch, targets=targets)
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
