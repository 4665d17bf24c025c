"""The loss against a slow reading of the description, and what must hold whatever it says."""

from types import SimpleNamespace

import attrs
import numpy as np
import pytest
import torch

from cogkp.config.centerpose.spec import LossSpec
from cogkp.data.sample import Batch
from cogkp.errors import TrainingError
from cogkp.models.centerpose import CHANNELS, CenterPoseOutputs
from cogkp.tasks.centerpose.losses import UNDEFINED, LossSettings, build_loss
from cogkp.tasks.centerpose.targets import ObjectTargets, TargetRules, object_targets, render_gaussians
from tests.builders.perfect_maps import perfect_maps
from tests.builders.placed import SIZE_WH, scene
from tests.builders.warps import letterbox

RULES = TargetRules(side=64, max_objs=4)
VIEWS = 4
CELLS = RULES.cells
WEIGHTS = {"hm": 1, "wh": 0.1, "reg": 1, "hps": 1, "hm_hp": 1, "hp_offset": 1, "scale": 1}


def targets_of(*counts, seed=0, rules=RULES, views=VIEWS):
    rng = np.random.default_rng(seed)
    warp = letterbox(SIZE_WH, rules.side)
    scenes = [scene(rng, count, symmetry=rng.choice([1, 4], count), views=views, spread=0.7) for count in counts]
    rows = [object_targets(each, warp, SIZE_WH, rules) for each in scenes]
    return ObjectTargets(*(torch.from_numpy(np.stack(column)) for column in zip(*rows, strict=True)))


def batch_of(targets):
    count = len(targets.ind)
    return Batch(
        image=torch.zeros(count, 3, RULES.side, RULES.side),
        targets=SimpleNamespace(objects=targets),
        source_to_crop=torch.eye(3, dtype=torch.float64).expand(count, 3, 3),
        source_size_wh=torch.zeros(count, 2, dtype=torch.int64),
        pairs=torch.zeros(0, 2, dtype=torch.int64),
        ids=("",) * count,
    )


def outputs_of(count, seed=0, dtype=torch.float32):
    draw = torch.Generator().manual_seed(seed)
    maps = [torch.randn(count, c, CELLS, CELLS, generator=draw, dtype=torch.float64) for c in CHANNELS.values()]
    return CenterPoseOutputs(*(each.to(dtype).requires_grad_() for each in maps))


def slow_focal(logits, wanted):
    p = np.clip(1 / (1 + np.exp(-logits)), 1e-4, 1 - 1e-4)
    positive = wanted == 1
    total = (np.where(positive, (1 - p) ** 2 * np.log(p), (1 - wanted) ** 4 * p**2 * np.log(1 - p))).sum()
    return -total / max(positive.sum(), 1)


def slow_picture(maps, t, height):
    """All terms of one image whose objects show one view each, as described: loops, and nothing but loops."""
    found = {}
    place = [tuple(divmod(int(i), height)) for i in t.ind]
    columns = {"wh": t.wh, "reg": t.reg, "scale": t.scale, "hps": t.hps.reshape(len(place), 16)}
    for name, wanted in columns.items():
        mask = np.repeat(t.hps_mask, 2, 1) if name == "hps" else np.repeat(t.taught[:, None], wanted.shape[1], 1)
        got = np.array([maps[name][:, y, x] for y, x in place])
        found[name] = (np.abs(got - wanted) * mask).sum() / (mask.sum() + 1e-4)
    total, count = 0.0, 0
    for o, j in np.argwhere(t.hp_mask):
        y, x = divmod(int(t.hp_ind[o, j]), height)
        total, count = total + np.abs(maps["hp_offset"][:, y, x] - t.hp_offset[o, j]).sum(), count + 2
    found["hp_offset"] = total / (count + 1e-4)
    one = torch.from_numpy
    center = render_gaussians(
        one(t.ind)[None, :, None], one(t.radius)[None], one(t.taught)[None, :, None], (height, height)
    )
    corner = render_gaussians(one(t.hp_ind)[None], one(t.radius)[None], one(t.hp_mask)[None], (height, height))
    found["hm"] = slow_focal(maps["hm"], center[0].numpy())
    found["hm_hp"] = slow_focal(maps["hm_hp"], corner[0].numpy())
    return found


def slow_loss(outputs, targets):
    """One view for all objects of an image, chosen by the whole loss."""
    chosen = []
    for b in range(len(targets.ind)):
        maps = {name: getattr(outputs, name)[b].detach().double().numpy() for name in CHANNELS}
        views = [ObjectTargets(*(f[b, s].numpy() for f in targets)) for s in range(VIEWS)]
        judged = [slow_picture(maps, view, CELLS) for view in views if view.taught.any()]
        nothing = dict.fromkeys(CHANNELS, 0.0)
        chosen.append(min(judged, key=lambda parts: sum(WEIGHTS[n] * parts[n] for n in parts), default=nothing))
    return {name: float(np.mean([parts[name] for parts in chosen])) for name in CHANNELS}


def test_one_choice_for_a_picture_is_the_described_loss():
    targets, outputs = targets_of(3, 1, 0, 4), outputs_of(4)
    report = build_loss(LossSettings(symmetry="image"))(outputs, batch_of(targets))
    expected = slow_loss(outputs, targets)
    assert targets.taught[:, 1:].any()
    for name, value in expected.items():
        assert report.parts[name].item() == pytest.approx(value, rel=1e-4), name
    assert report.total.item() == pytest.approx(sum(WEIGHTS[n] * v for n, v in expected.items()), rel=1e-4)
    assert dict(report.weights) == WEIGHTS


def test_objects_without_symmetry_do_not_care_how_views_are_chosen():
    batch, outputs = batch_of(targets_of(3, 2, views=1)), outputs_of(2)
    one, other = (build_loss(LossSettings(symmetry=way))(outputs, batch).total for way in ("object", "image"))
    assert torch.equal(one, other)


def test_each_object_is_judged_by_the_view_that_the_prediction_shows():
    targets = targets_of(2, 2, 2, 2, seed=4)
    latest = targets.taught.long().cumsum(1).argmax(1)  # a different view for objects that have several
    assert len(latest.unique()) > 1
    outputs = perfect_maps(targets.pick(latest), CELLS)
    by_object, by_image = (build_loss(LossSettings(symmetry=way)) for way in ("object", "image"))
    mixed = (latest != latest[:, :1])[targets.taught[:, 0]].any()
    chosen = by_object.choose(outputs, targets)
    assert mixed
    assert torch.equal(chosen[targets.taught[:, 0]], latest[targets.taught[:, 0]])
    report = by_object(outputs, batch_of(targets))
    assert report.total.item() < 0.1  # two corners may share a cell
    assert by_image(outputs, batch_of(targets)).total.item() > 10 * report.total.item()


def test_the_order_of_views_does_not_matter():
    targets, outputs = targets_of(3, 3, seed=2), outputs_of(2)
    turned = ObjectTargets(*(field.flip(1) for field in targets))
    for way in ("object", "image"):
        loss = build_loss(LossSettings(symmetry=way))
        assert loss(outputs, batch_of(targets)).total == loss(outputs, batch_of(turned)).total


def test_one_picture_counts_as_it_does_in_a_batch():
    targets, outputs = targets_of(3, 1, 0), outputs_of(3)
    loss = build_loss(LossSettings())
    whole = loss(outputs, batch_of(targets)).total
    singles = [
        loss(CenterPoseOutputs(*(f[[b]] for f in outputs)), batch_of(ObjectTargets(*(f[[b]] for f in targets)))).total
        for b in range(3)
    ]
    assert whole.item() == pytest.approx(torch.stack(singles).mean().item(), rel=1e-5)


@pytest.mark.parametrize("way", ["object", "image"])
@pytest.mark.parametrize("sure", [0.0, 60.0, -200.0])
def test_finite_where_nothing_is_visible(way, sure):
    targets = targets_of(0, 0)
    outputs = CenterPoseOutputs(*(torch.full((2, c, CELLS, CELLS), sure).requires_grad_() for c in CHANNELS.values()))
    report = build_loss(LossSettings(symmetry=way))(outputs, batch_of(targets))
    report.total.backward()
    assert report.total.isfinite()
    assert all(each.grad is not None and each.grad.isfinite().all() for each in outputs)
    assert all(report.parts[name] == 0 for name in ("wh", "reg", "hps", "hp_offset", "scale"))


def test_wrong_but_sure_peaks_are_still_corrected():
    """A clamped probability would have no slope there."""
    outputs = CenterPoseOutputs(*(torch.full((1, c, CELLS, CELLS), 30.0).requires_grad_() for c in CHANNELS.values()))
    build_loss(LossSettings())(outputs, batch_of(targets_of(0))).total.backward()
    assert (outputs.hm.grad > 0.9).all()


def test_gradients_are_those_of_the_value():
    rules = attrs.evolve(RULES, side=32)
    targets = targets_of(2, seed=1, rules=rules)
    draw = torch.Generator().manual_seed(0)
    maps = [torch.randn(1, c, 8, 8, generator=draw, dtype=torch.float64).requires_grad_() for c in CHANNELS.values()]
    loss = build_loss(LossSettings())
    assert targets.taught.any()
    assert torch.autograd.gradcheck(
        lambda *m: loss(CenterPoseOutputs(*m), batch_of(targets)).total, maps, fast_mode=True
    )


def test_float32_under_autocast():
    targets, outputs = targets_of(3, 2), outputs_of(2, dtype=torch.bfloat16)
    loss = build_loss(LossSettings())
    plain = loss(CenterPoseOutputs(*(f.float() for f in outputs)), batch_of(targets))
    with torch.autocast("cpu", torch.bfloat16):
        lowered = loss(outputs, batch_of(targets))
    assert lowered.total.dtype == torch.float32
    assert lowered.total == plain.total


def test_terms_of_weight_zero_and_terms_that_are_off_are_not_built():
    loss = build_loss(LossSettings(hm_hp=False, wh_weight=0.0, off_weight=0.5))
    assert list(loss.terms) == ["hm", "reg", "hps", "hp_offset", "scale"]
    assert loss.describe() == "loss terms: hm x 1, reg x 0.5, hps x 1, hp_offset x 0.5, scale x 1"
    with pytest.raises(TrainingError, match=r"nothing to train @ train\.loss_config"):
        build_loss(LossSettings(0, 0, 0, 0, 0, 0))


@pytest.mark.parametrize("name", UNDEFINED)
def test_options_without_a_meaning_are_refused(name):
    harmless, why = UNDEFINED[name]
    assert LossSettings.of(SimpleNamespace(**{name: harmless, "hp_weight": 2.0})) == LossSettings(hp_weight=2.0)
    with pytest.raises(TrainingError, match=why) as caught:
        LossSettings.of(SimpleNamespace(**{name: "sl1" if name == "reg_loss" else 2}))
    assert f"train.loss_config.{name}" in str(caught.value)


def test_the_loss_of_an_experiment_is_read_field_by_field():
    assert LossSettings.of(LossSpec()) == LossSettings()
    changed = LossSpec(wh_weight=0.5, hm_hp=False, obj_scale_weight=2.0)
    assert LossSettings.of(changed, "image") == LossSettings(
        wh_weight=0.5, hm_hp=False, obj_scale_weight=2.0, symmetry="image"
    )
    assert set(UNDEFINED) | {f.name for f in attrs.fields(LossSettings)} == {
        *(f.name for f in attrs.fields(LossSpec)),
        "symmetry",
    }
